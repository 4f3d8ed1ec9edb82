"""The battery: does SoLU + LN have two tiers of features, does SoLU add them, and what decided?

    lines    engaged? learned? a first tier? a second one?      `toymodels.hypotheses.answers` has the rule
    P2 suppressed, then rescaled    P3 gated    P4 needs LayerNorm          together: two tiers, or a continuum
    P1 two groups    P6 common or important    P7 weak activity    P9 harder to find       beside them
    Q1 more neurons    Q2 more hidden                           questions about counts, arm by arm

A statistic is *supported* if its interval over seeds lies above its margin, *not supported* if below, else
*undetermined*. Two claims are kept apart: that SoLU + LN *has* two tiers, by its own statistics; and that SoLU *adds*
them, by what it has beyond each LN-only control. Everything is repeated with other cuts between tiers and at every
LayerNorm eps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from toymodels.hypotheses import answers
from toymodels.hypotheses.answers import DECIDING, Answer, Decided, Findings
from toymodels.hypotheses.arms import LN_ONLY, MAIN
from toymodels.hypotheses.evidence import OF_ENGAGEMENT, OF_TIERS, Evidence
from toymodels.hypotheses.numbers import AtSetting, Statistics
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.hypotheses.questions import QUESTIONS
from toymodels.hypotheses.statistics.findings import FEWEST_FOR_MOST, Finding, corrected
from toymodels.hypotheses.statistics.intervals import FEWEST_SEEDS, Status, all_of, unanimous
from toymodels.hypotheses.tiers import EPS_LABELS, AnalysisSetting, Tiers, settings
from toymodels.metrics.tiers import Tier
from toymodels.surroundings import undisturbed

FEWEST_EXAMPLES = 200
"""Active examples of a feature in the first half of the samples: with fewer it counts, and is marked."""


@dataclass(frozen=True)
class Verdict:
    """What the data say of one regime: the answer, by prediction and question, and at every setting of the analysis."""

    regime: str
    primary: bool
    seeds: int
    answer: Answer
    decided_by: str
    """in words, what decided the answer"""
    adds: Status
    """whether SoLU adds the two tiers"""
    predictions: Mapping[str, Status]
    """by key: the status that all settings agree on, of SoLU + LN itself"""
    beyond: Mapping[str, Status]
    """the same beyond every LN-only control, of the predictions that have one"""
    questions: Mapping[str, Mapping[str, Status]]
    """by key and other arm: what all settings agree on"""
    default: AnalysisSetting
    at: Mapping[AnalysisSetting, Decided]
    """the answer at every setting"""
    findings: Mapping[AnalysisSetting, Findings]
    tiers: Mapping[AnalysisSetting, Mapping[str, Mapping[Tier, float]]]
    """the mean number of features in a tier, at each setting and of each arm"""
    losses: Mapping[str, float]
    """the mean loss fraction of every arm, at the default eps"""
    marks: Mapping[AnalysisSetting, Mapping[str, Tensor]]
    """what a reader should know of each seed, [seed], at each setting"""
    notes: tuple[str, ...] = ()


@undisturbed
def statistics(evidence: Evidence) -> Statistics:
    """The tiers, and the numbers of every prediction, at every setting of the analysis at this eps."""
    every = settings(evidence.eps)
    tiers = [{arm: Tiers.of(evidence, setting, arm) for arm in evidence.arms} for setting in every]
    own = [of[MAIN] for of in tiers]
    numbers = {prediction.key: prediction.numbers(evidence, own) for prediction in PREDICTIONS}
    at = {
        setting: AtSetting(tiers[k], {key: of[k] for key, of in numbers.items()}, _marks(evidence, own[k]))
        for k, setting in enumerate(every)
    }
    engagement = evidence.arms[MAIN][OF_ENGAGEMENT]["affine substitution"]
    losses = {arm: of[OF_TIERS]["loss fraction"] for arm, of in evidence.arms.items()}
    return Statistics(evidence.regime, evidence.eps, evidence.covariates, engagement, losses, at)


def _marks(evidence: Evidence, tiers: Tiers) -> dict[str, Tensor]:
    """The features of SoLU + LN in a tier with few active examples, those of tier hidden where no feature of tier
    neuron is active; and what predictions mark."""
    of = evidence.arms[MAIN][OF_TIERS]
    few = (tiers.neuron & (of["active"] < FEWEST_EXAMPLES)) | (tiers.hidden & (of["ungated"] < FEWEST_EXAMPLES))
    marks = {"undersampled": few.sum(1)}
    for prediction in PREDICTIONS:
        marks |= prediction.marks(evidence, tiers)
    return marks


@undisturbed
def findings(statistics: Statistics, setting: AnalysisSetting) -> Findings:
    """What every statistic says at one setting of the analysis: of the lines, of every prediction, of every prediction
    beyond the LN-only controls (under `beyond`), and of every question."""
    found: Findings = {answers.LINES: answers.lines(statistics, setting)}
    for prediction in PREDICTIONS:
        found[prediction.key] = prediction.findings(statistics, setting)
        further = prediction.beyond(statistics, setting)
        if further:
            found[beyond(prediction.key)] = further
    return found | {question.key: question.findings(statistics.at[setting]) for question in QUESTIONS}


def beyond(key: str) -> str:
    """Where in findings a prediction's stand of what SoLU + LN has beyond the LN-only controls."""
    return f"{key} beyond"


@undisturbed
def judge(primary: Sequence[Statistics], exploratory: Sequence[Sequence[Statistics]] = ()) -> list[Verdict]:
    """The verdict of every regime, each given as its statistics at one or more eps; the primary one first.

    Exploratory regimes are corrected for how many there are, the primary one, named before the data was seen, is not;
    nor are the lines that say which question can be asked of a regime: a binomial test of eight seeds, corrected for
    more than six regimes, could say nothing.
    """
    regimes = [primary, *exploratory] if primary else list(exploratory)
    by_regime: list[dict[AnalysisSetting, Findings]] = [
        {setting: findings(at_eps, setting) for at_eps in regime for setting in at_eps.at} for regime in regimes
    ]
    first = 1 if primary else 0
    for setting in dict.fromkeys(s for of in by_regime[first:] for s in of):
        holding = [of for of in by_regime[first:] if setting in of]
        for of, adjusted in zip(holding, corrected([of[setting] for of in holding]), strict=True):
            of[setting] = adjusted | {answers.LINES: of[setting][answers.LINES]}
    return [
        _verdict(regime, of, bool(primary) and place == 0)
        for place, (regime, of) in enumerate(zip(regimes, by_regime, strict=True))
    ]


def _verdict(regime: Sequence[Statistics], of: Mapping[AnalysisSetting, Findings], primary: bool) -> Verdict:
    first = next((at_eps for at_eps in regime if at_eps.eps == EPS_LABELS[0]), regime[0])
    at = {setting: answers.at_setting(findings, statuses(findings)) for setting, findings in of.items()}
    decided = answers.over_all(at)
    default, keys = AnalysisSetting(first.eps), [question.key for question in QUESTIONS]
    found = of[default]
    every = [statuses(findings) for findings in of.values()]
    further = [statuses(findings, beyond_controls=True) for findings in of.values()]
    agreed = {key: unanimous([status[key] for status in every]) for key in every[0]}
    agreed_beyond = {key: unanimous([status[key] for status in further]) for key in further[0]}
    asked = {key: {arm: unanimous([e[key][arm].status for e in of.values()]) for arm in found[key]} for key in keys}
    missing = [eps for eps in EPS_LABELS if eps not in {at_eps.eps for at_eps in regime}]
    lacking = [name for name in LN_ONLY if any(name not in at_eps.losses for at_eps in regime)]
    notes: tuple[str, ...] = ()
    if missing:
        notes = (f"no models at LayerNorm eps {', '.join(missing)}: nothing can be called supported",)
        agreed, agreed_beyond = _open_where_supported(agreed), _open_where_supported(agreed_beyond)
        asked = {key: _open_where_supported(of_arms) for key, of_arms in asked.items()}
    if lacking:
        notes = (*notes, f"no {', no '.join(lacking)} to compare with: that SoLU adds anything cannot be supported")
        agreed_beyond = _open_where_supported(agreed_beyond)
    by_setting = {setting: each for at_eps in regime for setting, each in at_eps.at.items()}
    return Verdict(
        regime=first.regime,
        primary=primary,
        seeds=first.seeds,
        answer=decided.answer,
        decided_by=decided.by,
        adds=answers.adds(decided.answer, [agreed_beyond.get(key, Status.UNDETERMINED) for key in DECIDING]),
        predictions=agreed,
        beyond=agreed_beyond,
        questions=asked,
        default=default,
        at=at,
        findings=of,
        tiers={
            setting: {
                arm: {t: float(n.double().mean()) for t, n in of_arm.sizes.items()} for arm, of_arm in e.tiers.items()
            }
            for setting, e in by_setting.items()
        },
        losses={arm: float(of.double().mean()) for arm, of in first.losses.items()},
        marks={setting: each.marks for setting, each in by_setting.items()},
        notes=(*notes, *_notes(by_setting[default].marks, first.seeds)),
    )


def _open_where_supported(statuses: Mapping[str, Status]) -> dict[str, Status]:
    return {key: Status.UNDETERMINED if s is Status.SUPPORTED else s for key, s in statuses.items()}


def _notes(marks: Mapping[str, Tensor], seeds: int) -> Iterator[str]:
    """Sentences on what is not as it should be in the models, at the default setting."""
    if seeds < FEWEST_SEEDS:
        yield f"{seeds} seeds are too few for an interval, so nothing is decided: {FEWEST_SEEDS} at least"
    elif seeds < FEWEST_FOR_MOST:
        yield f"{seeds} seeds are too few to say that most models have a tier: {FEWEST_FOR_MOST} at least"
    if rare := float(marks["undersampled"].double().mean()):
        yield (
            f"{rare:.1f} features a model are in a tier by fewer than {FEWEST_EXAMPLES} active examples; those of tier "
            "hidden count where no feature of tier neuron is active"
        )
    for prediction in PREDICTIONS:
        yield from prediction.notes(marks)


def statuses(findings: Findings, *, beyond_controls: bool = False) -> dict[str, Status]:
    """The status of every prediction that decides something: supported if its decisive statistics all are, and so on;
    or of every one that can be put beyond the controls, there."""
    return {
        p.key: all_of([_of(findings, p.key, beyond_controls)[kind].status for kind in p.decisive])
        for p in PREDICTIONS
        if p.decisive and (not beyond_controls or beyond(p.key) in findings)
    }


def _of(findings: Findings, key: str, beyond_controls: bool) -> Mapping[str, Finding]:
    return findings[beyond(key) if beyond_controls else key]
