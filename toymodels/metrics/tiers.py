"""Tiers: where a feature lives.

``neuron``: recovered by the model and aligned with one neuron beyond the null; ``hidden``: recovered, but not aligned;
``lost``: not recovered.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from toymodels.metrics.recovery import RECOVERED
from toymodels.metrics.rotation_null import Null

ALIGNED_PERCENTILE = 99.0


class Tier(IntEnum):
    """`UNDEFINED` for a feature that fresh data never showed, or in a diverged model."""

    UNDEFINED = -1
    LOST = 0
    HIDDEN = 1
    NEURON = 2


def tiers(r2: Tensor, alignment: Tensor, null: Null) -> Tensor:
    """int64 [model, feature] of `Tier`, from the model's R^2 and the response alignment with its null."""
    aligned = null.percentile(alignment) >= ALIGNED_PERCENTILE
    tier = torch.where(r2 > RECOVERED, torch.where(aligned, Tier.NEURON, Tier.HIDDEN), Tier.LOST)
    return torch.where(r2.isnan(), Tier.UNDEFINED, tier)
