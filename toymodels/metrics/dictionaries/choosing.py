"""Choosing: of dictionaries of several penalties, the one whose sparsity is the truth's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from toymodels.metrics.dictionaries.dictionary import L1, Dictionary, TopK
from toymodels.metrics.dictionaries.learning import fit
from toymodels.surroundings import undisturbed

PENALTIES = tuple(0.08 * 1.5**i for i in range(8))
AT_ONCE = 4096
"""held-out samples that are encoded at once"""


@dataclass(frozen=True)
class Choice:
    """Of each model the dictionary that `choose` took."""

    dictionary: Dictionary
    index: Tensor
    """[model], int64: which of the penalties"""
    l0: Tensor
    """[model, penalty]: held-out mean number of active latents under each"""


@undisturbed
def choose(
    activations: Tensor,
    held_out: Tensor,
    target_l0: Tensor,
    latents: int,
    seeds: Sequence[int],
    penalties: Sequence[float] = PENALTIES,
    **training: Any,
) -> Choice:
    """Of `L1` dictionaries trained side by side, the one whose sparsity is the truth's, model by model.

    **The rule**: each model takes the penalty whose mean number of active latents on ``held_out [model, hidden,
    sample]`` is nearest to ``target_l0 [model]``, the lower of equals; that is the expected number of active features,
    sum_i P_i. A dictionary of another sparsity mixes features (Chanin & Garriga-Alonso 2026). Nothing about any one
    feature is used. (`TopK` needs no choice: see `top_k`.)
    """
    n_models, n = len(activations), len(penalties)
    side_by_side = fit(
        activations.repeat_interleave(n, dim=0),
        L1(tuple(float(p) for p in penalties) * n_models),
        latents,
        [seed for seed in seeds for _ in penalties],
        **training,
    )
    chunks = held_out.split(AT_ONCE, dim=2)
    active = sum((side_by_side.encode(c.repeat_interleave(n, 0)) > 0).sum((1, 2)) for c in chunks)
    l0 = (torch.as_tensor(active).double() / held_out.shape[2]).view(n_models, n)
    index = (l0 - target_l0.double()[:, None]).abs().argmin(1)
    return Choice(side_by_side[torch.arange(n_models) * n + index], index, l0)


def top_k(target_l0: Tensor) -> TopK:
    """The `TopK` of the truth's sparsity: k = max(1, round(sum_i P_i)), from ``target_l0 [model]``."""
    return TopK(tuple(max(1, round(l0)) for l0 in target_l0.tolist()))
