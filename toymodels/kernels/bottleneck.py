"""The bottleneck on a tile: forward, error and backward of one model, as `toymodels.bottleneck` has the equations.

A model's parameters are in ``theta``, at the places that a `Shape` says, what it has beside them in `Given`; what is
computed on the way is in the rows of a `Room`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymodels.kernels.compiled import function, inner
from toymodels.kernels.contributions import cost_of_lengths, cost_of_mid, measure_lengths
from toymodels.kernels.draw import DATA, FIRING, draw_tile
from toymodels.kernels.elementary import exp
from toymodels.kernels.layers import (
    activate,
    activate_backward,
    affine,
    affine_backward,
    normalise,
    normalise_backward,
)
from toymodels.kernels.objective import (
    SIGMOID,
    SOFTMAX,
    known,
    log_sum_exp,
    output_backward,
    output_of,
    sigmoid_and_softplus,
    target_of,
)
from toymodels.kernels.products import FEW, decode, encode, fill, outer_few, outer_many, sort_rows, sum_pairs, turn
from toymodels.kernels.vector import (
    LANES,
    NATIVE,
    at,
    fma,
    fold,
    load,
    load_native,
    pointer,
    put,
    shifted,
    splat,
    store,
    total,
)
from toymodels.kernels.workspace import clear

PART = 256
"""Samples whose gradient is one sum. Parts are added up in order, so a step may use several threads and not show it."""


class Own(NamedTuple):
    """What each model has beside its trained parameters, model by model on the leading axis."""

    eps: np.ndarray
    """[model] float32, LayerNorm's"""
    importance: np.ndarray
    """[model, target] float32"""
    embedding: np.ndarray
    """[model, weight] float32, a fixed embedding as `products` has a matrix; empty where there is none"""
    members: np.ndarray
    """[model, 2 targets] int64, the features of every pair; empty where targets are of features"""
    l1: np.ndarray
    """[model] float32, what activations cost"""


class Given(NamedTuple):
    """One model's part of an `Own`, as pointers."""

    eps: float
    importance: int
    embedding: int
    members: int
    l1: float


@inner
def given_of(own, model):
    """What one model has beside its trained parameters."""
    return Given(
        own.eps[model],
        shifted(pointer(own.importance), model * own.importance.shape[1]),
        shifted(pointer(own.embedding), model * own.embedding.shape[1]),
        shifted(pointer(own.members), model * own.members.shape[1]),
        own.l1[model],
    )


@inner
def embed(shape, theta, given, x, room):
    """What W_in reads, as sorted rows: E x of ``x``, sorted rows of features; ``x`` itself without an embedding."""
    if shape.input_pitch == 0:
        return x
    E = given.embedding
    if shape.E >= 0:
        E = shifted(theta, shape.E)
    fill(room.embedded, 0, shape.inputs, theta, -1)
    encode(E, 0, shape.input_pitch, shape.inputs, x, room.embedded, room.turned)
    return sort_rows(room.embedded, shape.inputs, shape.pitch, room.embedded_lists, room.embedded_lanes)


@inner
def preactivation(shape, theta, inputs, z, turned):
    """z = W_in x + b_in in ``shape.pitch`` rows, of what W_in reads, sorted in ``inputs``."""
    fill(z, shape.m, shape.pitch, theta, shape.b_in)
    encode(theta, shape.W_in, shape.pitch, shape.m, inputs, z, turned)


@inner
def hidden_from(shape, theta, eps, room):
    """From ``z`` to the end of the hidden layer; returns post, or mid where there is no LayerNorm."""
    m = shape.m
    activate(shape.activation, m, room.z, room.mid, room.slope)
    if not shape.layer_norm:
        return room.mid
    normalise(m, room.mid, eps, room.unit, room.scale)
    if shape.gain < 0:
        return room.unit
    affine(m, room.unit, theta, shape.gain, shape.bias, room.post)
    return room.post


@inner
def forward(shape, theta, eps, inputs, room):
    """From what W_in reads, sorted in ``inputs``, to the read-out; returns post, or mid where there is no LayerNorm."""
    preactivation(shape, theta, inputs, room.z, room.turned)
    post = hidden_from(shape, theta, eps, room)
    fill(room.r, shape.outputs, shape.outputs, theta, shape.b_out)
    decode(theta, shape.W_out, shape.pitch, shape.outputs, shape.m, post, room.r)
    return post


@inner
def error(shape, given, valid, room):
    """Adds I loss(t, y) to ``loss`` and turns the read-out into dL/dreadout, L the mean over the batch."""
    loss, counts = load(room.loss, 0), load(room.valid, valid) * known(shape)
    share = np.float32(1) / np.float32(shape.batch)
    if shape.loss == SIGMOID:
        for i in range(shape.outputs):
            y, t = load(room.r, i * LANES), target_of(shape.target, room.x, given.members, i)
            p, softplus = sigmoid_and_softplus(y)
            weight = counts * at(given.importance, i)
            loss = fma(weight, softplus - t * y, loss)
            _keep_slope(room, i, (p - t) * weight * share)
    elif shape.loss == SOFTMAX:
        log_sum, shared = log_sum_exp(shape.outputs, room.r), splat(np.float32(0))
        for i in range(shape.outputs):
            weighted = target_of(shape.target, room.x, given.members, i) * counts * at(given.importance, i)
            loss = fma(weighted, log_sum - load(room.r, i * LANES), loss)
            shared = shared + weighted
        for i in range(shape.outputs):
            weighted = target_of(shape.target, room.x, given.members, i) * counts * at(given.importance, i)
            p = exp(load(room.r, i * LANES) - log_sum)
            _keep_slope(room, i, (shared * p - weighted) * share)
    else:
        slope = np.float32(2) * share
        for i in range(shape.outputs):
            r, t = load(room.r, i * LANES), target_of(shape.target, room.x, given.members, i)
            e = (output_of(shape.output, r) - t) * counts
            weighted = e * at(given.importance, i)
            loss = fma(weighted, e, loss)
            _keep_slope(room, i, output_backward(shape.output, r, weighted * slope))
    store(room.loss, 0, loss)


@inner
def _keep_slope(room, i, dr):
    """dL/dreadout of a target: in its row, and added up for the output bias."""
    store(room.r, i * LANES, dr)
    store(room.sums, i * NATIVE, load_native(room.sums, i * NATIVE) + fold(dr))


@inner
def backward(shape, theta, given, valid, x, inputs, post, room):
    """Adds the tile's gradient to ``part``, ``pairs`` and ``sums``; ``x`` and ``inputs`` as from `embed`."""
    m, pitch = shape.m, shape.pitch
    sums = shifted(room.sums, shape.outputs * NATIVE)
    errors = sort_rows(room.r, shape.outputs, pitch, room.error_lists, room.error_lanes)
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
    if given.l1 != np.float32(0):
        cost_of_mid(shape, given.l1, valid, room)
    activate_backward(shape.activation, m, room.z, room.mid, room.slope, room.g)
    if shape.b_in >= 0:
        for k in range(m):
            store(sums, k * NATIVE, load_native(sums, k * NATIVE) + fold(load(room.g, k * LANES)))
    if m <= FEW:
        outer_few(m, inputs, room.g, shifted(room.pairs, shape.pairs_in))
    else:
        turn(m, room.g, room.turned)
        outer_many(pitch, inputs, room.turned, room.part, shape.W_in)
    if shape.E >= 0:
        _embedding_backward(shape, theta, x, room)


@function
def _embedding_backward(shape, theta, x, room):
    """Adds the gradient of a trained embedding, from dL/dz in ``g``."""
    d = shape.inputs
    fill(room.slope_in, 0, d, theta, -1)
    decode(theta, shape.W_in, shape.pitch, d, shape.m, room.g, room.slope_in)
    if d <= FEW:
        outer_few(d, x, room.slope_in, shifted(room.pairs, shape.pairs_E))
    else:
        turn(d, room.slope_in, room.turned)
        outer_many(shape.input_pitch, x, room.turned, room.part, shape.E)


@inner
def read_pitch(shape):
    """The pitch of the matrix that reads x."""
    return shape.input_pitch if shape.input_pitch > 0 else shape.pitch


@inner
def _sum_up(shape, room):
    """Partial sums, added up into ``part``."""
    n, m = shape.outputs, shape.m
    if m <= FEW:
        sum_pairs(n, m, room.pairs, room.part, shape.W_out)
        if shape.W_in != shape.W_out:
            sum_pairs(shape.inputs, m, shifted(room.pairs, shape.pairs_in), room.part, shape.W_in)
    if shape.E >= 0 and shape.inputs <= FEW:
        sum_pairs(shape.n, shape.inputs, shifted(room.pairs, shape.pairs_E), room.part, shape.E)
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
def part_of_step(shape, draw, given, theta, step, first, want_gradient, room):
    """The sum of losses of one part of a step, from sample ``first`` on; its gradient in ``part`` if wanted."""
    if want_gradient:
        clear(room.part, shape.size)
        clear(room.sums, NATIVE * (shape.outputs + 3 * shape.m))
        clear(room.pairs, shape.pairs)
        if given.l1 != np.float32(0):
            measure_lengths(shape, theta, room)
    store(room.loss, 0, splat(np.float32(0)))
    for sample in range(first, min(shape.batch, first + PART), LANES):
        draw_tile(draw, shape.n, sample, step, DATA, FIRING, room.x, room.group)
        valid = 0
        if sample + LANES > shape.batch:
            valid = LANES
            counts = load(room.valid, valid)
            for i in range(shape.n):
                store(room.x, i * LANES, load(room.x, i * LANES) * counts)
        x = sort_rows(room.x, shape.n, read_pitch(shape), room.input_lists, room.input_lanes)
        inputs = embed(shape, theta, given, x, room)
        post = forward(shape, theta, given.eps, inputs, room)
        error(shape, given, valid, room)
        if want_gradient:
            backward(shape, theta, given, valid, x, inputs, post, room)
    if want_gradient:
        _sum_up(shape, room)
        if given.l1 != np.float32(0):
            cost_of_lengths(shape, theta, given.l1, room)
    return total(load(room.loss, 0))
