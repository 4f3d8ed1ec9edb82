"""One model on one tile: forward, error and backward, as `toymodels.bottleneck` has the equations."""

from __future__ import annotations

import triton
import triton.language as tl

from toymodels.engines.gpu.kernels.hidden import activate, activate_backward, normalise, normalise_backward
from toymodels.engines.gpu.kernels.objective import error, target_of
from toymodels.engines.gpu.kernels.values import shaped
from toymodels.engines.gpu.kernels.weights import product
from toymodels.kernels.on_gpu.stream import draw, drawn_from

DATA, FIRING = tl.constexpr(0), tl.constexpr(1)
"""Domains of the stream, as in `toymodels.random.Domain`."""


@triton.jit
def source_of(seeds, low, high, divisor, member, pairs, model, form: tl.constexpr):
    """What x of one model is drawn from: its seed, its features, and of pairs the first and the second members."""
    feature = tl.arange(0, form.N)
    features = drawn_from(low, high, divisor, member, model, feature, feature < form.n, form)
    first, second = features, features
    if form.target == "and":
        pair = tl.arange(0, form.O)
        there = pair < form.o
        at = pairs + 2 * (model * form.o + pair)
        first = drawn_from(low, high, divisor, member, model, tl.load(at, mask=there, other=0), there, form)
        second = drawn_from(low, high, divisor, member, model, tl.load(at + 1, mask=there, other=0), there, form)
    return tl.load(seeds + model), features, first, second


@triton.jit
def given_of(importance, numbers, embedding, model, form: tl.constexpr):
    """What one model has beside its trained parameters: importances, LayerNorm's eps and what activations cost; and an
    embedding, where it has one that is fixed."""
    target = tl.arange(0, form.O)
    of_targets = tl.load(importance + model * form.o + target, mask=target < form.o, other=0.0)
    given = (of_targets, tl.load(numbers), tl.load(numbers + 1))
    if form.embedded and form.E < 0:
        row, column = tl.arange(0, form.D)[:, None], tl.arange(0, form.N)[None, :]
        at = embedding + model * form.d * form.n + row * form.n + column
        given = given + (tl.load(at, mask=(row < form.d) & (column < form.n), other=0.0),)
    return given


@triton.jit
def loss_and_gradient(weights, source, given, step, tile, batch, form: tl.constexpr):
    """The sum of I loss(t, y) over one tile of a step's batch, and what the tile adds to dL/dweights, L the mean."""
    seed, features, first, second = source
    importance, eps, l1 = given[0], given[1], given[2]
    block = tile * (form.tile // 4)
    valid = tile * form.tile + tl.arange(0, form.tile) < batch
    counts = tl.where(valid, 1.0, 0.0)
    x = tl.where(valid[None, :], shaped(draw(seed, features, block, step, DATA, FIRING, form), form), 0.0)
    if form.target == "and":
        one = shaped(draw(seed, first, block, step, DATA, FIRING, form), form)
        t = target_of(one, shaped(draw(seed, second, block, step, DATA, FIRING, form), form), form)
    else:
        t = target_of(x, x, form)
    u = x
    if form.embedded:
        u = product(weights[form.E] if form.E >= 0 else given[3], x, form)

    there = (tl.arange(0, form.M) < form.m)[:, None]
    W_in = weights[form.W_in]
    z = product(W_in, u, form)
    if form.b_in >= 0:
        z += weights[form.b_in][:, None]
    mid, slope = activate(z, there, form)
    post = mid
    if form.layer_norm:
        unit, factor = normalise(mid, there, eps, form)
        post = unit
        if form.gain >= 0:
            post = unit * weights[form.gain][:, None] + weights[form.bias][:, None]
    W_out = tl.trans(W_in)
    if form.W_out >= 0:
        W_out = weights[form.W_out]
    r = product(W_out, post, form)
    if form.b_out >= 0:
        r += weights[form.b_out][:, None]
    loss, dr = error(r, t, importance, counts, batch, form)

    dW_out = product(dr, tl.trans(post), form)
    g = product(tl.trans(W_out), dr, form)
    affine = ()
    if form.layer_norm:
        if form.gain >= 0:
            affine = (tl.sum(g * unit, 1), tl.sum(g, 1))
            g = g * weights[form.gain][:, None]
        g = normalise_backward(unit, factor, g, there, form)
    elif l1 != 0:
        g, dW_out = _cost_of_mid(mid, W_out, counts, l1 / batch, g, dW_out)
    g = activate_backward(z, mid, slope, g, form)
    dW_in = product(g, tl.trans(u), form)
    if form.W_out >= 0:
        gradient = (dW_in, dW_out)
    else:
        gradient = (dW_in + tl.trans(dW_out),)
    if form.b_in >= 0:
        gradient = gradient + (tl.sum(g, 1),)
    if form.b_out >= 0:
        gradient = gradient + (tl.sum(dr, 1),)
    gradient = gradient + affine
    if form.E >= 0:
        gradient = gradient + (product(product(tl.trans(W_in), g, form), tl.trans(x), form),)
    return loss, gradient


@triton.jit
def _cost_of_mid(mid, W_out, counts, cost, g, dW_out):
    """dL/dmid and dL/dW_out with those of cost sum_k |mid_k| |W_out[:, k]|; a column of length 0 has none."""
    length = tl.sqrt(tl.sum(W_out * W_out, 0))
    sign = tl.where(mid > 0, 1.0, 0.0) - tl.where(mid < 0, 1.0, 0.0)
    share = cost * tl.sum(tl.abs(mid) * counts[None, :], 1) / tl.where(length > 0, length, 1.0)
    return g + sign * counts[None, :] * (cost * length)[:, None], dW_out + W_out * share[None, :]
