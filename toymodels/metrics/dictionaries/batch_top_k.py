"""BatchTopK: so many latents of an example answer on average over a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from toymodels.metrics.dictionaries.dictionary import Dictionary
from toymodels.metrics.dictionaries.sparsity import PENALTIES, Selection, Sparsity, check_numbers, each_model


@dataclass(frozen=True)
class BatchTopK(Sparsity):
    """Of a batch only the ``k`` x batch largest latents stay, of each model's own; k one for all models or one each,
    and no whole number need be.

    Afterwards an example comes alone, and a latent answers above a **threshold**, one a model: the mean over batches of
    what it was trained on, at its last weights, of the least latent that stayed. Bussmann, Leask, Nanda 2024,
    *BatchTopK Sparse Autoencoders*.
    """

    k: float | tuple[float, ...] = 1.0

    competing = True

    def __post_init__(self) -> None:
        check_numbers("k", self.k, above=True)

    def selection(self, n_models: int, latents: int) -> Selection:
        """The largest of the batch."""
        return LargestOfBatch(each_model(self.k, n_models).double())

    def tried(self, target_l0: Tensor, penalties: Sequence[float] = PENALTIES) -> tuple[BatchTopK, int]:
        """k = ``target_l0``."""
        return replace(self, k=tuple(target_l0.double().tolist())), 1


class LargestOfBatch(Selection):
    """The ``k`` x batch largest latents of a batch, of each model's own; k float64 [model]."""

    def __init__(self, k: Tensor) -> None:
        super().__init__(len(k))
        self.k = k

    def select(self, z: Tensor) -> Tensor:
        """The largest of the batch, at least one; of equals all stay."""
        keep = (self.k * z[0, 0].numel()).round().clamp(1, z[0].numel()).long().tolist()
        for of_model, largest in zip(z, keep, strict=True):
            keep_largest_of_all(of_model, largest)
        return z

    def finish(self, dictionary: Dictionary, answers: Iterable[Tensor]) -> Dictionary:
        """A threshold: see `BatchTopK`. Batches in which nothing answers have no say."""
        least = torch.stack([_least(self.select(z)) for z in answers])
        said = least.isfinite()
        mean = torch.where(said, least, 0.0).sum(0) / said.sum(0).clamp(min=1)
        return replace(dictionary, threshold=mean.float()[:, None].repeat(1, dictionary.decoder.shape[2]))


def keep_largest_of_all(f: Tensor, keep: int) -> None:
    """Zero, in place, all entries of f but the ``keep`` largest, where these are above 0; those equal to the least of
    them stay too.

    NumPy's partition is in vector registers: torch.topk took 12 to 29 times as long, and counting digits in a compiled
    kernel of ours 5 to 19 times (32 x 256 to 512 x 512 entries, AVX-512).
    """
    at = f.numel() - keep
    least = np.partition(f.numpy().reshape(-1), at)[at]
    torch.threshold_(f, max(0.0, float(np.nextafter(least, np.float32(-np.inf)))), 0.0)


def _least(f: Tensor) -> Tensor:
    """The least positive latent, float64 [model]; infinity without one."""
    return torch.where(f > 0, f, torch.inf).amin((1, 2)).double()
