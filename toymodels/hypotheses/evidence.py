"""Evidence: how a statistic of tiers is put together, the same way for every prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from toymodels.hypotheses.arms import MAIN


def mean_over(values: Tensor, where: Tensor, dim: int | tuple[int, ...] = 1) -> Tensor:
    """The mean of the defined ``values`` inside ``where``, over ``dim``; NaN where there is none."""
    counted = where & values.isfinite()
    count = counted.sum(dim)
    return torch.where(counted, values, 0.0).sum(dim) / torch.where(count > 0, count, torch.nan)


def beyond_controls(
    measured: Mapping[str, dict[str, Tensor]], statistic: Callable[[dict[str, Tensor]], Tensor]
) -> Tensor:
    """The statistic of SoLU + LN minus the largest of the LN-only controls', seed by seed: [model].

    ``measured`` holds those arms and no others. A control in which it is not finite does not count; NaN where none
    is, or where SoLU + LN's own is not.
    """
    own = statistic(measured[MAIN])
    controls = torch.stack([statistic(of) for name, of in measured.items() if name != MAIN])
    largest = torch.where(controls.isfinite(), controls, -torch.inf).amax(0)
    return torch.where(own.isfinite() & largest.isfinite(), own - largest, torch.nan)
