"""Objectives on a tile: what a model should say, what it says, and what an error costs, [target, sample].

`toymodels.targets` and `toymodels.losses` have the equations.
"""

from __future__ import annotations

import triton
import triton.language as tl

from toymodels.engines.gpu.kernels.elementary import log1p, nan_like


@triton.jit
def target_of(x, y, form: tl.constexpr):
    """t of x, or of the first and the second members x and y of pairs; NaN for a target that is not listed here."""
    if form.target == "identity":
        return x
    elif form.target == "absolute":
        return tl.abs(x)
    elif form.target == "and":
        return x * y
    else:
        return nan_like(x)


@triton.jit
def error(r, t, importance, valid, batch, form: tl.constexpr):
    """The sum of I loss(t, y) over the samples that are ``valid`` (1, the others 0), and dL/dreadout of the read-out r.

    L is the mean over the ``batch``. NaN for an output or a loss that is not listed here, and for a cross-entropy of an
    output that is not linear.
    """
    weight = importance[:, None] * valid[None, :]
    share = 1.0 / batch
    if form.loss == "squared" and (form.output == "relu" or form.output == "linear"):
        e = r - t
        if form.output == "relu":
            e = tl.where(r <= 0, 0.0, r) - t
        weighted = e * weight
        slope = weighted * (2 * share)
        if form.output == "relu":
            slope = tl.where(r <= 0, 0.0, slope)
        return tl.sum(tl.sum(weighted * e, 1), 0), slope
    elif form.loss == "cross_entropy" and form.output == "linear":
        e = tl.exp(-tl.abs(r))
        upper = 1 / (1 + e)
        p = tl.where(r >= 0, upper, e * upper)
        softplus = tl.where(r >= 0, r, 0.0) + log1p(e)
        return tl.sum(tl.sum(weight * (softplus - t * r), 1), 0), (p - t) * weight * share
    elif form.loss == "softmax" and form.output == "linear":
        there = (tl.arange(0, form.O) < form.o)[:, None]
        largest = tl.max(tl.where(there, r, -float("inf")), 0)
        e = tl.where(there, tl.exp(r - largest[None, :]), 0.0)
        total = tl.sum(e, 0)
        weighted = t * weight
        loss = weighted * ((largest + tl.log(total))[None, :] - r)
        p = e * (1 / total)[None, :]
        return tl.sum(tl.sum(loss, 1), 0), (tl.sum(weighted, 0)[None, :] * p - weighted) * share
    else:
        return tl.sum(tl.sum(nan_like(r), 1), 0), nan_like(r)
