"""BatchTopK: so many latents of an example answer on average over a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from toymodels.metrics.dictionaries.dictionary import Dictionary
from toymodels.metrics.dictionaries.largest import keep_largest_of_all, keep_largest_of_batches
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

    def selection(self, n_models: int, latents: int, device: torch.device) -> Selection:
        """The largest of the batch."""
        return LargestOfBatch(each_model(self.k, n_models).double(), device)

    def tried(self, target_l0: Tensor, penalties: Sequence[float] = PENALTIES) -> tuple[BatchTopK, int]:
        """k = ``target_l0``."""
        return replace(self, k=tuple(target_l0.double().tolist())), 1


class LargestOfBatch(Selection):
    """The ``k`` x batch largest latents of a batch, of each model's own; k float64 [model], on the CPU."""

    def __init__(self, k: Tensor, device: torch.device) -> None:
        super().__init__(len(k), device)
        self.k = k
        self._last: dict[int, Tensor] = {}  # keep - 1 where z is, by the size of the batch

    def select(self, z: Tensor) -> Tensor:
        """The largest of the batch, at least one; of equals all stay."""
        batch = z.shape[2]
        keep = (self.k * batch).round().clamp(1, z[0].numel()).long()
        if z.device.type == "cpu":
            for of_model, largest in zip(z, keep.tolist(), strict=True):
                keep_largest_of_all(of_model, largest)
            return z
        if batch not in self._last:
            self._last[batch] = (keep - 1).to(z.device)
        keep_largest_of_batches(z, self._last[batch], int(keep.max()))
        return z

    def finish(self, dictionary: Dictionary, answers: Iterable[Tensor]) -> Dictionary:
        """A threshold: see `BatchTopK`. Batches in which nothing answers have no say."""
        least = torch.stack([_least(self.select(z)) for z in answers])
        said = least.isfinite()
        mean = torch.where(said, least, 0.0).sum(0) / said.sum(0).clamp(min=1)
        return replace(dictionary, threshold=mean.float()[:, None].repeat(1, dictionary.decoder.shape[2]))


def _least(f: Tensor) -> Tensor:
    """The least positive latent, float64 [model]; infinity without one."""
    return torch.where(f > 0, f, torch.inf).amin((1, 2)).double()
