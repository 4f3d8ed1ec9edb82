"""Moments: sums over fresh data of one trained model after the other. `toymodels.metrics.moments` says which.

Within a chunk of samples the sums are float32 and kept by lane; over chunks they are float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymodels.kernels.bottleneck import forward
from toymodels.kernels.compiled import function, inner, kernel
from toymodels.kernels.draw import EVALUATION, EVALUATION_FIRING, draw_of, draw_tile
from toymodels.kernels.objective import difference_of, output_of, target_of
from toymodels.kernels.products import FEW, outer_few, outer_many, padded, padded_rows, sort_rows, turn
from toymodels.kernels.shape import Shape
from toymodels.kernels.vector import (
    LANES,
    NATIVE,
    at,
    dot,
    fold,
    load,
    load_native,
    pointer,
    shifted,
    splat,
    store,
    total,
    where,
)
from toymodels.kernels.workspace import aligned, clear, room_of

CHUNK = 1024
BY_FEATURE, BY_MODEL, BY_NEURON, TAPS, SQUARES = 6, 1, 6, 3, 4


class Sheet(NamedTuple):
    """What one thread adds up of a chunk, float32."""

    by_lane: np.ndarray
    """a register a sum: by feature how often active, t, t^2, y, y^2, (y - t)^2; the square of a sample's loss; by
    neuron pre, mid, post and their squares; and the products, where neurons are few"""
    products: np.ndarray
    """target x pre, mid, post as weight matrices, and pre x pre, mid x pre, mid x mid, post x post, where neurons are
    many"""
    target: np.ndarray
    """rows"""


class Places(NamedTuple):
    """How many sums there are, by kind."""

    n: int
    m: int
    rows: int
    """of a product with the target, with those that only fill up"""
    hidden_rows: int
    pitch: int
    by_lane: int
    products: int


def places(shape: Shape) -> Places:
    """The sums of one model, in their order."""
    n, m = shape.n, shape.m
    by_lane = BY_FEATURE * n + BY_MODEL + BY_NEURON * m
    if m <= FEW:
        return Places(n, m, n, m, m, by_lane + TAPS * n * m + SQUARES * m * m, 0)
    rows, hidden_rows = padded(n), padded(m)
    return Places(n, m, rows, hidden_rows, shape.pitch, by_lane, (TAPS * rows + SQUARES * hidden_rows) * shape.pitch)


def sheet(shape: Shape) -> Sheet:
    """Room for one thread."""
    size = places(shape)
    return Sheet(aligned(size.by_lane * NATIVE), aligned(size.products), aligned(padded(shape.n) * LANES))


@kernel
def collect(shape, source, theta, eps, importance, samples, work, own, sums, first_model, last_model, begin, end):
    """``sums[model, place]`` float64 += the sums over samples [begin, end) of some models.

    ``importance`` is float32 [model, feature]; ``work`` is for batches of ``samples``; all but the last ``end`` are
    multiples of `LANES`.
    """
    n, m, pitch = shape.n, shape.m, shape.pitch
    room, by_lane, products, target = room_of(work), pointer(own.by_lane), pointer(own.products), pointer(own.target)
    lanes, neurons = len(own.by_lane) // NATIVE, shifted(by_lane, (BY_FEATURE * n + BY_MODEL) * NATIVE)
    product, size, square = products, padded_rows(n) * pitch, padded_rows(m) * pitch
    if m <= FEW:
        product, size, square = shifted(neurons, BY_NEURON * m * NATIVE), n * m * NATIVE, m * m * NATIVE
    for model in range(first_model, last_model):
        weights, draw = shifted(pointer(theta), model * shape.size), draw_of(source, model)
        costs = shifted(pointer(importance), model * n)
        for first in range(begin, end, CHUNK):
            clear(by_lane, len(own.by_lane))
            clear(products, len(own.products))
            for sample in range(first, min(end, first + CHUNK), LANES):
                last = sample + LANES > samples
                counts = load(room.valid, LANES if last else 0)
                draw_tile(draw, n, sample, 0, EVALUATION, EVALUATION_FIRING, room.x, room.group)
                _mask(room.x, n, counts)
                inputs = sort_rows(room.x, n, pitch, room.input_lists, room.input_lanes)
                post = forward(shape, weights, eps[model], inputs, room)
                if last:
                    _mask(room.z, m, counts)
                    _mask(room.mid, m, counts)
                    if shape.layer_norm:
                        _mask(post, m, counts)
                _features(shape, counts, room, by_lane, target, costs)
                for tap, rows in enumerate((room.z, room.mid, post)):
                    _neurons(m, rows, shifted(neurons, tap * m * NATIVE), shifted(neurons, (TAPS + tap) * m * NATIVE))
                targets = sort_rows(target, n, pitch, room.error_lists, room.error_lanes)
                for tap, rows in enumerate((room.z, room.mid, post)):
                    _outer(shape, targets, rows, room, shifted(product, tap * size))
                pairs = ((room.z, room.z), (room.mid, room.z), (room.mid, room.mid), (post, post))
                for place, (rows, columns) in enumerate(pairs):
                    hidden = sort_rows(rows, m, pitch, room.input_lists, room.input_lanes)
                    _outer(shape, hidden, columns, room, shifted(product, TAPS * size + place * square))
            for place in range(lanes):
                sums[model, place] += np.float64(total(load_native(by_lane, place * NATIVE)))
            for place in range(len(own.products)):
                sums[model, lanes + place] += np.float64(at(products, place))


@inner
def _mask(rows, count, counts):
    for i in range(count):
        store(rows, i * LANES, load(rows, i * LANES) * counts)


@inner
def _add(sums, place, value):
    store(sums, place, load_native(sums, place) + fold(value))


@inner
def _features(shape, counts, room, sums, target, costs):
    zero, one, stride = np.float32(0), splat(np.float32(1)), shape.n * NATIVE
    loss = splat(np.float32(0))
    for i in range(shape.n):
        x = load(room.x, i * LANES)
        t, y = target_of(shape.target, x), output_of(shape.output, load(room.r, i * LANES)) * counts
        store(target, i * LANES, t)
        e, place = difference_of(shape.loss, t, y), i * NATIVE
        _add(sums, place, where(x != zero, one, zero))
        _add(sums, place + stride, t)
        _add(sums, place + 2 * stride, t * t)
        _add(sums, place + 3 * stride, y)
        _add(sums, place + 4 * stride, y * y)
        _add(sums, place + 5 * stride, e * e)
        loss = loss + e * e * at(costs, i)
    _add(sums, BY_FEATURE * stride, loss * loss)


@inner
def _neurons(m, rows, sums, squares):
    for k in range(m):
        row, place = load(rows, k * LANES), k * NATIVE
        _add(sums, place, row)
        store(squares, place, dot(row, row, load_native(squares, place)))


@function
def _outer(shape, features, hidden, room, product):
    if shape.m <= FEW:
        outer_few(shape.m, features, hidden, product)
    else:
        turn(shape.m, hidden, room.turned)
        outer_many(shape.pitch, features, room.turned, product, 0)
