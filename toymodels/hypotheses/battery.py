"""The battery: does SoLU + LN have two tiers of features? By prediction and over all, each with the rule that says so.

    P1 bimodal    P2 rescaled    P3 gated    P4 needs LayerNorm              together: two tiers
    P6 common or important       P7 weak activity       P9 harder to find    beside them

A prediction is *supported* if the interval of its statistic over seeds lies above its margin, *not supported* if below,
else *undetermined*. Over all: supported if P1 to P4 are, not supported ("no") if any of them is not, else undetermined.
All of it is repeated over thresholds of what counts as recovered, percentiles of what counts as aligned, and
LayerNorm's eps: what does not stay the same under all of these is undetermined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from toymodels.hypotheses import (
    p1_bimodal,
    p2_rescaled,
    p3_gated,
    p4_needs_norm,
    p6_common_or_important,
    p7_weak_activity,
    p9_harder_to_find,
)
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.intervals import LEVEL, Status, all_of, holm, interval, unanimous
from toymodels.hypotheses.measuring import Evidence

RECOVERED = (0.3, 0.4, 0.5, 0.55)
PERCENTILES = (95.0, 99.0, 99.9)
EPS = ("1e-05", "1e-12", "matched")
"""what a claim about LayerNorm is shown at"""
FEWEST_FEATURES = 3
"""in a tier; fewer in over half of the seeds, and nothing that compares tiers is supported"""
TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True)
class Setting:
    """One way of doing the analysis."""

    eps: str
    recovered: float = 0.5
    percentile: float = 99.0


@dataclass(frozen=True)
class Finding:
    """One statistic at one setting: its mean over ``n`` seeds, its interval, and what that says against the margin."""

    kind: str
    mean: float
    low: float
    high: float
    n: int
    margin: float
    p_above: float
    """one-sided p of "at most the margin"; of exploratory regimes Holm-corrected over them"""
    p_below: float
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Prediction:
    """One prediction: what it claims and how its statistics are found; ``decisive`` ones must all agree."""

    key: str
    claim: str
    margin: float
    decisive: tuple[str, ...]
    beside: tuple[str, ...]
    tiers: int
    """how many tiers it compares: those need features in over half of the seeds"""
    findings: Callable[[Evidence, Tiers], Mapping[str, Tensor | Finding | str]]
    """by kind: a number a seed, or the finding, or why there is none"""


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

    def enough(self, tiers: int) -> Tensor:
        """Seeds with `FEWEST_FEATURES` or more in tier two and, if two tiers are compared, in tier one: [model]."""
        if tiers == 0:
            return torch.ones(len(self.two), dtype=torch.bool)
        two = self.two.sum(1) >= FEWEST_FEATURES
        return two & (self.one.sum(1) >= FEWEST_FEATURES) if tiers == 2 else two


def _part(evidence: Evidence, prediction: str) -> dict[str, dict[str, Tensor]]:
    return {name: arm[prediction] for name, arm in evidence.with_norm.items()}


def _p6(evidence: Evidence, tiers: Tiers) -> Mapping[str, Tensor | Finding | str]:
    of = np.asarray(evidence.covariates)
    reason = p6_common_or_important.unanswerable(of)
    if reason is not None:
        return dict.fromkeys(("difference", "frequency", "importance"), reason)
    return {
        kind: _from_jackknife(kind, *found, p6_common_or_important.MARGIN if kind == "difference" else 0.0)
        for kind, found in p6_common_or_important.coefficients(of, tiers.one, tiers.two).items()
    }


def _p9(evidence: Evidence, tiers: Tiers) -> Mapping[str, Tensor | Finding | str]:
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
        (),
        0,
        lambda evidence, tiers: {"dip": p1_bimodal.statistic(_part(evidence, "p1"), tiers.recovered)},
    ),
    Prediction(
        "P2",
        "Tier two is suppressed at mid, then rescaled",
        p2_rescaled.MARGIN,
        ("log ratio",),
        (),
        2,
        lambda evidence, tiers: {"log ratio": p2_rescaled.statistic(_part(evidence, "p2"), tiers.one, tiers.two)},
    ),
    Prediction(
        "P3",
        "Tier two is gated by tier one",
        p3_gated.MARGIN,
        ("gating",),
        (),
        2,
        lambda evidence, tiers: {"gating": p3_gated.statistic(_part(evidence, "p3"), tiers.one, tiers.two)},
    ),
    Prediction(
        "P4",
        "Tier two needs LayerNorm",
        p4_needs_norm.MARGIN,
        p4_needs_norm.DECISIVE,
        p4_needs_norm.BESIDE,
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
        ("importance",),
        0,
        _p6,
    ),
    Prediction(
        "P7",
        "Weak activations of a neuron belong to other features",
        p7_weak_activity.MARGIN,
        ("mid",),
        ("post",),
        0,
        lambda evidence, _: {tap: p7_weak_activity.statistic(_part(evidence, "p7"), tap) for tap in ("mid", "post")},
    ),
    Prediction(
        "P9",
        "Tier two is harder to find than in GeLU",
        p9_harder_to_find.MARGIN,
        p9_harder_to_find.KINDS,
        (),
        1,
        _p9,
    ),
)
OVERALL = ("P1", "P2", "P3", "P4")


def findings(evidence: Evidence, setting: Setting) -> dict[str, dict[str, Finding]]:
    """Every statistic of every prediction at one setting, by prediction and kind."""
    tiers = Tiers.of(evidence, setting)
    return {
        prediction.key: {
            kind: _finding(prediction, kind, found, tiers)
            for kind, found in prediction.findings(evidence, tiers).items()
        }
        for prediction in PREDICTIONS
    }


def _finding(prediction: Prediction, kind: str, found: Tensor | Finding | str, tiers: Tiers) -> Finding:
    if isinstance(found, Finding):
        return found
    margin = prediction.margin
    if isinstance(found, str):
        nan = float("nan")
        return Finding(kind, nan, nan, nan, 0, margin, 1.0, 1.0, Status.UNDETERMINED, found)
    enough = tiers.enough(prediction.tiers)
    found = torch.where(enough, found, torch.nan)
    over = interval(found.double().numpy())
    finding = _judged(
        Finding(
            kind,
            over.mean,
            over.low,
            over.high,
            over.n,
            margin,
            over.p_above(margin),
            over.p_below(margin),
            Status.UNDETERMINED,
        )
    )
    if 2 * int(enough.sum()) < len(enough):
        reason = f"a tier has fewer than {FEWEST_FEATURES} features in {int((~enough).sum())} of {len(enough)} seeds"
        return replace(finding, status=Status.NOT_SUPPORTED, reason=reason)
    return finding


def _from_jackknife(kind: str, mean: float, low: float, high: float, n: int, margin: float) -> Finding:
    if not np.isfinite([low, high]).all():
        reason = "too few seeds, or a tier is empty"
        return Finding(kind, mean, low, high, n, margin, 1.0, 1.0, Status.UNDETERMINED, reason)
    error = (high - mean) / student.ppf(1 - TAIL, n - 1)
    t = (mean - margin) / max(error, 1e-300)
    above, below = float(student.sf(t, n - 1)), float(student.cdf(t, n - 1))
    return _judged(Finding(kind, mean, low, high, n, margin, above, below, Status.UNDETERMINED))


def _judged(finding: Finding) -> Finding:
    """By p, which is the interval's rule put so that it can be corrected: it excludes the margin where p < .025."""
    supported, not_supported = finding.p_above < TAIL, finding.p_below < TAIL
    status = Status.SUPPORTED if supported else Status.NOT_SUPPORTED if not_supported else Status.UNDETERMINED
    return replace(finding, status=status)


def corrected(regimes: Sequence[dict[str, dict[str, Finding]]]) -> list[dict[str, dict[str, Finding]]]:
    """The findings of exploratory regimes at one setting, p-values Holm-corrected over the regimes, judged anew."""
    out: list[dict[str, dict[str, Finding]]] = [{key: dict(kinds) for key, kinds in of.items()} for of in regimes]
    for key, kinds in regimes[0].items() if regimes else ():
        for kind in kinds:
            each = [of[key][kind] for of in regimes]
            above, below = holm([f.p_above for f in each]), holm([f.p_below for f in each])
            for place, (finding, up, down) in enumerate(zip(each, above, below, strict=True)):
                adjusted = replace(finding, p_above=up, p_below=down)
                out[place][key][kind] = adjusted if finding.reason else _judged(adjusted)
    return out


@dataclass(frozen=True)
class Verdict:
    """What the data say of one regime."""

    regime: str
    primary: bool
    seeds: int
    overall: Status
    predictions: Mapping[str, Status]
    default: Setting
    findings: Mapping[Setting, dict[str, dict[str, Finding]]]
    tiers: Mapping[Setting, tuple[float, float]]
    """mean number of features in tier one and in tier two"""
    notes: tuple[str, ...] = ()

    def at(self, setting: Setting) -> Mapping[str, Status]:
        """The status of every prediction at one setting."""
        return {p.key: all_of([self.findings[setting][p.key][kind].status for kind in p.decisive]) for p in PREDICTIONS}


def judge(primary: Sequence[Evidence], exploratory: Sequence[Sequence[Evidence]] = ()) -> list[Verdict]:
    """The verdict of every regime, each given as its evidence at one or more eps; the primary one first.

    Exploratory regimes are corrected for how many there are, the primary one, named before the data was seen, is not.
    """
    regimes = [primary, *exploratory] if primary else list(exploratory)
    by_regime: list[dict[Setting, dict[str, dict[str, Finding]]]] = [{} for _ in regimes]
    for place, evidences in enumerate(regimes):
        for evidence in evidences:
            for setting in settings(evidence.eps):
                by_regime[place][setting] = findings(evidence, setting)
    first = 1 if primary else 0
    for setting in dict.fromkeys(s for of in by_regime[first:] for s in of):
        holding = [of for of in by_regime[first:] if setting in of]
        for of, adjusted in zip(holding, corrected([of[setting] for of in holding]), strict=True):
            of[setting] = adjusted
    return [
        _verdict(evidences, of, bool(primary) and place == 0)
        for place, (evidences, of) in enumerate(zip(regimes, by_regime, strict=True))
    ]


def settings(eps: str) -> list[Setting]:
    """Every way of doing the analysis at one eps."""
    return [Setting(eps, recovered, percentile) for recovered in RECOVERED for percentile in PERCENTILES]


def _verdict(
    evidences: Sequence[Evidence], of: Mapping[Setting, dict[str, dict[str, Finding]]], primary: bool
) -> Verdict:
    first = next((e for e in evidences if e.eps == EPS[0]), evidences[0])
    verdict = Verdict(
        regime=first.regime,
        primary=primary,
        seeds=first.seeds,
        overall=Status.UNDETERMINED,
        predictions={},
        default=Setting(first.eps),
        findings=of,
        tiers={s: _sizes(e, s) for e in evidences for s in of if s.eps == e.eps},
    )
    statuses = [verdict.at(setting) for setting in of]
    overall = unanimous([all_of([status[key] for key in OVERALL]) for status in statuses])
    missing = [eps for eps in EPS if eps not in {e.eps for e in evidences}]
    notes: tuple[str, ...] = ()
    if missing:
        notes = (f"not run at LayerNorm eps {', '.join(missing)}, so no claim of two tiers can stand",)
        overall = Status.UNDETERMINED if overall is Status.SUPPORTED else overall
    predictions = {p.key: unanimous([status[p.key] for status in statuses]) for p in PREDICTIONS}
    return replace(verdict, overall=overall, predictions=predictions, notes=notes)


def _sizes(evidence: Evidence, setting: Setting) -> tuple[float, float]:
    tiers = Tiers.of(evidence, setting)
    return float(tiers.one.sum(1).double().mean()), float(tiers.two.sum(1).double().mean())
