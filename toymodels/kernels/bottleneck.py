"""The bottleneck on a tile: forward, error and backward of one model, as `toymodels.bottleneck` has the equations.

A model's parameters are one flat float32 array ``theta``, so that an optimizer is one loop; `Shape` says where each
begins. Weight matrices are feature-major with rows of ``pitch`` numbers, and what only fills up stays 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymodels.kernels import products
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
from toymodels.kernels.products import FEW, decode, encode, fill, outer_few, outer_many, sort_rows, sum_pairs, turn
from toymodels.kernels.vector import (
    LANES,
    NATIVE,
    absolute,
    at,
    fma,
    fold,
    load,
    load_native,
    pointer,
    put,
    shifted,
    splat,
    splat_native,
    store,
    total,
    where,
)

PART = 256
"""Samples whose gradient is one sum. Parts are added up in order, so a step may use several threads and not show it."""


class Shape(NamedTuple):
    """One structure: sizes, where each parameter begins in ``theta`` (-1: not there), and what to compute."""

    n: int
    m: int
    pitch: int
    batch: int
    W_in: int
    W_out: int
    """that of W_in where the weights are tied"""
    b_in: int
    b_out: int
    gain: int
    bias: int
    size: int
    """of theta"""
    activation: int
    layer_norm: int
    relu_output: int
    absolute_target: int


class Work(NamedTuple):
    """What one thread writes on: rows of the tile, partial sums, and one gradient."""

    x: np.ndarray
    r: np.ndarray
    """the read-out, then dL/dreadout"""
    z: np.ndarray
    mid: np.ndarray
    slope: np.ndarray
    unit: np.ndarray
    """LayerNorm's result before gain and bias"""
    scale: np.ndarray
    post: np.ndarray
    g: np.ndarray
    """the gradient on its way back through the hidden layer"""
    turned: np.ndarray
    pairs: np.ndarray
    """partial sums of weight gradients, by pair of rows"""
    sums: np.ndarray
    """partial sums of the other gradients: b_out, b_in, gain, bias"""
    valid: np.ndarray
    """1 for samples of the batch, a row for whole tiles and one for the last"""
    loss: np.ndarray
    group: np.ndarray
    input_lists: np.ndarray
    """of the rows of x that are not 0; see `products.Rows`"""
    input_lanes: np.ndarray
    error_lists: np.ndarray
    """of those of dL/dreadout"""
    error_lanes: np.ndarray
    part: np.ndarray
    gradient: np.ndarray
    update: np.ndarray


def workspace(shape: Shape) -> Work:
    """Room for one thread, all 0, aligned to cache lines."""
    n, m, few = products.padded(shape.n), products.padded(max(shape.pitch, NATIVE)), shape.m <= FEW
    tied = shape.W_in == shape.W_out
    rows = {"x": n, "r": n, "scale": 1, "loss": 1, "group": 1, "valid": 2, "turned": 0 if few else m}
    rows |= dict.fromkeys(("z", "mid", "slope", "unit", "post", "g"), m)
    sizes = {name: count * LANES for name, count in rows.items()}
    sizes["pairs"] = NATIVE * shape.n * shape.m * (1 if tied else 2) if few else 0
    sizes["sums"] = NATIVE * (shape.n + 3 * shape.m)
    sizes |= dict.fromkeys(("part", "gradient", "update"), shape.size)
    most = max(n, m)  # evaluation sorts hidden rows too
    lists = {f"{which}_lists": np.zeros(2 * most, np.int64) for which in ("input", "error")}
    lanes = {f"{which}_lanes": np.zeros(most, np.uint64) for which in ("input", "error")}
    work = Work(**{name: aligned(size) for name, size in sizes.items()}, **lists, **lanes)
    lane = np.arange(LANES)
    sample = 4 * (lane % (LANES // 4)) + lane // (LANES // 4)
    work.valid[:LANES] = 1
    work.valid[LANES:] = sample < (shape.batch - 1) % LANES + 1
    return work


def aligned(size: int) -> np.ndarray:
    """Zeros, float32, that begin on a cache line."""
    room = np.zeros(size + 16, np.float32)
    begin = -(room.ctypes.data // 4) % 16
    return room[begin : begin + size]


class Room(NamedTuple):
    """A `Work` as pointers."""

    x: int
    r: int
    z: int
    mid: int
    slope: int
    unit: int
    scale: int
    post: int
    g: int
    turned: int
    pairs: int
    sums: int
    valid: int
    loss: int
    group: int
    input_lists: int
    input_lanes: int
    error_lists: int
    error_lanes: int
    part: int
    gradient: int
    update: int


@inner
def room_of(work):
    """The pointers to a `Work`."""
    return Room(
        pointer(work.x),
        pointer(work.r),
        pointer(work.z),
        pointer(work.mid),
        pointer(work.slope),
        pointer(work.unit),
        pointer(work.scale),
        pointer(work.post),
        pointer(work.g),
        pointer(work.turned),
        pointer(work.pairs),
        pointer(work.sums),
        pointer(work.valid),
        pointer(work.loss),
        pointer(work.group),
        pointer(work.input_lists),
        pointer(work.input_lanes),
        pointer(work.error_lists),
        pointer(work.error_lanes),
        pointer(work.part),
        pointer(work.gradient),
        pointer(work.update),
    )


@inner
def clear(values, size):
    """``size`` zeros, a multiple of `NATIVE`."""
    for p in range(0, size, NATIVE):
        store(values, p, splat_native(np.float32(0)))


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
    zero, loss = np.float32(0), load(room.loss, 0)
    counts = load(room.valid, valid)
    slope = np.float32(2) / np.float32(shape.batch)
    for i in range(shape.n):
        r, t = load(room.r, i * LANES), load(room.x, i * LANES)
        if shape.absolute_target:
            t = absolute(t)
        y, below = r, r <= zero
        if shape.relu_output:
            y = where(below, zero, r)
        e = (y - t) * counts
        weighted = e * at(importance, i)
        loss = fma(weighted, e, loss)
        dr = weighted * slope
        if shape.relu_output:
            dr = where(below, zero, dr)
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
