"""Numbers: what a regime is judged by, a few for each seed.

Evidence is large, and grows with the models; these are small. So seeds can be measured part by part and the parts put
together, and a verdict can be asked of some of the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.tiers import AnalysisSetting, Tiers

Numbers = Mapping[str, Tensor | str]
"""By kind of statistic: one number a seed and arm [seed, arm], SoLU + LN first and then its LN-only controls in their
order; or why there is none."""


@dataclass(frozen=True)
class Statistics:
    """Everything that a regime is judged by at one LayerNorm eps."""

    regime: str
    eps: str
    covariates: np.ndarray
    """log-frequency and log-importance of every feature, float64 [seed, feature, 2]"""
    engagement: Tensor
    """what it costs SoLU + LN to have its activation replaced by an affine map, [seed]"""
    losses: Mapping[str, Tensor]
    """the loss fraction of every arm, [seed]: arms of unlike loss differ in more than where their features sit"""
    at: Mapping[AnalysisSetting, AtSetting]

    @property
    def seeds(self) -> int:
        """How many seeds the statistics are of."""
        return len(self.covariates)

    @staticmethod
    def together(parts: Sequence[Statistics]) -> Statistics:
        """The statistics of all seeds, from those of some seeds each."""
        first = parts[0]
        covariates = np.concatenate([part.covariates for part in parts])
        engagement = torch.cat([part.engagement for part in parts])
        at = {setting: AtSetting.together([part.at[setting] for part in parts]) for setting in first.at}
        losses = {arm: torch.cat([part.losses[arm] for part in parts]) for arm in first.losses}
        return Statistics(first.regime, first.eps, covariates, engagement, losses, at)

    def of_seeds(self, chosen: Sequence[int]) -> Statistics:
        """The statistics of some of the seeds, by their places."""
        at = {setting: at_setting.of_seeds(chosen) for setting, at_setting in self.at.items()}
        losses = {arm: of[chosen] for arm, of in self.losses.items()}
        engagement = self.engagement[chosen]
        return replace(self, covariates=self.covariates[chosen], engagement=engagement, losses=losses, at=at)


@dataclass(frozen=True)
class AtSetting:
    """What one setting of the analysis makes of a regime: its tiers, and the numbers of every prediction by its key."""

    tiers: Mapping[str, Tiers]
    """the tiers of every arm, each by its own measures"""
    numbers: Mapping[str, Numbers]
    marks: Mapping[str, Tensor]
    """what a reader should know of each seed beside them, [seed]"""

    @property
    def own(self) -> Tiers:
        """The tiers of SoLU + LN."""
        return self.tiers[MAIN]

    @staticmethod
    def together(parts: Sequence[AtSetting]) -> AtSetting:
        """The seeds of all parts, one part after another. A statistic that some part lacks, the whole lacks."""
        numbers: dict[str, dict[str, Tensor | str]] = {}
        for key, kinds in parts[0].numbers.items():
            numbers[key] = {}
            for kind in kinds:
                values = [part.numbers[key][kind] for part in parts]
                missing = [value for value in values if isinstance(value, str)]
                numbers[key][kind] = missing[0] if missing else torch.cat([v for v in values if isinstance(v, Tensor)])
        marks = {name: torch.cat([part.marks[name] for part in parts]) for name in parts[0].marks}
        tiers = {
            arm: Tiers(
                torch.cat([part.tiers[arm].neuron for part in parts]),
                torch.cat([part.tiers[arm].hidden for part in parts]),
            )
            for arm in parts[0].tiers
        }
        return AtSetting(tiers, numbers, marks)

    def of_seeds(self, chosen: Sequence[int]) -> AtSetting:
        """The same of some of the seeds, by their places."""
        places = torch.as_tensor(chosen)
        tiers = {arm: Tiers(of.neuron[places], of.hidden[places]) for arm, of in self.tiers.items()}
        numbers = {
            key: {kind: v if isinstance(v, str) else v[places] for kind, v in kinds.items()}
            for key, kinds in self.numbers.items()
        }
        marks = {name: mark[places] for name, mark in self.marks.items()}
        return AtSetting(tiers, numbers, marks)
