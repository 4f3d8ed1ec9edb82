"""Prediction: what one claims, what it measures of a model, and the numbers a seed that it is judged by.

Evidence is large, and grows with the models; its statistics are small. So seeds can be measured part by part, and the
statistics of the parts put together.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from toymodels.hypotheses.arms import LN_ONLY, MAIN, Arm
from toymodels.hypotheses.evidence import Evidence, Quantities, SplitSamples
from toymodels.hypotheses.statistics.contrasts import beyond_controls
from toymodels.hypotheses.statistics.findings import Finding, from_seeds, unknown
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.hypotheses.tiers import AnalysisSetting, Tiers, too_small
from toymodels.metrics.tiers import Tier

Numbers = Mapping[str, Tensor | str]
"""By kind of statistic: one number a seed [seed], or one a seed and control [seed, control], or why there is none."""


@dataclass(frozen=True)
class Statistics:
    """Everything that the predictions are judged by, of one regime at one LayerNorm eps."""

    regime: str
    eps: str
    covariates: np.ndarray
    """log-frequency and log-importance of every feature, float64 [seed, feature, 2]"""
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
        at = {setting: AtSetting.together([part.at[setting] for part in parts]) for setting in first.at}
        return Statistics(first.regime, first.eps, covariates, at)


@dataclass(frozen=True)
class AtSetting:
    """What one setting of the analysis makes of a regime: its tiers, and the numbers of every prediction by its key."""

    neuron: Tensor
    """which features are in the neuron tier, bool [seed, feature]"""
    hidden: Tensor
    """which features are in the hidden tier, bool [seed, feature]"""
    numbers: Mapping[str, Numbers]
    marks: Mapping[str, Tensor]
    """what a reader should know of each seed beside them, [seed]"""

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
        neuron, hidden = torch.cat([part.neuron for part in parts]), torch.cat([part.hidden for part in parts])
        return AtSetting(neuron, hidden, numbers, marks)


@dataclass(frozen=True)
class OwnTable:
    """A table of evidence that has a row for something else than a feature: a neuron, a dictionary."""

    name: str
    index: Mapping[str, type]
    """the columns that say what a row is of, with the type of their values: an integer type of NumPy, or ``str``"""
    columns: tuple[str, ...]
    """the columns that were measured, all float32"""


class Prediction(ABC):
    """One prediction of the two-tier hypothesis: what it claims, and how the claim is put to trained models.

    A prediction is one file in `toymodels.hypotheses.predictions` and one entry of `PREDICTIONS` there; its figure is
    a file in `toymodels.figures`.
    """

    key: ClassVar[str]
    """its short name, ``P1``"""
    claim: ClassVar[str]
    """what it claims, in a sentence without its full stop"""
    figure: ClassVar[str]
    """the name of its figure, that of its file"""
    margin: ClassVar[float]
    """what the interval of a statistic must lie above for the claim to be supported, in the statistic's units"""
    margins: ClassVar[Mapping[str, float]] = {}
    """the same of those kinds of statistic that have a margin of their own"""
    decisive: ClassVar[tuple[str, ...]]
    """the kinds of statistic that must all agree; others stand beside them"""
    compares: ClassVar[tuple[Tier, ...]] = ()
    """the tiers that it compares, which need features in over half of the seeds"""
    arms: ClassVar[tuple[str, ...]] = (MAIN, *LN_ONLY)
    """the arms that it measures"""
    columns: ClassVar[Mapping[str, str]] = {}
    """its columns in the table of evidence by feature, and the quantity of `measure` that each one shows"""
    own_table: ClassVar[OwnTable | None] = None
    """the table of evidence that it fills by `own_rows`, if it has one"""

    def measure(self, arm: Arm, samples: SplitSamples) -> Quantities:
        """What it asks of one arm, by name, the first axis of each the model; nothing, where what tiers are made of is
        enough."""
        del arm, samples
        return {}

    def of_arm(self, measured: Quantities, tiers: Tiers) -> Mapping[str, Tensor]:
        """Its statistics of one arm alone, by kind: a number a seed [model], NaN where undefined.

        ``tiers.neuron`` and ``tiers.hidden``, bool [model, feature], are those of SoLU + LN.
        """
        del measured, tiers
        return {}

    def numbers(self, evidence: Evidence, tiers: Tiers) -> Numbers:
        """Its statistics, by kind, for these tiers: a number a seed, or a reason why there is none."""
        by_arm = {name: dict(self.of_arm(measured, tiers)) for name, measured in evidence.of(self.key).items()}
        return {kind: beyond_controls(by_arm, lambda of, kind=kind: of[kind]) for kind in by_arm.get(MAIN, {})}

    def margin_of(self, kind: str) -> float:
        """The margin of one kind of statistic."""
        return self.margins.get(kind, self.margin)

    def pooled(self, statistics: Statistics, at: AtSetting) -> Mapping[str, Finding]:
        """Its findings that are of all seeds at once and not of one number a seed, by kind of statistic."""
        del statistics, at
        return {}

    def marks(self, evidence: Evidence, tiers: Tiers) -> Mapping[str, Tensor]:
        """What a reader should know of each seed beside the statistics, [seed] each."""
        del evidence, tiers
        return {}

    def notes(self, marks: Mapping[str, Tensor]) -> Iterator[str]:
        """Sentences on those `marks` that are not as they should be."""
        del marks
        yield from ()

    def evidence_columns(self, measured: Quantities, tiers: Tiers) -> dict[str, Tensor]:
        """Its `columns` of one arm, [model, feature] each; what was not measured is left out."""
        del tiers
        return {name: measured[quantity] for name, quantity in self.columns.items() if quantity in measured}

    def own_rows(self, measured: Quantities) -> dict[str, np.ndarray]:
        """The rows of `own_table` for one arm, by column, [row] each; ``place`` says of which model of the arm a row
        is. No columns at all where nothing was measured."""
        del measured
        return {}

    def findings(self, statistics: Statistics, setting: AnalysisSetting) -> dict[str, Finding]:
        """What its statistics say at one setting of the analysis, by kind."""
        at = statistics.at[setting]
        enough, reason = too_small(at.neuron, at.hidden, self.compares)
        found = dict(self.pooled(statistics, at))
        for kind, numbers in at.numbers[self.key].items():
            if isinstance(numbers, str):
                found[kind] = unknown(kind, self.margin_of(kind), numbers)
                continue
            finding = from_seeds(kind, numbers, self.margin_of(kind), enough)
            found[kind] = replace(finding, status=Status.NOT_SUPPORTED, reason=reason) if reason else finding
        return found
