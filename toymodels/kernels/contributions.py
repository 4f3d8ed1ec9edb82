"""Contributions: what activations cost where ``activation_l1`` is not 0, on a tile; `toymodels.objectives` has it.

    l / batch sum_b sum_k |mid_kb| |W_out[:, k]|

Lengths are written to ``unit`` and sums of |mid_k| to LayerNorm's partial sums, as a model with LayerNorm has no such
cost. What is reported as the loss is left alone.
"""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import inner
from toymodels.kernels.vector import (
    LANES,
    NATIVE,
    absolute,
    at,
    fold,
    load,
    load_native,
    put,
    splat,
    store,
    total,
    where,
)

ZERO, ONE = np.float32(0), np.float32(1)


@inner
def measure_lengths(shape, theta, room):
    """|W_out[:, k]| of every neuron, once a part."""
    for k in range(shape.m):
        square = ZERO
        for i in range(shape.outputs):
            weight = at(theta, shape.W_out + i * shape.pitch + k)
            square += weight * weight
        put(room.unit, k, np.sqrt(square))


@inner
def cost_of_mid(shape, cost, valid, room):
    """Adds the cost's slope at ``mid`` to ``g``, and |mid| of the samples that count to its sums."""
    counts, first = load(room.valid, valid), (shape.outputs + shape.m) * NATIVE
    for k in range(shape.m):
        mid = load(room.mid, k * LANES)
        place = first + k * NATIVE
        store(room.sums, place, load_native(room.sums, place) + fold(absolute(mid) * counts))
        sign = where(mid > ZERO, ONE, splat(ZERO)) - where(mid < ZERO, ONE, splat(ZERO))
        slope = cost / np.float32(shape.batch) * at(room.unit, k)
        store(room.g, k * LANES, load(room.g, k * LANES) + sign * counts * slope)


@inner
def cost_of_lengths(shape, theta, cost, room):
    """Adds the cost's slope at W_out to ``part``, once a part; a column of length 0 has none."""
    first = (shape.outputs + shape.m) * NATIVE
    for k in range(shape.m):
        length = at(room.unit, k)
        if length > ZERO:
            share = cost / np.float32(shape.batch) * total(load_native(room.sums, first + k * NATIVE)) / length
            for i in range(shape.outputs):
                place = shape.W_out + i * shape.pitch + k
                put(room.part, place, at(room.part, place) + share * at(theta, place))
