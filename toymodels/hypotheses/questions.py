"""Two questions beside the verdict: does SoLU + LN have more features in neurons, and more hidden ones, than others?

    Q1  more neurons    features in tier neuron, SoLU + LN minus another arm
    Q2  more hidden     features in tier hidden, SoLU + LN minus another arm

each arm's tiers by its own measures, seed by seed, against GeLU, ReLU, every LN-only control that there is, and SoLU
without LayerNorm: against that one what LayerNorm adds, against all others together what SoLU and LayerNorm do. Q1 is
the headline of Elhage et al. 2022, *Softmax Linear Units*; Q2 their suspicion. Margin of both: three features, fixed
beforehand. Arms differ in the step size and the start that suit them, so a sweep tunes them first; without, it is an
unequal contest. Like the verdict, the questions are asked with every cut between tiers that is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.numbers import AtSetting
from toymodels.hypotheses.statistics.findings import Finding, from_seeds
from toymodels.metrics.tiers import Tier

MARGIN = 3.0
"""features a model"""
EACH = "each without SoLU"
"""The finding that is of all arms without SoLU together: supported if SoLU + LN has more than every one."""
WITH_SOLU = (MAIN, "solu")


@dataclass(frozen=True)
class Question:
    """Whether SoLU + LN has more features in a tier than other arms."""

    key: str
    asks: str
    tier: Tier

    def findings(self, at: AtSetting) -> dict[str, Finding]:
        """The difference to each other arm, by its name; and to `EACH`, where there is an arm to compare with."""
        sizes = self.sizes(at)
        differences = {name: sizes[MAIN] - size for name, size in sizes.items() if name != MAIN}
        found = {name: from_seeds(name, difference, MARGIN) for name, difference in differences.items()}
        without = [difference for name, difference in differences.items() if name not in WITH_SOLU]
        return found | ({EACH: from_seeds(EACH, torch.stack(without, 1), MARGIN)} if without else {})

    def sizes(self, at: AtSetting) -> Mapping[str, Tensor]:
        """How many features of the tier each arm has, float64 [seed]."""
        return {name: tiers.sizes[self.tier].double() for name, tiers in at.tiers.items()}


QUESTIONS = (
    Question("Q1", "Does SoLU + LN put more features into neurons?", Tier.NEURON),
    Question("Q2", "Does SoLU + LN hide more features?", Tier.HIDDEN),
)
