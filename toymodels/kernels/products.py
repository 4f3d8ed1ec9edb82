"""Products: weights times rows, and rows times rows, without what is zero.

A weight matrix is feature-major, ``W[feature * pitch + neuron]``. Three shapes of product make a step:

    encode   out[k] += sum_i W[i, k] rows[i]                 n rows -> m rows    (z from x; dL/dpost from dL/dreadout)
    decode   out[i] += sum_k W[i, k] rows[k]                 m rows -> n rows    (the read-out)
    outer    dW[i, k] += sum over samples of rows_i rows_k                       (the gradient of a weight matrix)

The rows of features are mostly zero: an inactive input, an output that a ReLU cut. `sort_rows` tells those with nothing
in them, which are skipped, those with little, of which each number is used alone, and those that are worth whole
registers. In these, four rows of the result stay in registers while the sum runs; a long sum is cut into blocks whose
rows stay in the first cache.

`outer` has two forms. Where neurons are few, every pair of rows keeps a register of partial sums, added up once a part
of the batch. Where they are many, the hidden rows are transposed, so that a register holds neighbouring weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymodels.kernels.compiled import inner
from toymodels.kernels.vector import (
    LANES,
    NATIVE,
    WIDE,
    add_to,
    add_transposed,
    at,
    count,
    dot,
    fma,
    lanes_of,
    load,
    load_column,
    load_native,
    lowest,
    put,
    shifted,
    splat,
    splat_native,
    splat_wide,
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
LITTLE = 2
"""Numbers of a row, by registers of neurons, up to which each is used alone: what a mispredicted branch and a few
cycles a number cost, against half a cycle a lane and register; at most an eighth of the lanes. It never pays where one
register holds all neurons."""
ONE = np.uint64(1)


class Rows(NamedTuple):
    """Features' rows, sorted; ``whole`` and ``thin`` list features, ``lanes`` has a thin one's bits."""

    row: int
    """pointer: the rows"""
    whole: int
    """pointer to int64; filled up to a multiple of `ABREAST` with the first row beyond the features, which is 0"""
    wholes: int
    thin: int
    thins: int
    lanes: int
    """pointer to uint64, by place in ``thin``"""


def pitch(m: int) -> int:
    """Numbers from one feature's weights to the next one's."""
    return m if m <= FEW else -(-m // NATIVE) * NATIVE


def padded(n: int) -> int:
    """Rows of a weight matrix: the features', at least one that stays 0, and what fills up a block."""
    return -(-(n + 1) // ABREAST) * ABREAST


@inner
def sort_rows(row, n, pitch, lists, lanes):
    """The `Rows` of n features; ``lists`` is room for 2 padded(n) indices, ``lanes`` for n masks."""
    thin = shifted(lists, padded_rows(n))
    wholes = thins = 0
    little = 0
    if pitch > NATIVE and pitch > FEW:
        little = min(LITTLE * (pitch // NATIVE), LANES // 8)
    for i in range(n):
        bits = lanes_of(load(row, i * LANES) != np.float32(0))
        if bits == np.uint64(0):
            continue
        if count(bits) <= little:
            put(thin, thins, i)
            put(lanes, thins, bits)
            thins += 1
        else:
            put(lists, wholes, i)
            wholes += 1
    filled = wholes
    while filled % ABREAST:
        put(lists, filled, n)
        filled += 1
    return Rows(row, lists, wholes, thin, thins, lanes)


padded_rows = inner(padded)
"""`padded`, in kernels."""


@inner
def encode(W, offset, pitch, m, rows, out, turned):
    """out[k] += sum_i W[i, k] rows[i]; ``turned`` is room for m rows transposed."""
    _encode_whole(W, offset, pitch, m, rows, out)
    if rows.thins > 0:
        _encode_thin(W, offset, pitch, rows, turned)
        for k in range(0, m, NATIVE):
            add_transposed(turned, k * LANES, out, k * LANES)


@inner
def _encode_whole(W, offset, pitch, m, rows, out):
    fours = m - m % 4
    for begin in range(0, rows.wholes, BLOCK):
        end = min(rows.wholes, begin + BLOCK)
        for k in range(0, fours, 4):
            place = k * LANES
            a, b = load(out, place), load(out, place + LANES)
            c, d = load(out, place + 2 * LANES), load(out, place + 3 * LANES)
            for j in range(begin, end):
                i = at(rows.whole, j)
                row, w = load(rows.row, i * LANES), offset + i * pitch + k
                a = fma(at(W, w), row, a)
                b = fma(at(W, w + 1), row, b)
                c = fma(at(W, w + 2), row, c)
                d = fma(at(W, w + 3), row, d)
            store(out, place, a)
            store(out, place + LANES, b)
            store(out, place + 2 * LANES, c)
            store(out, place + 3 * LANES, d)
        for k in range(fours, m):
            a = load(out, k * LANES)
            for j in range(begin, end):
                i = at(rows.whole, j)
                a = fma(at(W, offset + i * pitch + k), load(rows.row, i * LANES), a)
            store(out, k * LANES, a)


@inner
def _encode_thin(W, offset, pitch, rows, turned):
    """turned[sample, k] = sum over thin features of W[i, k] rows[i, sample]."""
    for p in range(0, pitch * LANES, LANES):
        store(turned, p, splat(np.float32(0)))
    for j in range(rows.thins):
        i, bits = at(rows.thin, j), at(rows.lanes, j)
        row, w = i * LANES, offset + i * pitch
        while bits != np.uint64(0):
            sample = lowest(bits)
            bits &= bits - ONE
            x = at(rows.row, row + sample)
            for k in range(0, pitch, NATIVE):
                place = k * LANES + sample * NATIVE
                store(turned, place, fma(x, load_native(W, w + k), load_native(turned, place)))


@inner
def decode(W, offset, pitch, n, m, rows, out):
    """out[i] += sum_k W[i, k] rows[k]."""
    fours = n - n % 4
    for begin in range(0, m, BLOCK):
        end = min(m, begin + BLOCK)
        for i in range(0, fours, 4):
            place, first = i * LANES, offset + i * pitch
            a, b = load(out, place), load(out, place + LANES)
            c, d = load(out, place + 2 * LANES), load(out, place + 3 * LANES)
            for k in range(begin, end):
                row, w = load(rows, k * LANES), first + k
                a = fma(at(W, w), row, a)
                b = fma(at(W, w + pitch), row, b)
                c = fma(at(W, w + 2 * pitch), row, c)
                d = fma(at(W, w + 3 * pitch), row, d)
            store(out, place, a)
            store(out, place + LANES, b)
            store(out, place + 2 * LANES, c)
            store(out, place + 3 * LANES, d)
        for i in range(fours, n):
            a = load(out, i * LANES)
            for k in range(begin, end):
                a = fma(at(W, offset + i * pitch + k), load(rows, k * LANES), a)
            store(out, i * LANES, a)


@inner
def fill(out, count, rows, theta, start):
    """out[c] = theta[start + c] in every lane, or 0 where start < 0; and 0 in the rows that only fill up."""
    for c in range(rows):
        value = np.float32(0)
        if start >= 0 and c < count:
            value = at(theta, start + c)
        store(out, c * LANES, splat(value))


@inner
def outer_few(m, rows, hidden, pairs):
    """pairs[i, k], a register of partial sums, += features_i hidden_k."""
    for j in range(rows.wholes):
        i = at(rows.whole, j)
        row = load(rows.row, i * LANES)
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
def outer_many(pitch, rows, turned, gradient, offset):
    """gradient[offset + i pitch + k] += sum over samples of features_i hidden_k, hidden as `turn` left it."""
    for j in range(0, rows.wholes, ABREAST):
        k = 0
        if WIDE > NATIVE:
            while k + WIDE <= pitch:
                _outer_abreast(rows, j, turned, k, splat_wide(np.float32(0)), pitch, gradient, offset)
                k += WIDE
        while k < pitch:
            _outer_abreast(rows, j, turned, k, splat_native(np.float32(0)), pitch, gradient, offset)
            k += NATIVE
    for j in range(rows.thins):
        i = at(rows.thin, j)
        for k in range(0, pitch, NATIVE):
            bits, place = at(rows.lanes, j), offset + i * pitch + k
            a = load_native(gradient, place)
            while bits != np.uint64(0):
                sample = lowest(bits)
                bits &= bits - ONE
                a = fma(at(rows.row, i * LANES + sample), load_native(turned, k * LANES + sample * NATIVE), a)
            store(gradient, place, a)


@inner
def _outer_abreast(rows, j, turned, k, zero, pitch, gradient, offset):
    """The same for `ABREAST` features, from place ``j`` on, and as many neurons from ``k`` on as ``zero`` has lanes."""
    i0, i1, i2, i3 = at(rows.whole, j), at(rows.whole, j + 1), at(rows.whole, j + 2), at(rows.whole, j + 3)
    i4, i5, i6, i7 = at(rows.whole, j + 4), at(rows.whole, j + 5), at(rows.whole, j + 6), at(rows.whole, j + 7)
    x0, x1, x2, x3 = _row(rows, i0), _row(rows, i1), _row(rows, i2), _row(rows, i3)
    x4, x5, x6, x7 = _row(rows, i4), _row(rows, i5), _row(rows, i6), _row(rows, i7)
    a = b = c = d = e = f = g = h = zero
    for sample in range(LANES):
        column = load_column(turned, k * LANES + sample * NATIVE, zero)
        a = fma(at(x0, sample), column, a)
        b = fma(at(x1, sample), column, b)
        c = fma(at(x2, sample), column, c)
        d = fma(at(x3, sample), column, d)
        e = fma(at(x4, sample), column, e)
        f = fma(at(x5, sample), column, f)
        g = fma(at(x6, sample), column, g)
        h = fma(at(x7, sample), column, h)
    place = offset + k
    add_to(gradient, place + i0 * pitch, a)
    add_to(gradient, place + i1 * pitch, b)
    add_to(gradient, place + i2 * pitch, c)
    add_to(gradient, place + i3 * pitch, d)
    add_to(gradient, place + i4 * pitch, e)
    add_to(gradient, place + i5 * pitch, f)
    add_to(gradient, place + i6 * pitch, g)
    add_to(gradient, place + i7 * pitch, h)


@inner
def _row(rows, i):
    return shifted(rows.row, i * LANES)
