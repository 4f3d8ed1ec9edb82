"""Steps: one step with its gradient, one model's training over a stretch of them, and what the last of all did."""

from __future__ import annotations

import triton
import triton.language as tl

from toymodels.engines.gpu.kernels.elementary import finite
from toymodels.engines.gpu.kernels.pruning import pruned
from toymodels.engines.gpu.kernels.tile import given_of, loss_and_gradient, source_of
from toymodels.engines.gpu.kernels.update import propose
from toymodels.engines.gpu.kernels.weights import (
    add,
    all_finite,
    chosen,
    load_state,
    load_weights,
    store_state,
    store_weights,
    zeros,
)

NUMBERS = tl.constexpr(6)
"""of each model beside its parameters: LayerNorm's eps, what activations cost, rate, decay, bias decay, growth"""


@triton.jit
def batch_loss(weights, source, given, step, batch, tiles, form: tl.constexpr):
    """L on a step's batch and its gradient, of the first ``tiles`` tiles."""
    loss = 0.0
    gradient = zeros(form)
    for tile in range(0, tiles):
        part, slopes = loss_and_gradient(weights, source, given, step, tile, batch, form)
        loss += part
        gradient = add(gradient, slopes)
    return loss / batch, gradient


@triton.jit
def rotation_of(rotation, model, form: tl.constexpr):
    """One model's rotation of its neurons, filled up; 0 where its optimizer has none."""
    R = 0.0
    if form.optimizer == "rotated_adam":
        neuron = tl.arange(0, form.M)
        at = rotation + (model * form.m + neuron[:, None]) * form.m + neuron[None, :]
        R = tl.load(at, mask=(neuron < form.m)[:, None] & (neuron < form.m)[None, :], other=0.0)
    return R


@triton.jit
def taken(weights, mean, square, most, lost, loss, gradient, t, own, rule, pace, most_kept, R, form: tl.constexpr):
    """Step t, counted from 1, with its loss and gradient: the model's (weights, mean, square, most, lost) after it.

    ``most`` is the loss beyond which it diverges, ``lost`` the step at which it did, 0 where it has not.
    """
    most = tl.where(t == 1, tl.load(rule + 5) * (loss + most), most)
    mean, square, updates = propose(weights, mean, square, gradient, own, rule, pace, R, form)
    moves = (lost == 0) & finite(loss) & (loss <= most) & all_finite(gradient) & all_finite(updates)
    lost = tl.where((lost == 0) & (moves == 0), t, lost)
    weights = chosen(moves, _less(weights, updates), weights)
    if moves & (tl.load(most_kept) >= 0):
        weights = pruned(weights, most_kept, form)
    return weights, mean, square, most, lost


@triton.jit
def note(curve, snapshots, point, shot, model, points_kept, snapshots_kept, loss, weights, form: tl.constexpr):
    """Write a step's loss to its ``point`` of the model's curve, and the weights after it to its ``shot`` of the
    snapshots; each where it has one, -1 where not."""
    tl.store(curve + model * points_kept + point, loss, mask=point >= 0)
    if shot >= 0:
        store_weights(snapshots + (model * snapshots_kept + shot) * form.size, weights, form)


@triton.jit
def _less(a, b):
    """a - b, parameter by parameter."""
    rest = ()
    for i in tl.static_range(len(a)):
        rest = rest + (a[i] - b[i],)
    return rest


@triton.jit(do_not_specialize=["begin", "end", "last", "points_kept", "snapshots_kept", "batch"])
def train(
    seeds,
    low,
    high,
    divisor,
    member,
    pairs,
    importance,
    embedding,
    numbers,
    rotation,
    rule,
    pace,
    points,
    kept,
    share,
    state,
    ceiling,
    diverged_step,
    next_state,
    next_ceiling,
    next_diverged_step,
    before,
    curve,
    snapshots,
    begin,
    end,
    last,
    batch,
    points_kept,
    snapshots_kept,
    form: tl.constexpr,
):
    """Steps t in [begin, end), counted from 1, of the model that the program's number says.

    From ``state`` [model, 3, parameter] (theta, mean, square), ``ceiling`` and ``diverged_step`` to the ``next`` ones:
    what is read is never written, so that an interruption loses nothing. ``before`` has theta before the step ``last``.
    """
    model = tl.program_id(0).to(tl.int64)
    own = numbers + model * NUMBERS
    source = source_of(seeds, low, high, divisor, member, pairs, model, form)
    given = given_of(importance, own, embedding, model, form)
    R = rotation_of(rotation, model, form)
    theta = state + model * 3 * form.size
    weights, mean, square = load_state(theta, form)
    most = tl.load(ceiling + model)
    lost = tl.load(diverged_step + model)
    shares = kept + tl.load(share + model) * (2 * (end - begin))
    for t in range(begin, end):
        point = tl.load(points + 2 * (t - begin))
        shot = tl.load(points + 2 * (t - begin) + 1)
        tiles = tl.where((lost == 0) | (point >= 0), tl.cdiv(batch, form.tile), 0)
        loss, gradient = batch_loss(weights, source, given, t - 1, batch, tiles, form)
        if t == last:
            store_weights(before + model * form.size, weights, form)
        row = t - begin
        weights, mean, square, most, lost = taken(
            weights, mean, square, most, lost, loss, gradient, t, own, rule, pace + 3 * row, shares + 2 * row, R, form
        )
        note(curve, snapshots, point, shot, model, points_kept, snapshots_kept, loss, weights, form)
    store_state(next_state + model * 3 * form.size, weights, mean, square, form)
    tl.store(next_ceiling + model, most)
    tl.store(next_diverged_step + model, lost)


@triton.jit(do_not_specialize=["last", "snapshots_kept", "batch"])
def judge(
    seeds,
    low,
    high,
    divisor,
    member,
    pairs,
    importance,
    embedding,
    numbers,
    state,
    ceiling,
    diverged_step,
    before,
    outcome,
    next_diverged_step,
    snapshots,
    last,
    batch,
    snapshots_kept,
    form: tl.constexpr,
):
    """What the step ``last`` did to the loss: a model that it made diverge goes back to ``before``.

    The theta that comes of it is written to ``outcome``, and to the last of the snapshots, if there are any.
    """
    model = tl.program_id(0).to(tl.int64)
    source = source_of(seeds, low, high, divisor, member, pairs, model, form)
    given = given_of(importance, numbers + model * NUMBERS, embedding, model, form)
    weights = load_weights(state + model * 3 * form.size, form)
    lost = tl.load(diverged_step + model)
    loss, _ = batch_loss(weights, source, given, last, batch, tl.cdiv(batch, form.tile), form)
    overshot = (lost == 0) & ((finite(loss) & (loss <= tl.load(ceiling + model))) == 0)
    weights = chosen(overshot, load_weights(before + model * form.size, form), weights)
    tl.store(next_diverged_step + model, tl.where(overshot, last, lost))
    store_weights(outcome + model * form.size, weights, form)
    if snapshots_kept > 0:
        store_weights(snapshots + (model * snapshots_kept + snapshots_kept - 1) * form.size, weights, form)
