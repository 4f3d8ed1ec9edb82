"""Rotated: how much single neurons of a model say of its targets once its pre-activations are rotated.

    R^2[draw, i] = max_k corr(t_i, post_k)^2,    post of Q z,    z = W_in x + b_in,    Q = rotations[draw]

z and the targets of some samples are computed once a model, by `keep`; `rotate` goes through them for each rotation.
Targets are mostly 0: of each chunk only their active examples are listed, and the sum of post_k t_i runs over these.
Neurons are taken about their value on the first sample, which changes no correlation: a sum of squares in one pass
loses no digits to a large mean, and a neuron that does not vary gives exactly 0. Within a chunk of samples sums are
float32, over chunks float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymodels.kernels.bottleneck import embed, given_of, hidden_from, preactivation, read_pitch
from toymodels.kernels.compiled import inner, kernel
from toymodels.kernels.draw import EVALUATION, EVALUATION_FIRING, draw_of, draw_tile
from toymodels.kernels.objective import known, target_of
from toymodels.kernels.products import decode, fill, sort_rows
from toymodels.kernels.shape import Shape
from toymodels.kernels.vector import (
    LANES,
    NATIVE,
    at,
    dot,
    fma,
    fold,
    lanes_of,
    load,
    load_native,
    lowest,
    pointer,
    put,
    shifted,
    splat_native,
    store,
    total,
    transpose,
)
from toymodels.kernels.workspace import aligned, clear, room_of

CHUNK = 512
"""Samples whose sums are float32: of `NATIVE` neurons, so many samples of post stay in the first cache (32 KiB)."""
STILL = 1e-12
"""Var(post_k) / (E post_k)^2 up to which a neuron counts as one that does not vary: what varies then is rounding."""
ONE = np.uint64(1)


class Held(NamedTuple):
    """What one thread keeps of one model on some samples, and the sums of one rotation."""

    z: np.ndarray
    """tiles of ``shape.pitch`` rows"""
    rows: np.ndarray
    """targets of a chunk: `CHUNK` samples of one, then of the next"""
    place: np.ndarray
    """int32: by chunk and target, where in ``turned`` its active examples are"""
    value: np.ndarray
    """t of these"""
    ends: np.ndarray
    """int64: where the list of a target ends, by chunk: one number more than there are targets, the first one 0"""
    target: np.ndarray
    """float64: sums of t, then of t^2"""
    shift: np.ndarray
    """post on the first sample"""
    centred: np.ndarray
    """rows of post less that; those that only fill up are 0"""
    turned: np.ndarray
    """the same of a chunk, transposed: for every `NATIVE` neurons a register a sample"""
    by_lane: np.ndarray
    """a register a sum over a chunk: of post, then of post^2"""
    products: np.ndarray
    """post x target over a chunk, target by target, as many numbers each as `width`"""
    sums: np.ndarray
    """float64: of post, of post^2, then products, over all samples"""


def width(m: int) -> int:
    """Neurons, filled up to whole registers."""
    return -(-m // NATIVE) * NATIVE


def chunks(samples: int) -> int:
    """How many chunks so many samples are."""
    return -(-samples // CHUNK)


def held(shape: Shape, samples: int) -> Held:
    """Room for one thread; memory that is not needed, as most of the lists, is never touched."""
    of, outputs, wide = chunks(samples), shape.outputs, width(shape.m)
    return Held(
        z=aligned(of * CHUNK * shape.pitch),
        rows=aligned(CHUNK * outputs),
        place=np.empty(of * CHUNK * outputs, np.int32),
        value=np.empty(of * CHUNK * outputs, np.float32),
        ends=np.zeros(of * (outputs + 1), np.int64),
        target=np.zeros(2 * outputs),
        shift=aligned(shape.m),
        centred=aligned(wide * LANES),
        turned=aligned(wide * CHUNK),
        by_lane=aligned(2 * shape.m * NATIVE),
        products=aligned(outputs * wide),
        sums=np.zeros((2 + outputs) * wide),
    )


@kernel
def keep(shape, source, theta, own, first, samples, work, held, model, first_chunk, last_chunk):
    """z and targets of some chunks of the samples [first, first + samples) of one model, from the first chunk on."""
    n, room, given = shape.n, room_of(work), given_of(own, model)
    weights, draw = shifted(pointer(theta), model * shape.size), draw_of(source, model)
    if first_chunk == 0:
        held.target[:] = 0
    for begin in range(first_chunk * CHUNK, last_chunk * CHUNK, CHUNK):
        end = min(samples, begin + CHUNK)
        for sample in range(begin, end, LANES):
            counts = load(room.valid, LANES if sample + LANES > samples else 0)
            draw_tile(draw, n, first + sample, 0, EVALUATION, EVALUATION_FIRING, room.x, room.group)
            for i in range(n):
                store(room.x, i * LANES, load(room.x, i * LANES) * counts)
            x = sort_rows(room.x, n, read_pitch(shape), room.input_lists, room.input_lanes)
            inputs = embed(shape, weights, given, x, room)
            preactivation(shape, weights, inputs, shifted(pointer(held.z), sample * shape.pitch), room.turned)
            rows = shifted(pointer(held.rows), sample - begin)
            for i in range(shape.outputs):
                store(rows, i * CHUNK, target_of(shape.target, room.x, given.members, i) * known(shape))
        _list(shape, begin, end, held)


@inner
def _list(shape, begin, end, held):
    """The active examples of every target in a chunk, whose rows are there."""
    first, ends = begin * shape.outputs, shifted(pointer(held.ends), begin // CHUNK * (shape.outputs + 1))
    place, value = shifted(pointer(held.place), first), shifted(pointer(held.value), first)
    listed = 0
    for i in range(shape.outputs):
        row = shifted(pointer(held.rows), i * CHUNK)
        t, tt = 0.0, 0.0
        for sample in range(0, end - begin, LANES):
            bits = lanes_of(load(row, sample) != np.float32(0))
            while bits != np.uint64(0):
                lane = sample + lowest(bits)
                bits &= bits - ONE
                one = np.float64(at(row, lane))
                t, tt = t + one, tt + one * one
                put(place, listed, np.int32(lane * NATIVE))
                put(value, listed, at(row, lane))
                listed += 1
        put(ends, i + 1, listed)
        held.target[i] += t
        held.target[shape.outputs + i] += tt


@kernel
def rotate(shape, theta, own, rotations, samples, work, held, found, model, first_draw, last_draw):
    """``found[model, draw, target]`` float64 of some draws, on the samples of this model that `keep` went through.

    ``rotations[draw, neuron, neuron]`` is float32. NaN where a target does not vary; 0 where no neuron does.
    """
    m, room, eps = shape.m, room_of(work), own.eps[model]
    weights, z = shifted(pointer(theta), model * shape.size), pointer(held.z)
    for draw in range(first_draw, last_draw):
        Q = shifted(pointer(rotations), draw * m * m)
        held.sums[:] = 0
        for begin in range(0, samples, CHUNK):
            end = min(samples, begin + CHUNK)
            clear(pointer(held.by_lane), len(held.by_lane))
            for sample in range(begin, end, LANES):
                fill(room.z, 0, m, weights, -1)
                decode(Q, 0, m, m, m, shifted(z, sample * shape.pitch), room.z)
                post = hidden_from(shape, weights, eps, room)
                if sample == 0:
                    for k in range(m):
                        put(pointer(held.shift), k, at(post, k * LANES))
                counts = load(room.valid, LANES if sample + LANES > samples else 0)
                _add_neurons(m, post, counts, held)
                for k in range(0, m, NATIVE):
                    place = k * CHUNK + (sample - begin) * NATIVE
                    transpose(pointer(held.centred), k * LANES, pointer(held.turned), place)
            _multiply(shape, begin, held)
            _add_chunk(shape, held)
        _largest(shape, samples, held, found[model, draw])


@inner
def _add_neurons(m, post, counts, held):
    """The rows of post about their shift; their sums and those of their squares, by lane."""
    shift, centred, sums = pointer(held.shift), pointer(held.centred), pointer(held.by_lane)
    squares = shifted(sums, m * NATIVE)
    for k in range(m):
        row, place = (load(post, k * LANES) - at(shift, k)) * counts, k * NATIVE
        store(centred, k * LANES, row)
        store(sums, place, load_native(sums, place) + fold(row))
        store(squares, place, dot(row, row, load_native(squares, place)))


@inner
def _multiply(shape, begin, held):
    """The products of a chunk; four sums at a time, so that none waits for the one before it."""
    first, ends = begin * shape.outputs, shifted(pointer(held.ends), begin // CHUNK * (shape.outputs + 1))
    places, values = shifted(pointer(held.place), first), shifted(pointer(held.value), first)
    products, wide = pointer(held.products), len(held.centred) // LANES
    for k in range(0, shape.m, NATIVE):
        post = shifted(pointer(held.turned), k * CHUNK)
        for i in range(shape.outputs):
            j, end = at(ends, i), at(ends, i + 1)
            a = b = c = d = splat_native(np.float32(0))
            while j + 4 <= end:
                a = fma(at(values, j), load_native(post, at(places, j)), a)
                b = fma(at(values, j + 1), load_native(post, at(places, j + 1)), b)
                c = fma(at(values, j + 2), load_native(post, at(places, j + 2)), c)
                d = fma(at(values, j + 3), load_native(post, at(places, j + 3)), d)
                j += 4
            while j < end:
                a = fma(at(values, j), load_native(post, at(places, j)), a)
                j += 1
            store(products, i * wide + k, (a + b) + (c + d))


@inner
def _add_chunk(shape, held):
    """The sums of a chunk, added to those of all samples."""
    m, sums, by_lane, products = shape.m, held.sums, pointer(held.by_lane), pointer(held.products)
    wide = len(held.centred) // LANES
    for k in range(m):
        sums[k] += np.float64(total(load_native(by_lane, k * NATIVE)))
        sums[wide + k] += np.float64(total(load_native(by_lane, (m + k) * NATIVE)))
    for p in range(len(held.products)):
        sums[2 * wide + p] += np.float64(at(products, p))


@inner
def _largest(shape, samples, held, found):
    """``found[target]``, from the sums over all samples."""
    m, sums, wide, outputs = shape.m, held.sums, len(held.centred) // LANES, shape.outputs
    for k in range(m):
        mean = sums[k] / samples
        variance, whole = sums[wide + k] / samples - mean * mean, mean + held.shift[k]
        sums[k] = mean
        sums[wide + k] = 1 / variance if variance > STILL * whole * whole else 0.0
    for i in range(outputs):
        mean = held.target[i] / samples
        variance = held.target[outputs + i] / samples - mean * mean
        largest = 0.0
        for k in range(m):
            covariance = sums[(2 + i) * wide + k] / samples - sums[k] * mean
            explained = covariance * covariance * sums[wide + k]
            if explained > largest:
                largest = explained
        found[i] = min(1.0, largest / variance) if variance > 0 else np.nan
