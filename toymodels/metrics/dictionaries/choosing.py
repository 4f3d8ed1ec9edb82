"""Choosing: the dictionary whose sparsity is the truth's, of whatever kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from toymodels.metrics.dictionaries.dictionary import Dictionary
from toymodels.metrics.dictionaries.l1 import L1
from toymodels.metrics.dictionaries.learning import fit
from toymodels.metrics.dictionaries.sparsity import PENALTIES, Sparsity
from toymodels.metrics.dictionaries.top_k import TopK
from toymodels.surroundings import undisturbed

AT_PENALTIES = L1()
AT_ONCE = 4096
"""held-out samples that are encoded at once"""


@dataclass(frozen=True)
class Choice:
    """Of each model the dictionary that `choose` took."""

    dictionary: Dictionary
    index: Tensor
    """[model], int64: which of the candidates"""
    l0: Tensor
    """[model, candidate]: held-out mean number of active latents of each"""


@undisturbed
def choose(
    activations: Tensor,
    held_out: Tensor,
    target_l0: Tensor,
    latents: int,
    seeds: Sequence[int],
    penalties: Sequence[float] = PENALTIES,
    *,
    kind: Sparsity = AT_PENALTIES,
    **training: Any,
) -> Choice:
    """Dictionaries of ``kind`` whose sparsity is the truth's, ``target_l0 [model]``, model by model.

    **The rule**: the mean number of active latents shall be the expected number of active features, sum_i P_i. A
    dictionary of another sparsity mixes features (Chanin & Garriga-Alonso 2026). Nothing about any one feature is used.
    A kind that can be told does as it is told: `TopK` k = max(1, round(sum_i P_i)), `BatchTopK` k = sum_i P_i,
    `JumpReLU` that for its target, `Matryoshka` as its base. Of `L1` one is trained for each of ``penalties``, side by
    side, and each model takes the one whose mean number on ``held_out [model, hidden, sample]`` is nearest, the lower
    penalty of equals. ``training`` is for `fit`.
    """
    n_models = len(activations)
    candidates, n = kind.tried(target_l0, penalties)
    side_by_side = fit(
        activations.repeat_interleave(n, dim=0),
        candidates,
        latents,
        [seed for seed in seeds for _ in range(n)],
        **training,
    )
    chunks = held_out.split(AT_ONCE, dim=2)
    active = torch.stack([(side_by_side.encode(c.repeat_interleave(n, 0)) > 0).sum((1, 2)) for c in chunks]).sum(0)
    l0 = (active.cpu().double() / held_out.shape[2]).view(n_models, n)
    index = (l0 - target_l0.cpu().double()[:, None]).abs().argmin(1)
    chosen = (torch.arange(n_models) * n + index).to(activations.device)
    return Choice(side_by_side[chosen], index, l0)


def top_k(target_l0: Tensor) -> TopK:
    """The `TopK` of the truth's sparsity: k = max(1, round(sum_i P_i)), from ``target_l0 [model]``."""
    return TopK().tried(target_l0)[0]
