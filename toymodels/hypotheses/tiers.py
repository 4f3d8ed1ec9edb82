"""Tiers: which features of SoLU + LN are in a neuron, which are hidden, and every way of drawing the line.

tier one    recovered, and aligned beyond a percentile of the rotation null
tier two    recovered, and not
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.measuring import Evidence

RECOVERED = (0.3, 0.4, 0.5, 0.55)
PERCENTILES = (95.0, 99.0, 99.9)
EPS = ("1e-05", "1e-12", "matched")
"""what a claim about LayerNorm is shown at"""
FEWEST_FEATURES = 3
"""in a tier; fewer in over half of the seeds, and nothing that compares tiers is supported"""


@dataclass(frozen=True)
class Setting:
    """One way of doing the analysis."""

    eps: str
    recovered: float = 0.5
    percentile: float = 99.0


def settings(eps: str) -> list[Setting]:
    """Every way of doing the analysis at one eps."""
    return [Setting(eps, recovered, percentile) for recovered in RECOVERED for percentile in PERCENTILES]


@dataclass(frozen=True)
class Tiers:
    """Which features of SoLU + LN are in which tier, bool [model, feature]; recovered ones of every arm."""

    one: Tensor
    two: Tensor
    recovered: Mapping[str, Tensor]

    @staticmethod
    def of(evidence: Evidence, setting: Setting) -> Tiers:
        """The tiers at a setting."""
        arms = evidence.with_norm
        recovered = {name: arm["recovery"]["r2"] > setting.recovered for name, arm in arms.items()}
        aligned = arms[MAIN]["p1"]["percentile"] >= setting.percentile
        return Tiers(recovered[MAIN] & aligned, recovered[MAIN] & ~aligned, recovered)

    @staticmethod
    def enough(one: Tensor, two: Tensor, compared: int) -> Tensor:
        """Seeds with `FEWEST_FEATURES` or more in tier two and, if two tiers are compared, in tier one: [model]."""
        if compared == 0:
            return torch.ones(len(two), dtype=torch.bool)
        there = two.sum(1) >= FEWEST_FEATURES
        return there & (one.sum(1) >= FEWEST_FEATURES) if compared == 2 else there
