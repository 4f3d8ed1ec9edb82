"""Updates: optimizers on a flat parameter vector. `toymodels.training.optimizers` has the equations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymodels.kernels.compiled import inner
from toymodels.kernels.vector import (
    NATIVE,
    at,
    fma,
    load_native,
    pointer,
    put,
    shifted,
    splat_native,
    sqrt,
    store,
    total,
    where,
)

ADAM, SGD, ROTATED_ADAM = range(3)


class Rule(NamedTuple):
    """An optimizer for a batch of models: its kind and numbers, and what it needs by step and by model."""

    kind: int
    steps: int
    beta_2: np.float32
    fresh_1: np.float32
    """1 - beta_1, rounded once"""
    fresh_2: np.float32
    """1 - beta_2, rounded once"""
    eps: np.float32
    momentum: np.float32
    ceiling_factor: np.float32
    """a loss this often the first one is divergence"""
    factor: np.ndarray
    """[step] float32, the schedule's"""
    mean_correction: np.ndarray
    """[step] float32, 1 - beta_1^t"""
    square_correction: np.ndarray
    """[step] float32, sqrt(1 - beta_2^t)"""
    rate: np.ndarray
    """[model] float32"""
    decay: np.ndarray
    """[model] float32"""
    bias_decay: np.ndarray
    """[model] float32, of b_in, on top of the other"""
    weights_kept: np.ndarray
    """[model] float64, the share of each matrix that stays at the end"""
    growth: np.ndarray
    """[model] float32, of the columns of W_in to length 1"""
    rotation: np.ndarray
    """[model, hidden, hidden] float32; empty unless rotated"""


class Pace(NamedTuple):
    """A `Rule` for one model, as pointers."""

    kind: int
    steps: int
    beta_2: float
    fresh_1: float
    fresh_2: float
    eps: float
    momentum: float
    ceiling_factor: float
    factor: int
    mean_correction: int
    square_correction: int
    rate: float
    decay: float
    bias_decay: float
    weights_kept: float
    growth: float
    rotation: int


@inner
def pace_of(rule, model):
    """The rule for one model."""
    return Pace(
        rule.kind,
        rule.steps,
        rule.beta_2,
        rule.fresh_1,
        rule.fresh_2,
        rule.eps,
        rule.momentum,
        rule.ceiling_factor,
        pointer(rule.factor),
        pointer(rule.mean_correction),
        pointer(rule.square_correction),
        rule.rate[model],
        rule.decay[model],
        rule.bias_decay[model],
        rule.weights_kept[model],
        rule.growth[model],
        shifted(pointer(rule.rotation), model * rule.rotation.shape[1] * rule.rotation.shape[2]),
    )


@inner
def propose(pace, shape, t, theta, mean, square, gradient, update):
    """Moves the optimizer's state and writes rate * direction to ``update``; returns whether all of it is finite.

    An optimizer of a kind that is not listed above proposes NaN.
    """
    rate, decay, size = pace.rate * at(pace.factor, t - 1), pace.decay, shape.size
    if pace.kind == SGD:
        _decay_bias(pace, shape, theta, gradient, np.float32(1))
        _grow(pace, shape, theta, gradient, np.float32(1))
        for p in range(0, size, NATIVE):
            direction = fma(load_native(mean, p), pace.momentum, load_native(gradient, p))
            direction = fma(load_native(theta, p), decay, direction)
            store(mean, p, direction)
            store(update, p, direction * rate)
        return finite(update, size)
    if pace.kind != ADAM and pace.kind != ROTATED_ADAM:
        for p in range(0, size, NATIVE):
            store(update, p, splat_native(np.float32(np.nan)))
        return False
    direction = gradient
    if pace.kind == ROTATED_ADAM:
        _rotate(shape, pace.rotation, shape.m, 1, gradient, update)
        direction = update
    _adam(pace, t, size, mean, square, direction)
    if pace.kind == ROTATED_ADAM:
        _rotate(shape, pace.rotation, 1, shape.m, update, gradient)
    for p in range(0, size, NATIVE):
        store(update, p, fma(load_native(theta, p), decay, load_native(gradient, p)) * rate)
    _decay_bias(pace, shape, theta, update, rate)
    _grow(pace, shape, theta, update, rate)
    return finite(update, size)


@inner
def _decay_bias(pace, shape, theta, moved, scale):
    """moved += scale * bias_decay * b_in, at the places of b_in."""
    if pace.bias_decay != np.float32(0):
        for p in range(shape.b_in, shape.b_in + shape.m):
            put(moved, p, at(moved, p) + scale * pace.bias_decay * at(theta, p))


@inner
def _grow(pace, shape, theta, moved, scale):
    """moved += scale * growth * (1 - 1 / |W_i|) W_i, at the places of the columns W_i of W_in; 0 has no direction."""
    if pace.growth != np.float32(0):
        for row in range(shape.inputs):
            begin, square = shape.W_in + row * shape.pitch, np.float32(0)
            for p in range(begin, begin + shape.m):
                square += at(theta, p) * at(theta, p)
            if square > np.float32(0):
                share = scale * pace.growth * (np.float32(1) - np.float32(1) / np.sqrt(square))
                for p in range(begin, begin + shape.m):
                    put(moved, p, at(moved, p) + share * at(theta, p))


@inner
def finite(values, size):
    """Whether each of ``size`` float32 values is finite."""
    zero = splat_native(np.float32(0))
    for p in range(0, size, NATIVE):
        zero = fma(load_native(values, p), np.float32(0), zero)
    return total(zero) == np.float32(0)


@inner
def _adam(pace, t, size, mean, square, direction):
    """From a gradient to Adam's direction, in place."""
    one = np.float32(1)
    # Divisions become products with what is computed once; a step has many parameters.
    mean_scale, square_scale = one / at(pace.mean_correction, t - 1), one / at(pace.square_correction, t - 1)
    for p in range(0, size, NATIVE):
        g, first, second = load_native(direction, p), load_native(mean, p), load_native(square, p)
        first = fma(g - first, pace.fresh_1, first)
        second = fma(g * g, pace.fresh_2, second * pace.beta_2)
        store(mean, p, first)
        store(square, p, second)
        step = first * mean_scale / fma(sqrt(second), square_scale, pace.eps)
        store(direction, p, where(first == np.float32(0), np.float32(0), step))  # also where eps is 0


@inner
def _rotate(shape, rotation, down, along, values, out):
    """out_j = sum_k R[j, k] values_k along the hidden axis of every parameter that has one; the rest is copied."""
    for p in range(0, shape.size, NATIVE):
        store(out, p, load_native(values, p))
    for offset, rows in (
        (shape.W_in, shape.inputs),
        (shape.W_out, 0 if shape.W_out == shape.W_in else shape.outputs),
        (shape.b_in, 1),
        (shape.gain, 1),
        (shape.bias, 1),
    ):
        if offset >= 0:
            for row in range(rows):
                begin = offset + row * shape.pitch
                for j in range(shape.m):
                    turned = np.float32(0)
                    for k in range(shape.m):
                        turned += at(rotation, j * down + k * along) * at(values, begin + k)
                    put(out, begin + j, turned)
