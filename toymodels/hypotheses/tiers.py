"""Tiers: which features of SoLU + LN are in a neuron, which are hidden, and every way of drawing the line.

neuron    recovered, and aligned at or above a percentile of the rotation null: called tier one in the literature
hidden    recovered, and aligned below it: tier two
lost      not recovered
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.hypotheses.arms import MAIN, Arm
from toymodels.hypotheses.evidence import OF_TIERS, Evidence, Quantities
from toymodels.hypotheses.statistics.intervals import FEWEST_SEEDS
from toymodels.metrics.alignment import response_alignment
from toymodels.metrics.moments import Moments
from toymodels.metrics.recovery import best_neuron_r2, r2
from toymodels.metrics.responses import response_sizes_of
from toymodels.metrics.rotation_null import rotation_nulls_of
from toymodels.metrics.tiers import Tier

THRESHOLDS = (0.3, 0.4, 0.5, 0.55)
"""The R^2 above which a feature counts as recovered, one after another."""
PERCENTILES = (95.0, 99.0, 99.9)
"""The percentiles of the rotation null from which on a feature counts as aligned, one after another."""
EPS_LABELS = ("1e-05", "1e-12", "matched")
"""The values of LayerNorm's eps at which a claim about LayerNorm is shown."""
FEWEST_FEATURES = 3
"""With fewer features in a tier in over half of the seeds, nothing that compares tiers is supported."""
COLUMNS = {"active_examples": "active", "r2": "r2", "response_alignment_percentile": "percentile"}
"""The columns of evidence that say what tiers are made of, and the quantity of `measure` that each one shows."""


@dataclass(frozen=True)
class AnalysisSetting:
    """One way of doing the analysis: at which eps, and where the lines between tiers are drawn."""

    eps: str
    recovered: float = 0.5
    percentile: float = 99.0


def settings(eps: str) -> list[AnalysisSetting]:
    """Every way of doing the analysis at one eps."""
    return [AnalysisSetting(eps, recovered, percentile) for recovered in THRESHOLDS for percentile in PERCENTILES]


def measure(arm: Arm, first_half: Moments) -> Quantities:
    """What tiers are made of, each [model, feature]: ``r2`` of the model, ``active``, the number of examples in which a
    feature is active, and ``alignment``, the best neuron's R^2 at post, on the first half of the samples;
    ``percentile`` as `alignment_percentile` has it."""
    return {
        "r2": r2(first_half),
        "active": first_half.active,
        "alignment": best_neuron_r2(first_half, "post"),
        "percentile": alignment_percentile(arm),
    }


def alignment_percentile(arm: Arm) -> Tensor:
    """The percentile of each feature's response alignment in its model's rotation null: [model, feature], 0 to 100."""
    alignment = response_alignment(response_sizes_of(arm.experiments, arm.parameters))
    null = rotation_nulls_of(arm.experiments, arm.parameters, ["response_alignment"])["response_alignment"]
    return null.percentile(alignment)


@dataclass(frozen=True)
class Tiers:
    """Which features of SoLU + LN are in which tier, bool [model, feature]; and which ones every arm recovers."""

    neuron: Tensor
    hidden: Tensor
    recovered: Mapping[str, Tensor]

    @staticmethod
    def of(evidence: Evidence, setting: AnalysisSetting) -> Tiers:
        """The tiers at a setting of the analysis."""
        arms = {name: measured[OF_TIERS] for name, measured in evidence.with_norm.items()}
        recovered = {name: of["r2"] > setting.recovered for name, of in arms.items()}
        aligned = arms[MAIN]["percentile"] >= setting.percentile
        return Tiers(recovered[MAIN] & aligned, recovered[MAIN] & ~aligned, recovered)

    @property
    def each(self) -> Tensor:
        """The `Tier` of every feature, int64 [model, feature]."""
        return Tier.NEURON * self.neuron.long() + Tier.HIDDEN * self.hidden.long()


def too_small(neuron: Tensor, hidden: Tensor, compared: Sequence[Tier]) -> tuple[Tensor, str]:
    """The seeds in which each of the tiers ``compared`` has enough features, bool [seed], and a reason why nothing that
    compares them can be supported: that a tier has too few in over half of the seeds; "" where none has.

    ``neuron`` and ``hidden`` are the tiers, bool [seed, feature].
    """
    features = {Tier.NEURON: neuron, Tier.HIDDEN: hidden}
    enough, reasons = torch.ones(len(hidden), dtype=torch.bool), []
    for tier in compared:
        there = features[tier].sum(1) >= FEWEST_FEATURES
        enough &= there
        if 2 * int(there.sum()) < len(there) and len(there) >= FEWEST_SEEDS:
            seeds = f"{int((~there).sum())} of {len(there)} seeds"
            reasons.append(f"tier {tier.name.lower()} has fewer than {FEWEST_FEATURES} features in {seeds}")
    return enough, "; ".join(reasons)
