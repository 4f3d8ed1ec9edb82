"""Answers: what the findings of a regime come to, and which of them decided.

At one setting of the analysis the answer is the first line that applies:

    not testable     SoLU + LN is not engaged (its activation could be left out), or has learned nothing
    no first tier    fewer than three features in tier neuron
    no second tier   fewer than three features in tier hidden
    two tiers        P2, P3 and P4 are supported
    a continuum      any of them is not supported
    undetermined     else; or where the data do not say whether an earlier line applies

*Engaged* is the affine substitution of `toymodels.metrics.manipulation` above `ENGAGED`, by its interval over seeds.
*Fewer than three* is a binomial test over seeds: "most models have three or more" is refuted. A model has *learned*
where three features or more are in either tier.

Over all settings:

* The default cuts, at every eps alike, give the answer; where eps changes it, it is undetermined.
* Unless they say already that nothing is testable or a tier is missing: a tier does not depend on where a continuum is
  cut, so one that is refuted at some cut of alignment, at every eps alike, is none, whatever is said at others.
* *Two tiers* must be the answer at every setting and at each of three eps; *a continuum* stands only if no setting says
  two tiers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from toymodels.hypotheses.numbers import Statistics
from toymodels.hypotheses.statistics.findings import Finding, from_most, from_seeds
from toymodels.hypotheses.statistics.intervals import Status, all_of
from toymodels.hypotheses.tiers import CUTS, EPS_LABELS, FEWEST_FEATURES, AnalysisSetting
from toymodels.metrics.manipulation import ENGAGED
from toymodels.metrics.tiers import Tier

DECIDING = ("P2", "P3", "P4")
"""The predictions that together say whether two groups of features are two tiers."""
LINES = "lines"
"""The place in findings of those that say whether a line applies: `ENGAGEMENT`, `LEARNED`, `FIRST` and `SECOND`."""
ENGAGEMENT, LEARNED, FIRST, SECOND = "engaged", "learned", "first tier", "second tier"

Findings = dict[str, dict[str, Finding]]
"""What every statistic says at one setting, by the key of its prediction or question, or `LINES`, and by its kind."""


class Answer(Enum):
    """What the data say of one regime."""

    NOT_TESTABLE = "not testable"
    NO_FIRST_TIER = "no first tier"
    NO_SECOND_TIER = "no second tier"
    TWO_TIERS = "two tiers"
    CONTINUUM = "a continuum"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True)
class Decided:
    """An answer, and in words what decided it."""

    answer: Answer
    by: str


def lines(statistics: Statistics, setting: AnalysisSetting) -> dict[str, Finding]:
    """The findings that say whether a line applies before the predictions are looked at."""
    own = statistics.at[setting].own
    sizes = own.sizes
    return {
        ENGAGEMENT: from_seeds(ENGAGEMENT, statistics.engagement, ENGAGED),
        LEARNED: from_most(LEARNED, (own.neuron | own.hidden).sum(1) >= FEWEST_FEATURES),
        FIRST: from_most(FIRST, sizes[Tier.NEURON] >= FEWEST_FEATURES),
        SECOND: from_most(SECOND, sizes[Tier.HIDDEN] >= FEWEST_FEATURES),
    }


def at_setting(findings: Findings, statuses: Mapping[str, Status]) -> Decided:
    """The answer at one setting; ``statuses`` are those of the predictions there."""
    of = findings[LINES]
    said = {
        ENGAGEMENT: (
            Answer.NOT_TESTABLE,
            "SoLU + LN is not engaged: an affine map does as well",
            "whether it is engaged",
        ),
        LEARNED: (Answer.NOT_TESTABLE, "SoLU + LN has learned too little", "whether it has learned enough"),
        FIRST: (Answer.NO_FIRST_TIER, "too few features sit in a neuron", "whether there is a first tier"),
        SECOND: (Answer.NO_SECOND_TIER, "too few recovered features sit in none", "whether there is a second tier"),
    }
    for line, (answer, refuted, open_) in said.items():
        if of[line].status is Status.NOT_SUPPORTED:
            return Decided(answer, f"{refuted} ({_number(of[line])})")
        if of[line].status is Status.UNDETERMINED:
            return Decided(Answer.UNDETERMINED, f"{open_} is open ({_number(of[line])})")
    status = all_of([statuses[key] for key in DECIDING])
    if status is Status.SUPPORTED:
        return Decided(Answer.TWO_TIERS, f"{', '.join(DECIDING)} are supported")
    if status is Status.NOT_SUPPORTED:
        refuted = [key for key in DECIDING if statuses[key] is Status.NOT_SUPPORTED]
        return Decided(Answer.CONTINUUM, f"not supported: {', '.join(refuted)}")
    open_keys = [key for key in DECIDING if statuses[key] is Status.UNDETERMINED]
    return Decided(Answer.UNDETERMINED, f"open: {', '.join(open_keys)}")


def _number(finding: Finding) -> str:
    if finding.kind == ENGAGEMENT:
        return f"affine substitution {finding.mean:.3f}, {finding.low:.3f} to {finding.high:.3f}"
    return f"{FEWEST_FEATURES} or more in {round(finding.mean * finding.n)} of {finding.n} seeds"


def over_all(at: Mapping[AnalysisSetting, Decided]) -> Decided:
    """The answer of a regime from those at every setting."""
    default = {setting.eps: decided for setting, decided in at.items() if setting.is_default}
    first, alike = next(iter(default.values())), len({decided.answer for decided in default.values()}) == 1
    if alike and first.answer in (Answer.NOT_TESTABLE, Answer.NO_FIRST_TIER, Answer.NO_SECOND_TIER):
        return first
    for missing in (Answer.NO_FIRST_TIER, Answer.NO_SECOND_TIER):
        for cut in CUTS:
            of_cut = [at[setting] for setting in at if setting == AnalysisSetting(setting.eps, aligned=cut)]
            if all(decided.answer is missing for decided in of_cut):
                return Decided(missing, f"with features aligned above {cut:g}: {of_cut[0].by}")
    if not alike:
        each = ", ".join(f"{decided.answer.value} at {eps}" for eps, decided in default.items())
        return Decided(Answer.UNDETERMINED, f"it changes with LayerNorm's eps: {each}")
    if first.answer is Answer.UNDETERMINED:
        return first
    others = [setting for setting, decided in at.items() if decided.answer is not first.answer]
    if first.answer is Answer.TWO_TIERS:
        unrun = [eps for eps in EPS_LABELS if eps not in default]
        if unrun:
            return Decided(Answer.UNDETERMINED, f"two tiers, but no models at LayerNorm eps {', '.join(unrun)}")
        if others:
            return Decided(Answer.UNDETERMINED, f"two tiers by default, but {_told(others[0], at)}")
    twofold = [setting for setting in others if at[setting].answer is Answer.TWO_TIERS]
    if twofold:
        return Decided(Answer.UNDETERMINED, f"{first.answer.value} by default, but {_told(twofold[0], at)}")
    return first


def _told(setting: AnalysisSetting, at: Mapping[AnalysisSetting, Decided]) -> str:
    default = AnalysisSetting(setting.eps)
    moved = {
        f"recovered above {setting.recovered:g}": setting.recovered != default.recovered,
        f"aligned above {setting.aligned:g}": setting.aligned != default.aligned,
        f"percentile {setting.percentile:g}": setting.percentile != default.percentile,
    }
    where = ", ".join([f"eps {setting.eps}", *(words for words, differs in moved.items() if differs)])
    return f"{at[setting].answer.value} at {where} ({at[setting].by})"


def adds(answer: Answer, beyond: Sequence[Status]) -> Status:
    """Whether SoLU adds the two tiers: what they have of P2 to P4 beyond each LN-only control is supported at every
    setting. Not, where there are none to add; open, where that is open."""
    if answer in (Answer.UNDETERMINED, Answer.NOT_TESTABLE):
        return Status.UNDETERMINED
    if answer is not Answer.TWO_TIERS:
        return Status.NOT_SUPPORTED
    return all_of(beyond)
