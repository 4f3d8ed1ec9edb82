"""Contrasts: means over some of a model's features, and differences of models that share seed and data."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_over(values: Tensor, where: Tensor, dim: int | tuple[int, ...] = 1) -> Tensor:
    """The mean of the defined ``values`` inside ``where``, over ``dim``; NaN where there is none."""
    counted = where & values.isfinite()
    count = counted.sum(dim)
    return torch.where(counted, values, 0.0).sum(dim) / torch.where(count > 0, count, torch.nan)


def beyond_controls(numbers: Tensor) -> Tensor:
    """A statistic of SoLU + LN minus each LN-only control's, seed by seed: [seed, control] of [seed, arm], SoLU + LN
    first. NaN where either is not finite."""
    return defined(defined(numbers[:, :1]) - defined(numbers[:, 1:]))


def defined(values: Tensor) -> Tensor:
    """The values, NaN where they are not finite: a ratio with 0 says nothing, and spoils no mean."""
    return torch.where(values.isfinite(), values, torch.nan)
