"""Moments: sums over fresh data of one trained model after the other. `toymodels.metrics.moments` says which.

Within a chunk of samples the sums are float32 and kept by lane; over chunks they are float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymodels.kernels.bottleneck import embed, forward, given_of, read_pitch
from toymodels.kernels.compiled import function, inner, kernel
from toymodels.kernels.draw import EVALUATION, EVALUATION_FIRING, draw_of, draw_tile
from toymodels.kernels.objective import SOFTMAX, known, log_sum_exp, output_of, prediction_and_cost, target_of
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
BY_TARGET, BY_MODEL, BY_NEURON, TAPS, SQUARES = 6, 1, 6, 3, 4


class Sheet(NamedTuple):
    """What one thread adds up of a chunk, float32."""

    by_lane: np.ndarray
    """a register a sum: by feature how often active; by target t, t^2, y, y^2, (y - t)^2, loss(t, y); the square of a
    sample's loss; by neuron pre, mid, post and their squares; and the products, where neurons are few"""
    products: np.ndarray
    """target x pre, mid, post as weight matrices, and pre x pre, mid x pre, mid x mid, post x post, where neurons are
    many"""
    target: np.ndarray
    """rows"""


class Places(NamedTuple):
    """How many sums there are, by kind."""

    n: int
    outputs: int
    m: int
    rows: int
    """of a product with the target, with those that only fill up"""
    hidden_rows: int
    pitch: int
    by_lane: int
    products: int


def places(shape: Shape) -> Places:
    """The sums of one model, in their order."""
    n, outputs, m = shape.n, shape.outputs, shape.m
    by_lane = n + BY_TARGET * outputs + BY_MODEL + BY_NEURON * m
    if m <= FEW:
        return Places(n, outputs, m, outputs, m, m, by_lane + TAPS * outputs * m + SQUARES * m * m, 0)
    rows, hidden_rows = padded(outputs), padded(m)
    products = (TAPS * rows + SQUARES * hidden_rows) * shape.pitch
    return Places(n, outputs, m, rows, hidden_rows, shape.pitch, by_lane, products)


def sheet(shape: Shape) -> Sheet:
    """Room for one thread."""
    size = places(shape)
    return Sheet(aligned(size.by_lane * NATIVE), aligned(size.products), aligned(padded(shape.outputs) * LANES))


@kernel
def collect(shape, source, theta, own, samples, work, sheet, sums, first_model, last_model, begin, end):
    """``sums[model, place]`` float64 += the sums over samples [begin, end) of some models.

    ``own`` is what they have beside theta; ``work`` is for batches of ``samples``; all but the last ``end`` are
    multiples of `LANES`.
    """
    n, outputs, m, pitch = shape.n, shape.outputs, shape.m, shape.pitch
    room, by_lane, products = room_of(work), pointer(sheet.by_lane), pointer(sheet.products)
    target, by_model = pointer(sheet.target), n + BY_TARGET * outputs
    lanes, neurons = len(sheet.by_lane) // NATIVE, shifted(by_lane, (by_model + BY_MODEL) * NATIVE)
    product, size, square = products, padded_rows(outputs) * pitch, padded_rows(m) * pitch
    if m <= FEW:
        product, size, square = shifted(neurons, BY_NEURON * m * NATIVE), outputs * m * NATIVE, m * m * NATIVE
    for model in range(first_model, last_model):
        weights, draw = shifted(pointer(theta), model * shape.size), draw_of(source, model)
        given = given_of(own, model)
        for first in range(begin, end, CHUNK):
            clear(by_lane, len(sheet.by_lane))
            clear(products, len(sheet.products))
            for sample in range(first, min(end, first + CHUNK), LANES):
                last = sample + LANES > samples
                counts = load(room.valid, LANES if last else 0)
                draw_tile(draw, n, sample, 0, EVALUATION, EVALUATION_FIRING, room.x, room.group)
                _mask(room.x, n, counts)
                x = sort_rows(room.x, n, read_pitch(shape), room.input_lists, room.input_lanes)
                inputs = embed(shape, weights, given, x, room)
                post = forward(shape, weights, given.eps, inputs, room)
                if last:
                    _mask(room.z, m, counts)
                    _mask(room.mid, m, counts)
                    if shape.layer_norm:
                        _mask(post, m, counts)
                _features(shape, room, by_lane)
                _targets(shape, counts, room, shifted(by_lane, n * NATIVE), target, given)
                for tap, rows in enumerate((room.z, room.mid, post)):
                    _neurons(m, rows, shifted(neurons, tap * m * NATIVE), shifted(neurons, (TAPS + tap) * m * NATIVE))
                targets = sort_rows(target, outputs, pitch, room.error_lists, room.error_lanes)
                for tap, rows in enumerate((room.z, room.mid, post)):
                    _outer(shape, targets, rows, room, shifted(product, tap * size))
                pairs = ((room.z, room.z), (room.mid, room.z), (room.mid, room.mid), (post, post))
                for place, (rows, columns) in enumerate(pairs):
                    hidden = sort_rows(rows, m, pitch, room.input_lists, room.input_lanes)
                    _outer(shape, hidden, columns, room, shifted(product, TAPS * size + place * square))
            for place in range(lanes):
                sums[model, place] += np.float64(total(load_native(by_lane, place * NATIVE)))
            for place in range(len(sheet.products)):
                sums[model, lanes + place] += np.float64(at(products, place))


@inner
def _mask(rows, count, counts):
    for i in range(count):
        store(rows, i * LANES, load(rows, i * LANES) * counts)


@inner
def _add(sums, place, value):
    store(sums, place, load_native(sums, place) + fold(value))


@inner
def _features(shape, room, sums):
    zero, one = np.float32(0), splat(np.float32(1))
    for i in range(shape.n):
        _add(sums, i * NATIVE, where(load(room.x, i * LANES) != zero, one, zero))


@inner
def _targets(shape, counts, room, sums, target, given):
    stride, loss, sound = shape.outputs * NATIVE, splat(np.float32(0)), known(shape)
    counts, log_sum = counts * sound, splat(np.float32(0))
    if shape.loss == SOFTMAX:
        log_sum = log_sum_exp(shape.outputs, room.r)
    for i in range(shape.outputs):
        t = target_of(shape.target, room.x, given.members, i) * sound
        y, cost = prediction_and_cost(shape.loss, output_of(shape.output, load(room.r, i * LANES)), t, log_sum)
        y, cost, place = y * counts, cost * counts, i * NATIVE
        store(target, i * LANES, t)
        e = y - t
        _add(sums, place, t)
        _add(sums, place + stride, t * t)
        _add(sums, place + 2 * stride, y)
        _add(sums, place + 3 * stride, y * y)
        _add(sums, place + 4 * stride, e * e)
        _add(sums, place + 5 * stride, cost)
        loss = loss + cost * at(given.importance, i)
    _add(sums, BY_TARGET * stride, loss * loss)


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
