"""Split: one step of one model by two kernels, its batch shared out over the GPU.

`part` is a program a tile of the batch, `step` one a model. What passes between them is in memory: ``parts`` [model,
tile, 1 + parameter], the loss and the gradient of each tile, added up tile by tile as in `steps.batch_loss`. Nothing
that changes from step to step is an argument, so both can be recorded once and replayed: ``done`` [model] counts the
steps that are taken, and ``window`` has the first step that may be taken and the first that may not.
"""

from __future__ import annotations

import triton
import triton.language as tl

from toymodels.engines.gpu.kernels.steps import NUMBERS, note, rotation_of, taken
from toymodels.engines.gpu.kernels.tile import given_of, loss_and_gradient, source_of
from toymodels.engines.gpu.kernels.weights import add, load_state, load_weights, store_state, store_weights, zeros


@triton.jit(do_not_specialize=["batch", "tiles"])
def part(
    seeds,
    low,
    high,
    divisor,
    member,
    pairs,
    importance,
    embedding,
    numbers,
    points,
    state,
    diverged_step,
    done,
    window,
    parts,
    batch,
    tiles,
    form: tl.constexpr,
):
    """The loss and the gradient of one tile in the next step of one model, unless nobody asks for them."""
    model, tile = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    t, begin = tl.load(done + model) + 1, tl.load(window)
    if t < tl.load(window + 1):
        if (tl.load(diverged_step + model) == 0) | (tl.load(points + 2 * (t - begin)) >= 0):
            source = source_of(seeds, low, high, divisor, member, pairs, model, form)
            given = given_of(importance, numbers + model * NUMBERS, embedding, model, form)
            weights = load_weights(state + model * 3 * form.size, form)
            loss, slopes = loss_and_gradient(weights, source, given, t - 1, tile, batch, form)
            own = parts + (model * tiles + tile) * (1 + form.size)
            tl.store(own, loss)
            store_weights(own + 1, slopes, form)


@triton.jit(do_not_specialize=["last", "batch", "tiles", "rows", "points_kept", "snapshots_kept"])
def step(
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
    done,
    window,
    parts,
    before,
    curve,
    snapshots,
    last,
    batch,
    tiles,
    rows,
    points_kept,
    snapshots_kept,
    form: tl.constexpr,
):
    """The next step of one model with the gradients of its tiles, in place; see `steps.train`.

    ``rows`` is how many steps ``pace``, ``points`` and ``kept`` have room for.
    """
    model = tl.program_id(0).to(tl.int64)
    t, begin = tl.load(done + model) + 1, tl.load(window)
    if t < tl.load(window + 1):
        row = t - begin
        theta, own = state + model * 3 * form.size, parts + model * tiles * (1 + form.size)
        weights, mean, square = load_state(theta, form)
        loss = 0.0
        gradient = zeros(form)
        for _ in range(0, tiles):
            loss += tl.load(own)
            gradient = add(gradient, load_weights(own + 1, form))
            own += 1 + form.size
        loss = loss / batch
        if t == last:
            store_weights(before + model * form.size, weights, form)
        weights, mean, square, most, lost = taken(
            weights,
            mean,
            square,
            tl.load(ceiling + model),
            tl.load(diverged_step + model),
            loss,
            gradient,
            t,
            numbers + model * NUMBERS,
            rule,
            pace + 3 * row,
            kept + 2 * (tl.load(share + model) * rows + row),
            rotation_of(rotation, model, form),
            form,
        )
        store_state(theta, weights, mean, square, form)
        tl.store(ceiling + model, most)
        tl.store(diverged_step + model, lost)
        point, shot = tl.load(points + 2 * row), tl.load(points + 2 * row + 1)
        note(curve, snapshots, point, shot, model, points_kept, snapshots_kept, loss, weights, form)
        tl.store(done + model, t)
