"""Steps: training some models for some steps, one model after the other, each all by itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymodels.kernels.bottleneck import PART, Given, given_of, part_of_step
from toymodels.kernels.compiled import function, inner, kernel
from toymodels.kernels.draw import Draw, draw_of
from toymodels.kernels.pruning import prune
from toymodels.kernels.update import Pace, finite, pace_of, propose
from toymodels.kernels.vector import NATIVE, at, load_native, pointer, put, shifted, store
from toymodels.kernels.workspace import room_of


class State(NamedTuple):
    """Where a batch of models stands, model by model on the leading axis."""

    theta: np.ndarray
    """[model, parameter] float32"""
    mean: np.ndarray
    """the optimizer's first moment, or momentum"""
    square: np.ndarray
    """its second moment"""
    before: np.ndarray
    """theta before the last step"""
    ceiling: np.ndarray
    """[model] float32: a loss above it is divergence. Before the first step: the best constant predictor's"""
    diverged_step: np.ndarray
    """[model] int64, 0 while all is well"""
    curve_step: np.ndarray
    """[point] int64, and one beyond every step"""
    curve: np.ndarray
    """[model, point] float32"""
    snapshot_step: np.ndarray
    """[snapshot] int64, and one beyond every step"""
    snapshots: np.ndarray
    """[model, snapshot, parameter] float32"""


class Model(NamedTuple):
    """One model of a `State`, as pointers."""

    draw: Draw
    pace: Pace
    given: Given
    theta: int
    mean: int
    square: int
    before: int
    ceiling: int
    diverged_step: int
    curve_step: int
    curve: int
    snapshot_step: int
    snapshots: int


@inner
def model_of(source, rule, own, state, model):
    """The pointers to one model."""
    size = state.theta.shape[1]
    return Model(
        draw_of(source, model),
        pace_of(rule, model),
        given_of(own, model),
        shifted(pointer(state.theta), model * size),
        shifted(pointer(state.mean), model * size),
        shifted(pointer(state.square), model * size),
        shifted(pointer(state.before), model * size),
        shifted(pointer(state.ceiling), model),
        shifted(pointer(state.diverged_step), model),
        pointer(state.curve_step),
        shifted(pointer(state.curve), model * state.curve.shape[1]),
        pointer(state.snapshot_step),
        shifted(pointer(state.snapshots), model * state.snapshots.shape[1] * size),
    )


@kernel
def train(shape, source, rule, own, state, work, first_model, last_model, begin, end):
    """Steps t in [begin, end) of some models; t counts from 1, and one step after the last only looks at the loss."""
    room = room_of(work)
    for index in range(first_model, last_model):
        model = model_of(source, rule, own, state, index)
        point = shot = 0
        for t in range(begin, end):
            point, shot = _next(model.curve_step, point, t), _next(model.snapshot_step, shot, min(t, rule.steps))
            sound = at(model.diverged_step, 0) == 0
            learning = sound and t <= rule.steps
            loss = np.float32(0)
            if learning or (sound and t > rule.steps) or at(model.curve_step, point) == t:
                for first in range(0, shape.batch, PART):
                    loss += part_of_step(shape, model.draw, model.given, model.theta, t - 1, first, learning, room)
                    if learning:
                        _add(first == 0, room.gradient, room.part, shape.size)
            _finish(shape, model, t, loss, point, shot, room)


@kernel
def part_gradient(shape, source, rule, own, state, work, index, t, first):
    """One part's gradient of step t, left in ``work.part``; returns its sum of losses."""
    one, room = model_of(source, rule, own, state, index), room_of(work)
    return part_of_step(shape, one.draw, one.given, one.theta, t - 1, first, True, room)


@kernel
def add_part(shape, first, work, part):
    """Adds the part in ``part.part`` to the gradient in ``work.gradient``, as `train` does."""
    _add(first == 0, pointer(work.gradient), pointer(part.part), shape.size)


@kernel
def finish_step(shape, source, rule, own, state, work, index, t, loss):
    """The second half of step t, once its gradient is in ``work.gradient``; ``loss`` is the sum over the batch."""
    model = model_of(source, rule, own, state, index)
    point, shot = _next(model.curve_step, 0, t), _next(model.snapshot_step, 0, min(t, rule.steps))
    _finish(shape, model, t, np.float32(loss), point, shot, room_of(work))


@function
def _finish(shape, model, t, loss, point, shot, room):
    """Judge the sum of losses of step t, move the weights, keep what is to be kept."""
    steps = model.pace.steps
    loss /= np.float32(shape.batch)
    if at(model.diverged_step, 0) == 0:
        if t <= steps:
            _step(shape, model, t, loss, room)
        elif not (np.isfinite(loss) and loss <= at(model.ceiling, 0)):
            put(model.diverged_step, 0, steps)
            _copy(model.theta, model.before, shape.size)
    if at(model.curve_step, point) == t:
        put(model.curve, point, loss)
    if at(model.snapshot_step, shot) == min(t, steps):
        _copy(shifted(model.snapshots, shot * shape.size), model.theta, shape.size)


@inner
def _next(steps, place, t):
    """The place of the first step in ``steps``, from ``place`` on, that is not before t."""
    while at(steps, place) < t:
        place += 1
    return place


@inner
def _copy(target, source, size):
    for p in range(0, size, NATIVE):
        store(target, p, load_native(source, p))


@inner
def _add(first, target, source, size):
    """target += source, or = where it is the first."""
    if first:
        _copy(target, source, size)
    else:
        for p in range(0, size, NATIVE):
            store(target, p, load_native(target, p) + load_native(source, p))


@inner
def _step(shape, model, t, loss, room):
    """Judge the loss and the gradient, and move the weights."""
    size = shape.size
    if t == 1:
        put(model.ceiling, 0, model.pace.ceiling_factor * (loss + at(model.ceiling, 0)))
    sound = np.isfinite(loss) and loss <= at(model.ceiling, 0) and finite(room.gradient, size)
    if sound:
        sound = propose(model.pace, shape, t, model.theta, model.mean, model.square, room.gradient, room.update)
    if not sound:
        put(model.diverged_step, 0, t)
        return
    if t == model.pace.steps:
        _copy(model.before, model.theta, size)
    for p in range(0, size, NATIVE):
        store(model.theta, p, load_native(model.theta, p) - load_native(room.update, p))
    if model.pace.weights_kept < 1:
        prune(shape, model.pace.weights_kept, t, model.pace.steps, model.theta, room.update)
