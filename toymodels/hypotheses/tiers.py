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
from toymodels.hypotheses.statistics.intervals import FEWEST

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


def too_small(one: Tensor, two: Tensor, compared: int) -> tuple[Tensor, str]:
    """Of tiers bool [seed, feature]: the seeds in which each tier compared has enough features, bool [seed], and why
    nothing that compares them can be supported: a tier that has too few in over half of the seeds, or "".

    ``compared``: 0 none, 1 tier two, 2 both.
    """
    named = {"two": two, "one": one}
    enough, reason = torch.ones(len(two), dtype=torch.bool), ""
    for name in [*named][:compared]:
        there = named[name].sum(1) >= FEWEST_FEATURES
        enough &= there
        if 2 * int(there.sum()) < len(there) and len(there) >= FEWEST:
            missing = (
                f"tier {name} has fewer than {FEWEST_FEATURES} features in {int((~there).sum())} of {len(there)} seeds"
            )
            reason = f"{reason}; {missing}" if reason else missing
    return enough, reason
