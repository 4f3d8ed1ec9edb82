"""Predictions: what each one claims, and the numbers a seed that it is judged by, at every setting of the analysis.

Evidence is large, and grows with the models; its statistics are small. So seeds can be measured part by part, and the
statistics of the parts put together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.measuring import Evidence
from toymodels.hypotheses.predictions import (
    p1_bimodal,
    p2_rescaled,
    p3_gated,
    p4_needs_norm,
    p6_common_or_important,
    p7_weak_activity,
    p9_harder_to_find,
)
from toymodels.hypotheses.statistics.findings import Finding, from_jackknife, from_seeds, unknown
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.hypotheses.tiers import Setting, Tiers, settings, too_small
from toymodels.surroundings import undisturbed

FEWEST_EXAMPLES = 200
"""in which a feature is active, of the first half of the samples; with fewer it counts, and is marked"""
MARKS = ("recovered", "undersampled", "left out of P3", "dip p")
"""features of SoLU + LN in a tier; those of them with few active examples; those that P3 leaves out; Monte Carlo p of
the dip of SoLU + LN's own alignment"""

Numbers = Mapping[str, Tensor | str]
"""by kind of statistic: a number a seed, or one a seed and control, or why there is none"""


@dataclass(frozen=True)
class Statistics:
    """Everything the predictions are judged by, of one regime at one LayerNorm eps."""

    regime: str
    eps: str
    covariates: np.ndarray
    """what P6 explains tiers by, [seed, feature, 2]"""
    at: Mapping[Setting, AtSetting]

    @property
    def seeds(self) -> int:
        """How many."""
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
    """Tiers at one setting, bool [seed, feature], and by prediction the numbers a seed."""

    one: Tensor
    two: Tensor
    numbers: Mapping[str, Numbers]
    marks: Mapping[str, Tensor]
    """what a reader should know of each seed, [seed]: see `MARKS`"""

    @staticmethod
    def together(parts: Sequence[AtSetting]) -> AtSetting:
        """One after another. What some part lacks, the whole lacks."""
        numbers: dict[str, dict[str, Tensor | str]] = {}
        for key, kinds in parts[0].numbers.items():
            numbers[key] = {}
            for kind in kinds:
                values = [part.numbers[key][kind] for part in parts]
                missing = [value for value in values if isinstance(value, str)]
                numbers[key][kind] = missing[0] if missing else torch.cat([v for v in values if isinstance(v, Tensor)])
        one, two = (torch.cat([getattr(part, tier) for part in parts]) for tier in ("one", "two"))
        marks = {name: torch.cat([part.marks[name] for part in parts]) for name in parts[0].marks}
        return AtSetting(one, two, numbers, marks)


@dataclass(frozen=True)
class Prediction:
    """One prediction: what it claims and how its statistics are found; ``decisive`` ones must all agree."""

    key: str
    claim: str
    margin: float
    decisive: tuple[str, ...]
    compared: int
    """how many tiers it compares: those need features in over half of the seeds"""
    numbers: Callable[[Evidence, Tiers], Numbers]
    pooled: Callable[[Statistics, AtSetting], Mapping[str, Finding]] = field(default=lambda *_: {})
    """findings that are not of one number a seed"""

    def findings(self, statistics: Statistics, setting: Setting) -> dict[str, Finding]:
        """By kind of statistic."""
        at = statistics.at[setting]
        enough, reason = too_small(at.one, at.two, self.compared)
        found = dict(self.pooled(statistics, at))
        for kind, numbers in at.numbers[self.key].items():
            if isinstance(numbers, str):
                found[kind] = unknown(kind, self.margin, numbers)
                continue
            finding = from_seeds(kind, numbers, self.margin, enough)
            found[kind] = replace(finding, status=Status.NOT_SUPPORTED, reason=reason) if reason else finding
        return found


@undisturbed
def statistics(evidence: Evidence) -> Statistics:
    """The numbers of every prediction at every setting."""
    at = {}
    for setting in settings(evidence.eps):
        tiers = Tiers.of(evidence, setting)
        numbers = {prediction.key: prediction.numbers(evidence, tiers) for prediction in PREDICTIONS}
        at[setting] = AtSetting(tiers.one, tiers.two, numbers, _marks(evidence, tiers))
    return Statistics(evidence.regime, evidence.eps, evidence.covariates, at)


def _marks(evidence: Evidence, tiers: Tiers) -> dict[str, Tensor]:
    own, in_a_tier = evidence.arms[MAIN], tiers.one | tiers.two
    return {
        "recovered": in_a_tier.sum(1),
        "undersampled": (in_a_tier & (own["recovery"]["active"] < FEWEST_EXAMPLES)).sum(1),
        "left out of P3": p3_gated.left_out(_part(evidence, "p3"), tiers.one, tiers.two),
        "dip p": p1_bimodal.dip_p_values(own["p1"], in_a_tier),
    }


def _part(evidence: Evidence, prediction: str) -> dict[str, dict[str, Tensor]]:
    return {name: arm[prediction] for name, arm in evidence.with_norm.items()}


def _p6(of: Statistics, at: AtSetting) -> Mapping[str, Finding]:
    margins = {"difference": p6_common_or_important.MARGIN, "frequency": 0.0, "importance": 0.0}
    reason = p6_common_or_important.unanswerable(of.covariates)
    if reason is not None:
        return {kind: unknown(kind, margin, reason) for kind, margin in margins.items()}
    found = p6_common_or_important.coefficients(of.covariates, at.one, at.two)
    return {kind: from_jackknife(kind, *found[kind], margin) for kind, margin in margins.items()}


def _p9(evidence: Evidence, tiers: Tiers) -> Numbers:
    measured = {name: arm["p9"] for name, arm in evidence.arms.items()}
    return {
        kind: "not measured" if (found := p9_harder_to_find.statistic(measured, kind, tiers.two)) is None else found
        for kind in p9_harder_to_find.KINDS
    }


PREDICTIONS = (
    Prediction(
        "P1",
        "The alignment of recovered features has two modes",
        p1_bimodal.MARGIN,
        ("dip",),
        0,
        lambda evidence, tiers: {"dip": p1_bimodal.statistic(_part(evidence, "p1"), tiers.recovered)},
    ),
    Prediction(
        "P2",
        "Tier two is suppressed at mid, then rescaled",
        p2_rescaled.MARGIN,
        ("log ratio",),
        2,
        lambda evidence, tiers: {"log ratio": p2_rescaled.statistic(_part(evidence, "p2"), tiers.one, tiers.two)},
    ),
    Prediction(
        "P3",
        "Tier two is gated by tier one",
        p3_gated.MARGIN,
        ("gating",),
        2,
        lambda evidence, tiers: {"gating": p3_gated.statistic(_part(evidence, "p3"), tiers.one, tiers.two)},
    ),
    Prediction(
        "P4",
        "Tier two needs LayerNorm",
        p4_needs_norm.MARGIN,
        p4_needs_norm.DECISIVE,
        2,
        lambda evidence, tiers: {
            kind: p4_needs_norm.statistic(_part(evidence, "p4"), kind, tiers.one, tiers.two)
            for kind in (*p4_needs_norm.DECISIVE, *p4_needs_norm.BESIDE)
        },
    ),
    Prediction(
        "P6",
        "The common features become aligned, more than the important ones",
        p6_common_or_important.MARGIN,
        ("difference", "frequency"),
        0,
        lambda *_: {},
        _p6,
    ),
    Prediction(
        "P7",
        "Weak activations of a neuron belong to other features",
        p7_weak_activity.MARGIN,
        ("mid",),
        0,
        lambda evidence, _: {tap: p7_weak_activity.statistic(_part(evidence, "p7"), tap) for tap in ("mid", "post")},
    ),
    Prediction(
        "P9",
        "Tier two is harder to find than in GeLU",
        p9_harder_to_find.MARGIN,
        p9_harder_to_find.KINDS,
        1,
        _p9,
    ),
)
