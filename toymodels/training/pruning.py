"""Pruning: training with few weights, of which a connection either is there or is 0.

After step t of T only the

    kept(t) = round(N share(t)),    share(t) = 1 - (1 - weights_kept) min(1, 2 t / T)

largest of the N weights of a matrix stay, by magnitude; the others become 0 (Gao et al. 2025, *Weight-sparse
transformers have interpretable circuits*). W_in and W_out are pruned each by itself, as one matrix where they are tied;
biases, LayerNorm's gain and bias, and an embedding are not, of which biases and embeddings are there. The share falls
linearly from all weights over the first half of training, as there: pruned at once, a matrix would keep what happened
to start large. A weight at 0 still has its gradient and its state in the optimizer, so it may grow back in the place of
another. Unlike there no neuron is promised any weights: those that lose all of theirs are dead, and counted.

A share and not a number, as matrices of a model differ in size and so do models of a sweep.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

PRUNED = {"W_in": 1, "W_out": 2}
"""The matrices that are pruned, and their axis of neurons."""


def kept(weights_kept: Tensor, entries: int, t: Tensor | int, steps: int) -> Tensor:
    """How many of a matrix's ``entries`` stay after step t of so many, counted from 1, at least one: int64 [model], of
    the models' shares, float64 [model]. ``t`` may be an int64 tensor of one number."""
    done = torch.as_tensor(t, dtype=torch.float64, device=weights_kept.device)
    share = 1 - (1 - weights_kept) * (2 * done / steps).clamp(max=1)
    return torch.floor(share * entries + 0.5).long().clamp(min=1)


def pruned(weights: Mapping[str, Tensor], weights_kept: Tensor, t: Tensor | int, steps: int) -> dict[str, Tensor]:
    """The weights, by parameter [model, ...], after step t, each model pruned by its own share, float64 [model]; all
    of a share of 1."""
    out = dict(weights)
    for name in PRUNED.keys() & out.keys():
        out[name] = _largest(out[name], kept(weights_kept, out[name][0].numel(), t, steps), PRUNED[name])
    return out


def _largest(matrix: Tensor, counts: Tensor, hidden: int) -> Tensor:
    """Each model's so many largest of ``matrix`` [model, ., .], in place of the others 0. Of equals the first stay, in
    the order in which neurons, on axis ``hidden``, vary fastest."""
    by_hidden = matrix.movedim(hidden, 2)
    order = by_hidden.flatten(1).abs().argsort(dim=1, descending=True, stable=True)
    stays = torch.arange(order.shape[1], device=order.device) < counts[:, None]
    mask = torch.zeros_like(stays).scatter(1, order, stays).view(by_hidden.shape).movedim(2, hidden)
    return matrix.masked_fill(~mask, 0.0)  # laid out as the matrix was: otherwise products would round otherwise
