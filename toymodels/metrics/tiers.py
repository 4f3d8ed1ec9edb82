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
"""The functional alignment above which a feature can count as aligned."""
ALIGNED_PERCENTILE = 99.0
"""The percentile of its own null above which it then does."""


class Tier(IntEnum):
    """`UNDEFINED` for a feature that fresh data never showed, or in a diverged model."""

    UNDEFINED = -1
    LOST = 0
    HIDDEN = 1
    NEURON = 2


def aligned(
    alignment: Tensor, percentile: Tensor, above: float = ALIGNED, percent: float = ALIGNED_PERCENTILE
) -> Tensor:
    """Whether one neuron stands for a feature, bool [model, feature]: its functional alignment lies ``above`` a cut,
    and the percentile of that in its null above ``percent``."""
    return (alignment > above) & (percentile > percent)


def in_neuron(r2: Tensor, aligned: Tensor, recovered: float = RECOVERED) -> Tensor:
    """The features of tier neuron, bool [model, feature]: recovered and `aligned`."""
    return (r2 > recovered) & aligned


def is_hidden(r2: Tensor, aligned: Tensor, r2_ungated: Tensor, recovered: float = RECOVERED) -> Tensor:
    """The features of tier hidden, bool [model, feature]: not `aligned`, and recovered by ``r2_ungated``, R^2 where no
    feature of tier neuron is active; where that is undefined, because it is never active there, by ``r2``."""
    return ~aligned & (torch.where(r2_ungated.isnan(), r2, r2_ungated) > recovered)


def tiers(r2: Tensor, aligned: Tensor, r2_ungated: Tensor) -> Tensor:
    """int64 [model, feature] of `Tier`; ``r2_ungated`` is R^2 where no feature of `in_neuron` is active."""
    tier = torch.where(is_hidden(r2, aligned, r2_ungated), Tier.HIDDEN, Tier.LOST)
    tier = torch.where(in_neuron(r2, aligned), Tier.NEURON, tier)
    return torch.where(r2.isnan(), Tier.UNDEFINED, tier)
