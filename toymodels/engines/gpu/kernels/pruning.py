"""Pruning: all but the largest weights of a matrix set to 0; `toymodels.training.pruning` has the equations.

The least magnitude that stays is found by bisection over its 31 bits: floats that are not negative are ordered as their
bits are.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def pruned(weights, kept, form: tl.constexpr):
    """The parameters with W_in and W_out, or the one matrix that they are, pruned to ``kept`` numbers each."""
    out = ()
    for i in tl.static_range(len(form.begins)):
        W = weights[i]
        if i == form.W_in:
            W = _largest(W, tl.load(kept), 0)
        if i == form.W_out:
            W = _largest(W, tl.load(kept + 1), 1)
        out = out + (W,)
    return out


@triton.jit
def _largest(W, count, hidden: tl.constexpr):
    """The ``count`` largest by magnitude, the others 0; of equals the first, neurons (axis ``hidden``) fastest."""
    bits = tl.abs(W).to(tl.uint32, bitcast=True).to(tl.int32)
    least = count * 0
    larger = count * 0
    for place in tl.static_range(30, -1, -1):
        tried = least | (1 << place)
        there = tl.sum(tl.sum(tl.where(bits >= tried, 1, 0), 1), 0)
        enough = there >= count
        least = tl.where(enough, tried, least)
        larger = tl.where(enough, larger, there)
    equal = tl.where(bits == least, 1, 0)
    of_input = tl.sum(equal, hidden)
    before = tl.cumsum(of_input, 0) - of_input
    rank = tl.cumsum(equal, hidden) + tl.expand_dims(before, hidden)
    stays = (bits > least) | ((equal == 1) & (rank <= count - larger))
    return tl.where(stays, W, 0.0)
