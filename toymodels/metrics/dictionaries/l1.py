"""L1: the sum of the latents costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from toymodels.metrics.dictionaries.sparsity import PENALTIES, Selection, Sparsity, check_numbers, each_model


@dataclass(frozen=True)
class L1(Sparsity):
    """A penalty on the sum of the latents, one for all models or one each: f = ReLU(z), loss + penalty E sum_l f_l.

    Cunningham et al. 2023, *Sparse Autoencoders Find Highly Interpretable Features in Language Models*; Bricken et al.
    2023, *Towards Monosemanticity*.
    """

    penalty: float | tuple[float, ...] = 0.1

    competing = False

    def __post_init__(self) -> None:
        check_numbers("penalty", self.penalty)

    def selection(self, n_models: int, latents: int, device: torch.device) -> Selection:
        """ReLU, and the penalty."""
        found = Selection(n_models, device)
        found.half_penalty = each_model(self.penalty, n_models)[:, None, None].to(device) / 2
        return found

    def tried(self, target_l0: Tensor, penalties: Sequence[float] = PENALTIES) -> tuple[L1, int]:
        """Each of ``penalties``."""
        return replace(self, penalty=tuple(float(p) for p in penalties) * len(target_l0)), len(penalties)
