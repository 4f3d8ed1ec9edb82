"""The battery: does SoLU + LN have two tiers of features? By prediction and over all, each with the rule that says so.

    P1 bimodal    P2 rescaled    P3 gated    P4 needs LayerNorm              together: two tiers
    P6 common or important       P7 weak activity       P9 harder to find    beside them

A prediction is *supported* if the interval of its statistic over seeds lies above its margin, *not supported* if below,
else *undetermined*. Over all: supported if P1 to P4 are, not supported ("no") if any of them is not, else undetermined.
All of it is repeated over thresholds of what counts as recovered, percentiles of what counts as aligned, and
LayerNorm's eps: what does not stay the same under all of these is undetermined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.evidence import OF_TIERS, Evidence
from toymodels.hypotheses.prediction import AtSetting, Statistics
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.hypotheses.statistics.findings import Finding, corrected
from toymodels.hypotheses.statistics.intervals import FEWEST_SEEDS, Status, all_of, unanimous
from toymodels.hypotheses.tiers import EPS_LABELS, FEWEST_FEATURES, AnalysisSetting, Tiers, settings
from toymodels.surroundings import undisturbed

OVERALL = ("P1", "P2", "P3", "P4")
"""The predictions that together say whether there are two tiers."""
FEWEST_EXAMPLES = 200
"""The examples of the first half of the samples in which a feature is active: with fewer it counts, and is marked."""

SAID = {Status.SUPPORTED: "two tiers", Status.NOT_SUPPORTED: "no", Status.UNDETERMINED: "undetermined"}

Findings = dict[str, dict[str, Finding]]
"""What every statistic says at one setting of the analysis, by the key of its prediction and by its kind."""


@dataclass(frozen=True)
class Verdict:
    """What the data say of one regime: over all, by prediction, and at every setting of the analysis."""

    regime: str
    primary: bool
    seeds: int
    overall: Status
    predictions: Mapping[str, Status]
    default: AnalysisSetting
    findings: Mapping[AnalysisSetting, Findings]
    tiers: Mapping[AnalysisSetting, tuple[float, float]]
    """the mean number of features in the neuron tier and in the hidden tier, at each setting"""
    marks: Mapping[AnalysisSetting, Mapping[str, Tensor]]
    """what a reader should know of each seed, [seed], at each setting"""
    notes: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The answer: ``two tiers``, ``no`` or ``undetermined``."""
        return SAID[self.overall]

    def at(self, setting: AnalysisSetting) -> Mapping[str, Status]:
        """The status of every prediction at one setting."""
        return at_setting(self.findings[setting])


@undisturbed
def statistics(evidence: Evidence) -> Statistics:
    """The tiers, and the numbers of every prediction, at every setting of the analysis at this eps."""
    at = {}
    for setting in settings(evidence.eps):
        tiers = Tiers.of(evidence, setting)
        numbers = {prediction.key: prediction.numbers(evidence, tiers) for prediction in PREDICTIONS}
        at[setting] = AtSetting(tiers.neuron, tiers.hidden, numbers, _marks(evidence, tiers))
    return Statistics(evidence.regime, evidence.eps, evidence.covariates, at)


def _marks(evidence: Evidence, tiers: Tiers) -> dict[str, Tensor]:
    """The features of SoLU + LN in a tier, those of them with few active examples, and what predictions mark."""
    in_a_tier = tiers.neuron | tiers.hidden
    few = evidence.arms[MAIN][OF_TIERS]["active"] < FEWEST_EXAMPLES
    marks = {"recovered": in_a_tier.sum(1), "undersampled": (in_a_tier & few).sum(1)}
    for prediction in PREDICTIONS:
        marks |= prediction.marks(evidence, tiers)
    return marks


@undisturbed
def findings(statistics: Statistics, setting: AnalysisSetting) -> Findings:
    """What every statistic of every prediction says at one setting of the analysis."""
    return {prediction.key: prediction.findings(statistics, setting) for prediction in PREDICTIONS}


@undisturbed
def judge(primary: Sequence[Statistics], exploratory: Sequence[Sequence[Statistics]] = ()) -> list[Verdict]:
    """The verdict of every regime, each given as its statistics at one or more eps; the primary one first.

    Exploratory regimes are corrected for how many there are, the primary one, named before the data was seen, is not.
    """
    regimes = [primary, *exploratory] if primary else list(exploratory)
    by_regime: list[dict[AnalysisSetting, Findings]] = [
        {setting: findings(at_eps, setting) for at_eps in regime for setting in at_eps.at} for regime in regimes
    ]
    first = 1 if primary else 0
    for setting in dict.fromkeys(s for of in by_regime[first:] for s in of):
        holding = [of for of in by_regime[first:] if setting in of]
        for of, adjusted in zip(holding, corrected([of[setting] for of in holding]), strict=True):
            of[setting] = adjusted
    return [
        _verdict(regime, of, bool(primary) and place == 0)
        for place, (regime, of) in enumerate(zip(regimes, by_regime, strict=True))
    ]


def _verdict(regime: Sequence[Statistics], of: Mapping[AnalysisSetting, Findings], primary: bool) -> Verdict:
    first = next((at_eps for at_eps in regime if at_eps.eps == EPS_LABELS[0]), regime[0])
    statuses = [at_setting(findings) for findings in of.values()]
    predictions = {p.key: unanimous([status[p.key] for status in statuses]) for p in PREDICTIONS}
    overall = unanimous([all_of([status[key] for key in OVERALL]) for status in statuses])
    missing = [eps for eps in EPS_LABELS if eps not in {at_eps.eps for at_eps in regime}]
    notes: tuple[str, ...] = ()
    if missing:
        notes = (f"no models at LayerNorm eps {', '.join(missing)}: nothing can be called supported",)
        kept = {status: status for status in Status} | {Status.SUPPORTED: Status.UNDETERMINED}
        overall, predictions = kept[overall], {key: kept[status] for key, status in predictions.items()}
    sizes = {
        setting: (float(at.neuron.sum(1).double().mean()), float(at.hidden.sum(1).double().mean()))
        for at_eps in regime
        for setting, at in at_eps.at.items()
    }
    default = AnalysisSetting(first.eps)
    marks = {setting: at.marks for at_eps in regime for setting, at in at_eps.at.items()}
    notes = (*notes, *_notes(marks[default], first.seeds))
    return Verdict(first.regime, primary, first.seeds, overall, predictions, default, of, sizes, marks, notes)


def _notes(marks: Mapping[str, Tensor], seeds: int) -> Iterator[str]:
    """Sentences on what is not as it should be in the models, at the default setting."""
    if seeds < FEWEST_SEEDS:
        yield f"{seeds} seeds are too few for an interval, so nothing is decided: {FEWEST_SEEDS} at least"
    few = int((marks["recovered"] < FEWEST_FEATURES).sum())
    if 2 * few > seeds:
        yield (
            f"SoLU + LN recovers fewer than {FEWEST_FEATURES} features in {few} of {seeds} seeds: it has learned too "
            "little for its tiers to mean anything"
        )
    if rare := float(marks["undersampled"].double().mean()):
        yield f"{rare:.1f} features a model in a tier are active in fewer than {FEWEST_EXAMPLES} examples of a half"
    for prediction in PREDICTIONS:
        yield from prediction.notes(marks)


def at_setting(findings: Findings) -> dict[str, Status]:
    """The status of every prediction: supported if its decisive statistics all are, and so on."""
    return {p.key: all_of([findings[p.key][kind].status for kind in p.decisive]) for p in PREDICTIONS}
