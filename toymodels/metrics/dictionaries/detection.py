"""Detection: what a dictionary's latents say of data in which it is known what is active, counted.

Counts are exact, and memory does not grow with samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from toymodels.metrics.dictionaries.dictionary import Dictionary

CHUNK = 4096
CONSTANT = 1e-12
"""Share of the mean square at or below which a variance is rounding."""
NO_EFFECT = 1e-6
"""Share of the activations' rms at or below which a feature moves them by no more than rounding."""


@dataclass(frozen=True)
class Detection:
    """Sums over samples, from `detect`, on the CPU."""

    together: Tensor
    """float64 [model, feature, latent]: how often both were active"""
    fired: Tensor
    """int64 [model, latent]: how often a latent was"""
    seen: Tensor
    """int64 [model, feature]: how often a feature was"""
    samples: int
    squares: Tensor
    """sum of |a|^2, float64 [model]"""
    variance: Tensor
    """sum of |a - mean a|^2"""
    missed: Tensor
    """sum of |a - a_hat|^2"""
    lengths: Tensor
    """sums of |a| and of |a_hat|, float64 [2, model]"""
    total: Tensor
    """sums of a and of a_hat, float64 [2, model, hidden]"""
    total_seen: Tensor
    """the same where the feature was active, float64 [2, model, feature, hidden]"""

    def detectors(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Precision, recall and F1 of 'latent > 0' as a detector of 'feature active', ``latent [model, feature]``, -1
        for none, which detects nothing; NaN for a feature that was never active."""
        matched, column = latent >= 0, latent.clamp(min=0)
        both = self.together.gather(2, column[:, :, None])[:, :, 0]
        fired = self.fired.gather(1, column)
        found = (both / fired, both / self.seen, 2 * both / (fired + self.seen))
        precision, recall, f1 = (
            torch.where(self.seen > 0, torch.where(matched, each, 0.0), torch.nan) for each in found
        )
        return precision, recall, f1

    def classification(self, feature: Tensor) -> Tensor:
        """F1 of each latent as a detector of a ``feature [model, latent]``, -1 for none; 0 where it is undefined."""
        there, row = feature >= 0, feature.clamp(min=0)
        both = self.together.gather(1, row[:, None, :])[:, 0]
        f1 = 2 * both / (self.fired + self.seen.gather(1, row)).clamp(min=1)
        return torch.where(there, f1, 0.0)

    def unexplained(self) -> Tensor:
        """Share of the variance that the reconstruction misses, [model]; NaN where there is none."""
        return torch.where(self.variance > CONSTANT * self.squares, self.missed / self.variance, torch.nan)

    def kept_of(self, directions: Tensor) -> Tensor:
        """How much of what a feature does along its own direction v_i the reconstruction does, [model, feature]:

            (E[v_i . a_hat | i active] - E[v_i . a_hat | i not active]) / (the same of a)

        NaN where i is always or never active, or does nothing there."""
        seen = self.seen[:, :, None]
        others = self.total[:, :, None, :] - self.total_seen
        change = self.total_seen / seen - others / (self.samples - seen)
        along = (change * directions.double().transpose(1, 2)).sum(3)
        size = torch.linalg.vector_norm(directions.double(), dim=1) * (self.squares / self.samples).sqrt()[:, None]
        return torch.where(along[0].abs() > NO_EFFECT * size, along[1] / along[0], torch.nan)


def detect(
    dictionary: Dictionary, activations: Tensor, active: Tensor, seen_as: Callable[[Tensor], Tensor]
) -> Detection:
    """`Detection` by a ``dictionary`` with an encoder, of ``activations [model, hidden, sample]`` in which ``active
    [model, feature, sample]`` are the features, all on one device. The encoder reads the activations; they and their
    reconstruction are compared as ``seen_as`` has them, which is linear."""
    n_models, _, samples = activations.shape
    n_latents, n_features = dictionary.decoder.shape[2], active.shape[1]
    chunks = list(zip(activations.split(CHUNK, dim=2), active.split(CHUNK, dim=2), strict=True))
    sums = torch.stack([a.sum(2, keepdim=True, dtype=torch.float64) for a, _ in chunks])
    mean = seen_as(sums.sum(0) / samples)
    n_hidden = mean.shape[1]
    zeros = partial(torch.zeros, dtype=torch.float64, device=activations.device)
    seen, fired = zeros(n_models, n_features, dtype=torch.int64), zeros(n_models, n_latents, dtype=torch.int64)
    together = zeros(n_models, n_features, n_latents)
    squares, missed, variance = zeros(3, n_models)
    lengths, total = zeros(2, n_models), zeros(2, n_models, n_hidden)
    total_seen = zeros(2, n_models, n_features, n_hidden)
    for read, on in chunks:
        f = dictionary.encode(read)
        a, a_hat = seen_as(read), seen_as(dictionary.decode(f))
        firing = f > 0
        seen += on.sum(2)
        fired += firing.sum(2)
        together += on.float() @ firing.float().transpose(1, 2)  # whole numbers below 2^24: exact
        squares += a.double().square().sum((1, 2))
        missed += (a.double() - a_hat).square().sum((1, 2))
        variance += (a.double() - mean).square().sum((1, 2))
        for i, each in enumerate((a.float(), a_hat)):
            lengths[i] += torch.linalg.vector_norm(each, dim=1).sum(1, dtype=torch.float64)
            total[i] += each.sum(2, dtype=torch.float64)
            total_seen[i] += on.float() @ each.transpose(1, 2)
    together, fired, seen = (each.cpu() for each in (together, fired, seen))
    squares, variance, missed = (each.cpu() for each in (squares, variance, missed))
    lengths, total, total_seen = (each.cpu() for each in (lengths, total, total_seen))
    return Detection(together, fired, seen, samples, squares, variance, missed, lengths, total, total_seen)
