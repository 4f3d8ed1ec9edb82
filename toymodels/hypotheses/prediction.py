"""Prediction: what one claims, what it measures of a model, and the numbers a seed that it is judged by."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from toymodels.hosts import Models
from toymodels.hypotheses.arms import LN_ONLY, MAIN
from toymodels.hypotheses.evidence import Evidence, Quantities, SplitSamples
from toymodels.hypotheses.numbers import AtSetting, Numbers, Statistics
from toymodels.hypotheses.statistics.contrasts import beyond_controls
from toymodels.hypotheses.statistics.findings import Finding, from_seeds, unknown
from toymodels.hypotheses.tiers import FEWEST_FEATURES, AnalysisSetting, Tiers
from toymodels.metrics.tiers import Tier


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
    """the same of those kinds of statistic that have one of their own"""
    decisive: ClassVar[tuple[str, ...]]
    """the kinds of statistic that must all agree; others stand beside them. None: it describes, and decides nothing"""
    compares: ClassVar[tuple[Tier, ...]] = ()
    """the tiers that it compares: a seed counts where each has `FEWEST_FEATURES` features or more"""
    arms: ClassVar[tuple[str, ...]] = (MAIN, *LN_ONLY)
    """the arms that it measures"""
    columns: ClassVar[Mapping[str, str]] = {}
    """its columns in the table of evidence by feature, and the quantity of `measure` that each one shows"""
    own_table: ClassVar[OwnTable | None] = None
    """the table of evidence that it fills by `own_rows`, if it has one"""

    def measure(self, arm: Models, samples: SplitSamples) -> Quantities:
        """What it asks of one arm, by name, the first axis of each the model; nothing, where what tiers are made of is
        enough. It is computed where the arm's parameters are, and may be returned there."""
        del arm, samples
        return {}

    def of_arm(self, measured: Quantities, tiers: Tiers) -> Mapping[str, Tensor]:
        """Its statistics of one arm alone, by kind, a number a seed [model]; NaN where one is undefined. ``tiers`` are
        those of SoLU + LN of the same seeds, whatever the arm."""
        del measured, tiers
        return {}

    def of_arm_for_each(self, measured: Quantities, tiers: Sequence[Tiers]) -> Sequence[Mapping[str, Tensor]]:
        """`of_arm` for each of these tiers, for a prediction to override that has work in common for them."""
        return [self.of_arm(measured, each) for each in tiers]

    def numbers(self, evidence: Evidence, tiers: Sequence[Tiers]) -> Sequence[Numbers]:
        """Its statistics for each of these tiers, by kind: a number a seed and arm, or a reason why there is none."""
        measured = evidence.of(self.key)
        arms = [self.of_arm_for_each(measured[name], tiers) for name in (MAIN, *LN_ONLY) if name in measured]
        by_tiers = [[of[k] for of in arms] for k in range(len(tiers))]
        return [
            {kind: torch.stack([of[kind] for of in each], 1) for kind in (each[0] if each else {})} for each in by_tiers
        ]

    def margin_of(self, kind: str) -> float:
        """The margin of one kind of its statistics."""
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
        """What its statistics of SoLU + LN say at one setting of the analysis, by kind."""
        return dict(self.pooled(statistics, statistics.at[setting])) | self._judged(
            statistics, setting, lambda numbers: numbers[:, 0]
        )

    def beyond(self, statistics: Statistics, setting: AnalysisSetting) -> dict[str, Finding]:
        """What SoLU + LN has of its statistics beyond each LN-only control, at one setting, by kind."""

        def differences(numbers: Tensor) -> Tensor | str:
            return beyond_controls(numbers) if numbers.shape[1] > 1 else "no LN-only control"

        return self._judged(statistics, setting, differences)

    def _judged(
        self, statistics: Statistics, setting: AnalysisSetting, of: Callable[[Tensor], Tensor | str]
    ) -> dict[str, Finding]:
        """Each kind judged by what ``of`` makes of its numbers, over the seeds that have features to compare."""
        at = statistics.at[setting]
        enough, found = torch.ones(statistics.seeds, dtype=torch.bool), {}
        for tier in self.compares:
            enough &= at.own.sizes[tier] >= FEWEST_FEATURES
        for kind, numbers in at.numbers[self.key].items():
            margin = self.margin_of(kind)
            chosen = numbers if isinstance(numbers, str) else of(numbers)
            if isinstance(chosen, str):
                found[kind] = unknown(kind, margin, chosen)
            else:
                found[kind] = from_seeds(kind, chosen, margin, enough)
        return found
