"""The bottleneck on a tile: forward, error and backward of one model, as `toymodels.bottleneck` has the equations.

A model's parameters are in ``theta``, at the places that a `Shape` says; what is computed on the way is in the rows of
a `Room`.
"""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import function, inner
from toymodels.kernels.draw import DATA, FIRING, draw_tile
from toymodels.kernels.layers import (
    activate,
    activate_backward,
    affine,
    affine_backward,
    normalise,
    normalise_backward,
)
from toymodels.kernels.objective import difference_of, output_backward, output_of, target_of
from toymodels.kernels.products import FEW, decode, encode, fill, outer_few, outer_many, sort_rows, sum_pairs, turn
from toymodels.kernels.vector import LANES, NATIVE, at, fma, fold, load, load_native, put, shifted, splat, store, total
from toymodels.kernels.workspace import clear

PART = 256
"""Samples whose gradient is one sum. Parts are added up in order, so a step may use several threads and not show it."""


@inner
def forward(shape, theta, eps, inputs, room):
    """From x, sorted in ``inputs``, to the read-out; returns post, or mid where there is no LayerNorm."""
    m, post = shape.m, room.mid
    fill(room.z, m, shape.pitch, theta, shape.b_in)
    encode(theta, shape.W_in, shape.pitch, m, inputs, room.z, room.turned)
    activate(shape.activation, m, room.z, room.mid, room.slope)
    if shape.layer_norm:
        normalise(m, room.mid, eps, room.unit, room.scale)
        post = room.unit
        if shape.gain >= 0:
            affine(m, room.unit, theta, shape.gain, shape.bias, room.post)
            post = room.post
    fill(room.r, shape.n, shape.n, theta, shape.b_out)
    decode(theta, shape.W_out, shape.pitch, shape.n, m, post, room.r)
    return post


@inner
def error(shape, importance, valid, room):
    """Adds I (y - t)^2 to ``loss`` and turns the read-out into dL/dreadout, L the mean over the batch."""
    loss, counts = load(room.loss, 0), load(room.valid, valid)
    slope = np.float32(2) / np.float32(shape.batch)
    for i in range(shape.n):
        r, t = load(room.r, i * LANES), target_of(shape.target, load(room.x, i * LANES))
        e = difference_of(shape.loss, t, output_of(shape.output, r)) * counts
        weighted = e * at(importance, i)
        loss = fma(weighted, e, loss)
        dr = output_backward(shape.output, r, weighted * slope)
        store(room.r, i * LANES, dr)
        store(room.sums, i * NATIVE, load_native(room.sums, i * NATIVE) + fold(dr))
    store(room.loss, 0, loss)


@inner
def backward(shape, theta, inputs, post, room):
    """Adds the tile's gradient to ``part``, ``pairs`` and ``sums``."""
    n, m, pitch = shape.n, shape.m, shape.pitch
    sums = shifted(room.sums, n * NATIVE)
    errors = sort_rows(room.r, n, pitch, room.error_lists, room.error_lanes)
    fill(room.g, m, pitch, theta, -1)
    encode(theta, shape.W_out, pitch, m, errors, room.g, room.turned)
    if m <= FEW:
        outer_few(m, errors, post, room.pairs)
    else:
        turn(m, post, room.turned)
        outer_many(pitch, errors, room.turned, room.part, shape.W_out)
    if shape.layer_norm:
        if shape.gain >= 0:
            affine_backward(m, room.unit, theta, shape.gain, room.g, m * NATIVE, 2 * m * NATIVE, sums)
        normalise_backward(m, room.unit, room.scale, room.g)
    activate_backward(shape.activation, m, room.z, room.mid, room.slope, room.g)
    if shape.b_in >= 0:
        for k in range(m):
            store(sums, k * NATIVE, load_native(sums, k * NATIVE) + fold(load(room.g, k * LANES)))
    if m <= FEW:
        outer_few(m, inputs, room.g, shifted(room.pairs, _pairs_in(shape)))
    else:
        turn(m, room.g, room.turned)
        outer_many(pitch, inputs, room.turned, room.part, shape.W_in)


@inner
def _pairs_in(shape):
    """Where the pairs of W_in begin: those of W_out come first, and are the same where the weights are tied."""
    return 0 if shape.W_in == shape.W_out else shape.n * shape.m * NATIVE


@inner
def _sum_up(shape, room):
    """Partial sums, added up into ``part``."""
    n, m = shape.n, shape.m
    if m <= FEW:
        sum_pairs(n, m, room.pairs, room.part, shape.W_out)
        if shape.W_in != shape.W_out:
            sum_pairs(n, m, shifted(room.pairs, _pairs_in(shape)), room.part, shape.W_in)
    _sum_rows(room.sums, 0, n, room.part, shape.b_out)
    _sum_rows(room.sums, n, m, room.part, shape.b_in)
    _sum_rows(room.sums, n + m, m, room.part, shape.gain)
    _sum_rows(room.sums, n + 2 * m, m, room.part, shape.bias)


@inner
def _sum_rows(sums, first, count, part, offset):
    if offset >= 0:
        for c in range(count):
            put(part, offset + c, total(load_native(sums, (first + c) * NATIVE)))


@function
def part_of_step(shape, draw, importance, theta, eps, step, first, want_gradient, room):
    """The sum of losses of one part of a step, from sample ``first`` on; its gradient in ``part`` if wanted."""
    if want_gradient:
        clear(room.part, shape.size)
        clear(room.sums, NATIVE * (shape.n + 3 * shape.m))
        if shape.m <= FEW:
            clear(room.pairs, NATIVE * shape.n * shape.m + _pairs_in(shape))
    store(room.loss, 0, splat(np.float32(0)))
    for sample in range(first, min(shape.batch, first + PART), LANES):
        draw_tile(draw, shape.n, sample, step, DATA, FIRING, room.x, room.group)
        valid = 0
        if sample + LANES > shape.batch:
            valid = LANES
            counts = load(room.valid, valid)
            for i in range(shape.n):
                store(room.x, i * LANES, load(room.x, i * LANES) * counts)
        inputs = sort_rows(room.x, shape.n, shape.pitch, room.input_lists, room.input_lanes)
        post = forward(shape, theta, eps, inputs, room)
        error(shape, importance, valid, room)
        if want_gradient:
            backward(shape, theta, inputs, post, room)
    if want_gradient:
        _sum_up(shape, room)
    return total(load(room.loss, 0))
