"""TopK: so many latents of every example answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from toymodels.metrics.dictionaries.dictionary import Dictionary, sparse
from toymodels.metrics.dictionaries.sparsity import PENALTIES, Selection, Sparsity, each_model, each_number


@dataclass(frozen=True)
class TopK(Sparsity):
    """Only the ``k`` largest latents of an example stay, one k for all models or one each.

    Makhzani & Frey 2013, *k-Sparse Autoencoders*; Gao et al. 2024, *Scaling and evaluating sparse autoencoders*.
    """

    k: int | tuple[int, ...] = 1

    competing = True

    def __post_init__(self) -> None:
        for k in each_number(self.k):
            if not (type(k) is int and k >= 1):
                raise ValueError(f"k: expected a whole number >= 1, got {k}")

    def selection(self, n_models: int, latents: int, device: torch.device) -> Selection:
        """The k largest."""
        return Largest(each_model(self.k, n_models).clamp(max=latents).contiguous(), device)

    def tried(self, target_l0: Tensor, penalties: Sequence[float] = PENALTIES) -> tuple[TopK, int]:
        """k = max(1, round(``target_l0``))."""
        return replace(self, k=tuple(max(1, round(l0)) for l0 in target_l0.tolist())), 1


class Largest(Selection):
    """The ``k`` largest latents of every example, [model]."""

    def __init__(self, k: Tensor, device: torch.device) -> None:
        super().__init__(len(k), device)
        self.k, self.most = k.to(device), int(k.max())

    def select(self, z: Tensor) -> Tensor:
        """The k largest."""
        return sparse(z, self.k, self.most)

    def finish(self, dictionary: Dictionary, answers: Iterable[Tensor]) -> Dictionary:
        """The k largest from now on too."""
        return replace(dictionary, k=self.k)
