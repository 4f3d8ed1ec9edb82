"""Tiers: where a feature lives.

    neuron    recovered by the model, and aligned: one neuron at ``post`` stands for it
    hidden    not aligned, and recovered where no feature of tier neuron is active
    lost      the others

Aligned means that the best affine read-out from one neuron explains more than half of it (its *functional alignment*)
and more than nearly all rotations of the hidden basis give it (`toymodels.metrics.functional_alignment`).
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

from toymodels.metrics.recovery import RECOVERED

ALIGNED = 0.5
"""The functional alignment above which a feature can count as aligned,"""
ALIGNED_PERCENTILE = 99.0
"""and the percentile of its own null above which it then does."""


class Tier(IntEnum):
    """`UNDEFINED` for a feature that fresh data never showed, or in a diverged model."""

    UNDEFINED = -1
    LOST = 0
    HIDDEN = 1
    NEURON = 2


def aligned(alignment: Tensor, percentile: Tensor) -> Tensor:
    """Whether one neuron stands for a feature, bool [model, feature], from its functional alignment and the percentile
    of that in its null."""
    return (alignment > ALIGNED) & (percentile > ALIGNED_PERCENTILE)


def in_neuron(r2: Tensor, alignment: Tensor, percentile: Tensor) -> Tensor:
    """The features of tier neuron, bool [model, feature]: recovered and aligned."""
    return (r2 > RECOVERED) & aligned(alignment, percentile)


def tiers(r2: Tensor, alignment: Tensor, percentile: Tensor, r2_ungated: Tensor) -> Tensor:
    """int64 [model, feature] of `Tier`; ``r2_ungated`` is R^2 where no feature of `in_neuron` is active."""
    hidden = ~aligned(alignment, percentile) & (r2_ungated > RECOVERED)
    tier = torch.where(hidden, Tier.HIDDEN, Tier.LOST)
    tier = torch.where(in_neuron(r2, alignment, percentile), Tier.NEURON, tier)
    return torch.where(r2.isnan(), Tier.UNDEFINED, tier)
