"""Products: weights times rows, and rows times rows.

A weight matrix is feature-major, ``W[feature * pitch + neuron]``. Three shapes of product make a step:

    encode   out[k] = start[k] + sum_i W[i, k] rows[i]       n rows -> m rows    (z from x; dL/dpost from dL/dreadout)
    decode   out[i] = start[i] + sum_k W[i, k] rows[k]       m rows -> n rows    (the read-out)
    outer    dW[i, k] += sum over samples of rows_i rows_k                       (the gradient of a weight matrix)

Four rows of the result stay in registers while the sum runs; a long sum is cut into blocks whose rows stay in the
first cache. `outer` has two forms. Where neurons are few, every pair of rows keeps a register of partial sums, added up
once a part of the batch. Where they are many, the hidden rows are transposed, so that a register holds neighbouring
weights.
"""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import inner
from toymodels.kernels.vector import (
    LANES,
    NATIVE,
    at,
    dot,
    fma,
    load,
    load_native,
    put,
    splat,
    splat_native,
    store,
    total,
    transpose,
)

BLOCK = 96
"""Rows of a sum at a time: 24 KiB of 64 lanes, half of a 48 KiB first cache."""
FEW = 8
"""Neurons up to which pairs of rows keep partial sums: below, transposed registers would be mostly padding."""
ABREAST = 8
"""Features whose weight gradients are summed at once: as many chains as keep two multipliers of latency four busy."""


def pitch(m: int) -> int:
    """Numbers from one feature's weights to the next one's."""
    return m if m <= FEW else -(-m // NATIVE) * NATIVE


def padded(n: int) -> int:
    """Rows of a weight matrix, with those that only fill up a block."""
    return -(-n // ABREAST) * ABREAST


@inner
def _sum_of_rows(W, first, along, across, rows, begin, end, out, place, count):
    """out[place + c] += sum over j in [begin, end) of W[first + j along + c across] rows[j], c < count = 4 or 1."""
    if count == 4:
        a, b = load(out, place), load(out, place + LANES)
        c, d = load(out, place + 2 * LANES), load(out, place + 3 * LANES)
        for j in range(begin, end):
            row, w = load(rows, j * LANES), first + j * along
            a = fma(at(W, w), row, a)
            b = fma(at(W, w + across), row, b)
            c = fma(at(W, w + 2 * across), row, c)
            d = fma(at(W, w + 3 * across), row, d)
        store(out, place, a)
        store(out, place + LANES, b)
        store(out, place + 2 * LANES, c)
        store(out, place + 3 * LANES, d)
    else:
        a = load(out, place)
        for j in range(begin, end):
            a = fma(at(W, first + j * along), load(rows, j * LANES), a)
        store(out, place, a)


@inner
def _product(W, offset, along, across, terms, results, rows, out):
    """out[c] += sum_j W[offset + j along + c across] rows[j], for c < results, j < terms."""
    whole = results - results % 4
    for begin in range(0, terms, BLOCK):
        end = min(terms, begin + BLOCK)
        for c in range(0, whole, 4):
            _sum_of_rows(W, offset + c * across, along, across, rows, begin, end, out, c * LANES, 4)
        for c in range(whole, results):
            _sum_of_rows(W, offset + c * across, along, across, rows, begin, end, out, c * LANES, 1)


@inner
def fill(out, count, theta, start):
    """out[c] = theta[start + c] in every lane, or 0 where start < 0."""
    for c in range(count):
        value = np.float32(0)
        if start >= 0:
            value = at(theta, start + c)
        store(out, c * LANES, splat(value))


@inner
def encode(W, offset, pitch, n, m, rows, out):
    """out[k] += sum_i W[i, k] rows[i]."""
    _product(W, offset, pitch, 1, n, m, rows, out)


@inner
def decode(W, offset, pitch, n, m, rows, out):
    """out[i] += sum_k W[i, k] rows[k]."""
    _product(W, offset, 1, pitch, m, n, rows, out)


@inner
def outer_few(n, m, features, hidden, pairs):
    """pairs[i, k], a register of partial sums, += features_i hidden_k."""
    for i in range(n):
        row = load(features, i * LANES)
        for k in range(m):
            place = (i * m + k) * NATIVE
            store(pairs, place, dot(row, load(hidden, k * LANES), load_native(pairs, place)))


@inner
def sum_pairs(n, m, pairs, gradient, offset):
    """gradient[offset + i m + k] += the sum of pairs[i, k]."""
    for pair in range(n * m):
        put(gradient, offset + pair, at(gradient, offset + pair) + total(load_native(pairs, pair * NATIVE)))


@inner
def turn(m, rows, turned):
    """The m rows transposed: for every `NATIVE` neurons, `LANES` registers, one a sample. Rows beyond m must be 0."""
    for k in range(0, m, NATIVE):
        transpose(rows, k * LANES, turned, k * LANES)


@inner
def outer_many(n, pitch, features, turned, gradient, offset):
    """gradient[offset + i pitch + k] += sum over samples of features_i hidden_k, hidden as `turn` left it."""
    for i in range(0, n, ABREAST):
        f = i * LANES
        for k in range(0, pitch, NATIVE):
            a = b = c = d = e = f_ = g = h = splat_native(np.float32(0))
            t = k * LANES
            for sample in range(LANES):
                column = load_native(turned, t + sample * NATIVE)
                a = fma(at(features, f + sample), column, a)
                b = fma(at(features, f + LANES + sample), column, b)
                c = fma(at(features, f + 2 * LANES + sample), column, c)
                d = fma(at(features, f + 3 * LANES + sample), column, d)
                e = fma(at(features, f + 4 * LANES + sample), column, e)
                f_ = fma(at(features, f + 5 * LANES + sample), column, f_)
                g = fma(at(features, f + 6 * LANES + sample), column, g)
                h = fma(at(features, f + 7 * LANES + sample), column, h)
            place = offset + i * pitch + k
            for one in (a, b, c, d, e, f_, g, h):
                store(gradient, place, load_native(gradient, place) + one)
                place += pitch
