"""Vectors: each operation against NumPy, lane by lane; and the widths of other processors."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from toymodels.kernels import vector
from toymodels.kernels.vector import (
    LANES,
    NATIVE,
    WIDE,
    absolute,
    add_to,
    at,
    bits,
    dot,
    fma,
    fold,
    in_order,
    load,
    load_column,
    load_native,
    pointer,
    put,
    quotient,
    shifted,
    splat,
    splat_native,
    splat_wide,
    splat_words,
    sqrt,
    store,
    total,
    transpose,
    where,
)

A, B = (np.random.default_rng(seed).normal(size=LANES).astype(np.float32) for seed in (0, 1))


@numba.njit
def arithmetic(a, b, out):
    p, q, r = pointer(a), pointer(b), pointer(out)
    x, y = load(p, 0), load(q, 0)
    store(r, 0, x + y)
    store(r, LANES, x - 2.0 * y)
    store(r, 2 * LANES, x * y / 3.0)
    store(r, 3 * LANES, fma(x, y, x))
    store(r, 4 * LANES, where(x < y, x, 5.0))
    store(r, 5 * LANES, sqrt(absolute(x)))
    store(r, 6 * LANES, splat(at(p, 1)))
    store(r, 7 * LANES, where((x >= y) & (y > 0.0), x, y))


def test_arithmetic_is_numpys():
    out = np.zeros(8 * LANES, np.float32)
    arithmetic(A, B, out)
    two, three, five, one = (np.float32(k) for k in (2, 3, 5, A[1]))
    expected = [
        A + B,
        A - two * B,
        A * B / three,
        A * B + A,
        np.where(A < B, A, five),
        np.sqrt(np.abs(A)),
        np.full(LANES, one),
        np.where((A >= B) & (B > 0), A, B),
    ]
    np.testing.assert_allclose(out.reshape(8, LANES), expected, rtol=3e-7, atol=1e-7)


@numba.njit
def sums(a, b, out):
    p, q, r = pointer(a), pointer(b), pointer(out)
    store(r, 0, fold(load(p, 0)))
    store(r, NATIVE, dot(load(p, 0), load(q, 0), load_native(r, 0)))
    put(r, 2 * NATIVE, total(load(p, 0)))
    put(shifted(r, 2 * NATIVE), 1, total(load_native(p, 0)))


def test_sums_add_up():
    out = np.zeros(3 * NATIVE, np.float32)
    sums(A, B, out)
    pieces = A.reshape(-1, NATIVE)
    np.testing.assert_allclose(out[:NATIVE], pieces.sum(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out[NATIVE : 2 * NATIVE], (A * B).reshape(-1, NATIVE).sum(0) + out[:NATIVE], rtol=1e-5)
    np.testing.assert_allclose(out[2 * NATIVE : 2 * NATIVE + 2], [A.sum(), A[:NATIVE].sum()], rtol=1e-5)


@numba.njit
def turn(rows, out):
    transpose(pointer(rows), 0, pointer(out), 0)


def test_transpose_is_exact():
    rows = np.arange(NATIVE * LANES, dtype=np.float32).reshape(NATIVE, LANES)
    out = np.zeros((LANES, NATIVE), np.float32)
    turn(rows.reshape(-1), out.reshape(-1))
    assert np.array_equal(out, rows.T)


@numba.njit
def columns(turned, out):
    one, several = splat_native(np.float32(0)), splat_wide(np.float32(0))
    for sample in range(LANES):
        add_to(pointer(out), sample * WIDE, load_column(pointer(turned), sample * NATIVE, several))
        add_to(pointer(out), sample * WIDE, load_column(pointer(turned), sample * NATIVE, one))


def test_a_column_is_one_sample_of_the_neurons_that_transpose_wrote():
    turned = np.random.default_rng(4).normal(size=(WIDE // NATIVE, LANES, NATIVE)).astype(np.float32)
    out = np.ones((LANES, WIDE), np.float32)
    columns(turned.reshape(-1), out.reshape(-1))
    expected = 1 + turned.transpose(1, 0, 2).reshape(LANES, WIDE)
    expected[:, :NATIVE] += turned[0]
    assert np.array_equal(out, expected)


@numba.njit
def divide(words, divisor, signed, out):
    p, r = pointer(words), pointer(out)
    for i in range(0, len(words), LANES):
        store(r, i, quotient(bits(load(p, i)), divisor, 1 / divisor, signed))


@pytest.mark.parametrize("signed", [False, True])
def test_quotients_are_rounded_as_float64_division_is(signed):
    words = np.random.default_rng(2).integers(0, 2**32, 1 << 16, dtype=np.uint32)
    for divisor in (1.0, 3.0, 2.0**32, 2.0**32 - 1, *np.random.default_rng(3).integers(2, 2**32, 40).astype(float)):
        out = np.zeros(len(words), np.float32)
        divide(words.view(np.float32), divisor, signed, out)
        r = words / divisor
        assert np.array_equal(out, (2 * r - 1 if signed else r).astype(np.float32)), divisor


@numba.njit
def order(words, out):
    store(pointer(out), 0, in_order(load(pointer(words), 0)))
    store(pointer(out), LANES, bits(splat_words(at(pointer(out.view(np.uint32)), 0))))


def test_in_order_undoes_the_order_of_the_stream():
    lane = np.arange(LANES)
    sample = 4 * (lane % (LANES // 4)) + lane // (LANES // 4)
    out = np.zeros(2 * LANES, np.float32)
    order(sample.astype(np.float32), out)
    assert out[:LANES].tolist() == list(range(LANES))


@pytest.mark.parametrize("cpu, features, widths", [("haswell", "+avx,+avx2,+fma", (8, 16)), ("generic", "", (4, 16))])
def test_another_processor_has_its_own_widths_and_trains_the_same_models(cpu, features, widths, tmp_path):
    """With LLVM told to compile for it, in a process of its own."""
    program = """
import torch, toymodels as tm
from toymodels.kernels.vector import LANES, NATIVE
from toymodels.engines import ENGINES
autograd, fused = ENGINES["autograd"], ENGINES["fused"]
for m in (3, 6, 8, 11, 33):
    e = tm.Experiment(tm.Features(9, .3), tm.Bottleneck(m, tm.SoLU(), tm.LayerNorm()), tm.Training(30, 70))
    ours, reference = fused.train([e]), autograd.train([e], dtype=torch.float64)
    torch.testing.assert_close(ours.curve.double(), reference.curve, rtol=1e-4, atol=0)
print(NATIVE, LANES)
"""
    environment = os.environ | {
        "NUMBA_CPU_NAME": cpu,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tuple(map(int, done.stdout.split())) == widths


def test_this_processor_has_whole_registers_in_a_row():
    assert LANES % NATIVE == 0
    assert LANES % 4 == 0
    assert vector.Row.lanes == LANES
