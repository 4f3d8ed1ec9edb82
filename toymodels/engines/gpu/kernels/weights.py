"""Weights: a model's parameters as a tuple of tensors, filled up to powers of two, and products with them.

``form.begins``, ``rows``, ``columns`` and their filled sizes say where in the flat ``theta`` each lies; a vector has no
columns. Moments, gradients and updates are tuples of the same shapes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from toymodels.engines.gpu.kernels.elementary import finite

LONG = tl.constexpr(32)
"""Sums of more terms than this are taken in parts, as multiply-adds have all terms of a row in registers at once."""


@triton.jit
def product(a, b, form: tl.constexpr):
    """a b of matrices; where they are too small for the matrix units, number by number."""
    if form.small:
        return tl.sum(a[:, :, None] * b[None, :, :], 1)
    elif form.precision == "ieee" and a.shape[1] > LONG:
        parts: tl.constexpr = a.shape[1] // LONG
        by_part = tl.permute(tl.reshape(a, [a.shape[0], parts, LONG]), (1, 0, 2))
        return tl.sum(tl.dot(by_part, tl.reshape(b, [parts, LONG, b.shape[1]]), input_precision="ieee"), 0)
    else:
        return tl.dot(a, b, input_precision=form.precision)


@triton.jit
def _places(i: tl.constexpr, form: tl.constexpr):
    """Where the numbers of parameter i lie in theta, and which of them there are."""
    row = tl.arange(0, form.filled_rows[i])
    if form.columns[i] == 0:
        return form.begins[i] + row, row < form.rows[i]
    else:
        column = tl.arange(0, form.filled_columns[i])
        at = form.begins[i] + row[:, None] * form.columns[i] + column[None, :]
        return at, (row < form.rows[i])[:, None] & (column < form.columns[i])[None, :]


@triton.jit
def load_weights(theta, form: tl.constexpr):
    """The parameters at ``theta``."""
    loaded = ()
    for i in tl.static_range(len(form.begins)):
        at, there = _places(i, form)
        loaded = loaded + (tl.load(theta + at, mask=there, other=0.0),)
    return loaded


@triton.jit
def store_weights(theta, weights, form: tl.constexpr):
    """The parameters, written to ``theta``."""
    for i in tl.static_range(len(form.begins)):
        at, there = _places(i, form)
        tl.store(theta + at, weights[i], mask=there)


@triton.jit
def load_state(state, form: tl.constexpr):
    """The parameters at ``state``, and the two moments behind them."""
    return load_weights(state, form), load_weights(state + form.size, form), load_weights(state + 2 * form.size, form)


@triton.jit
def store_state(state, weights, mean, square, form: tl.constexpr):
    """The parameters, written to ``state``, and the two moments behind them."""
    store_weights(state, weights, form)
    store_weights(state + form.size, mean, form)
    store_weights(state + 2 * form.size, square, form)


@triton.jit
def zeros(form: tl.constexpr):
    """A gradient of 0."""
    none = ()
    for i in tl.static_range(len(form.begins)):
        if form.columns[i] == 0:
            none = none + (tl.full([form.filled_rows[i]], 0.0, tl.float32),)
        else:
            none = none + (tl.full([form.filled_rows[i], form.filled_columns[i]], 0.0, tl.float32),)
    return none


@triton.jit
def add(a, b):
    """a + b, parameter by parameter."""
    sums = ()
    for i in tl.static_range(len(a)):
        sums = sums + (a[i] + b[i],)
    return sums


@triton.jit
def chosen(condition, a, b):
    """a where the condition holds, else b, parameter by parameter."""
    out = ()
    for i in tl.static_range(len(a)):
        out = out + (tl.where(condition, a[i], b[i]),)
    return out


@triton.jit
def all_finite(weights):
    """Whether every number of every parameter is finite."""
    lost = 0
    for i in tl.static_range(len(weights)):
        each = tl.where(finite(weights[i]), 0, 1)
        lost += tl.sum(each) if len(each.shape) == 1 else tl.sum(tl.sum(each, 1), 0)
    return lost == 0
