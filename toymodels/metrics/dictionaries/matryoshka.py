"""Matryoshka: dictionaries nested in one another, each to say by itself what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor

from toymodels.metrics.dictionaries.batch_top_k import BatchTopK
from toymodels.metrics.dictionaries.sparsity import PENALTIES, Selection, Sparsity


@dataclass(frozen=True)
class Matryoshka(Sparsity):
    """The first ``prefixes[0]`` latents are a dictionary, the first ``prefixes[1]`` another, ..., and all the last:

        loss = mean over levels j of E |u - d - sum_{l < prefixes[j]} D_l f_l|^2, and what ``base`` asks

    f is ``base``'s, over all latents together. Features that are more general come first, and later latents have no
    reason to take them over. Bussmann, Nabeshima, Karvonen, Nanda 2025, *Learning Multi-Level Features with Matryoshka
    Sparse Autoencoders*, with the sum over levels; the mean leaves a penalty what it is without levels.
    """

    base: Sparsity = field(default_factory=BatchTopK)
    prefixes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.base, Matryoshka):
            raise ValueError("base: expected a kind without levels of its own, got Matryoshka")
        whole = all(isinstance(each, int) for each in self.prefixes)
        if not (whole and all(a < b for a, b in pairwise((0, *self.prefixes)))):
            raise ValueError(f"prefixes: expected whole numbers >= 1, each above the last, got {self.prefixes}")

    @property
    def competing(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] -- the base's
        """As in ``base``."""
        return self.base.competing

    def selection(self, n_models: int, latents: int, device: torch.device) -> Selection:
        """That of ``base``."""
        return self.base.selection(n_models, latents, device)

    def tried(self, target_l0: Tensor, penalties: Sequence[float] = PENALTIES) -> tuple[Matryoshka, int]:
        """As in ``base``."""
        base, n = self.base.tried(target_l0, penalties)
        return replace(self, base=base), n

    def levels(self, latents: int) -> tuple[slice, ...]:
        """A group of latents a prefix, and the rest."""
        if self.prefixes and self.prefixes[-1] >= latents:
            raise ValueError(f"prefixes: expected fewer than all {latents} latents, got {self.prefixes[-1]}")
        edges = (0, *self.prefixes, latents)
        return tuple(slice(a, b) for a, b in pairwise(edges))
