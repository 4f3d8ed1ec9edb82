"""The rule that makes an answer of findings, on findings and answers made up for the purpose."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from toymodels.hypotheses import answers
from toymodels.hypotheses.answers import DECIDING, ENGAGEMENT, FIRST, LEARNED, LINES, SECOND, Answer, Decided
from toymodels.hypotheses.statistics.findings import Finding, from_most
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.hypotheses.tiers import CUTS, EPS_LABELS, AnalysisSetting, settings

YES, NO, OPEN = Status.SUPPORTED, Status.NOT_SUPPORTED, Status.UNDETERMINED
ORDER = (ENGAGEMENT, LEARNED, FIRST, SECOND)
OF_LINE = {
    ENGAGEMENT: Answer.NOT_TESTABLE,
    LEARNED: Answer.NOT_TESTABLE,
    FIRST: Answer.NO_FIRST_TIER,
    SECOND: Answer.NO_SECOND_TIER,
}
TWO, CONTINUUM, OPENED = Answer.TWO_TIERS, Answer.CONTINUUM, Answer.UNDETERMINED


def finding(kind: str, status: Status) -> Finding:
    return Finding(kind, 0.5, 0.25, 0.75, 16, 0.5, 0.5, 0.5, status)


def answer(lines: dict[str, Status], predictions: dict[str, Status]) -> Decided:
    found = {LINES: {line: finding(line, lines.get(line, YES)) for line in ORDER}}
    return answers.at_setting(found, {key: predictions.get(key, YES) for key in DECIDING})


@pytest.mark.parametrize("statuses", list(product((YES, NO, OPEN), repeat=4)))
@pytest.mark.parametrize("predictions", [(YES, YES, YES), (YES, NO, OPEN), (YES, OPEN, YES), (NO, NO, NO)])
def test_the_first_line_that_applies_answers(statuses, predictions):
    decided = answer(dict(zip(ORDER, statuses, strict=True)), dict(zip(DECIDING, predictions, strict=True)))
    for line, status in zip(ORDER, statuses, strict=True):
        if status is not YES:
            assert decided.answer is (OF_LINE[line] if status is NO else OPENED)
            return
    expected = TWO if set(predictions) == {YES} else CONTINUUM if NO in predictions else OPENED
    assert decided.answer is expected
    decisive = [key for key, status in zip(DECIDING, predictions, strict=True) if status is not YES]
    if expected is OPENED:
        assert all(key in decided.by for key in decisive)


def test_what_decided_is_said_with_its_number():
    assert "affine substitution 0.500, 0.250 to 0.750" in answer({ENGAGEMENT: NO}, {}).by
    assert "3 or more in 8 of 16 seeds" in answer({SECOND: NO}, {}).by
    assert answer({}, {"P3": NO, "P4": OPEN}).by == "not supported: P3"
    assert answer({}, {"P4": OPEN}).by == "open: P4"


def everywhere(default: Answer, changed: dict[AnalysisSetting, Answer] | None = None, eps=EPS_LABELS) -> Decided:
    """The answer over all where every setting says ``default``, but some."""
    at = {setting: Decided(default, "so") for label in eps for setting in settings(label)}
    return answers.over_all(at | {setting: Decided(of, "not so") for setting, of in (changed or {}).items()})


def at_every_eps(of: Answer, **moved: float) -> dict[AnalysisSetting, Answer]:
    return {replace(AnalysisSetting(eps), **moved): of for eps in EPS_LABELS}


def test_settings_move_one_line_at_a_time():
    of = settings("1e-05")
    assert of[0].is_default
    assert len(of) == len(set(of)) == 1 + 3 + 3 + 2
    default = AnalysisSetting("1e-05")
    for setting in of[1:]:
        assert sum(getattr(setting, name) != getattr(default, name) for name in vars(default)) == 1


@pytest.mark.parametrize("of", Answer)
def test_what_all_settings_say_is_the_answer(of):
    assert everywhere(of).answer is of


@pytest.mark.parametrize("of", [each for each in Answer if each is not TWO])
def test_a_default_that_changes_with_eps_is_undetermined(of):
    decided = everywhere(TWO, {AnalysisSetting("matched"): of})
    assert decided.answer is OPENED
    assert "changes with LayerNorm's eps" in decided.by


def test_two_tiers_need_every_setting_and_every_eps():
    for setting in [s for eps in EPS_LABELS for s in settings(eps) if not s.is_default]:
        decided = everywhere(TWO, {setting: CONTINUUM})
        assert decided.answer is OPENED
        assert setting.eps in decided.by
    assert everywhere(TWO, eps=EPS_LABELS[:2]).answer is OPENED
    assert "matched" in everywhere(TWO, eps=EPS_LABELS[:2]).by


@pytest.mark.parametrize("missing", [Answer.NO_FIRST_TIER, Answer.NO_SECOND_TIER])
@pytest.mark.parametrize("default", [TWO, CONTINUUM, OPENED])
@pytest.mark.parametrize("cut", [cut for cut in CUTS if cut != 0.5])
def test_a_tier_that_some_cut_of_alignment_refutes_is_none(missing, default, cut):
    decided = everywhere(default, at_every_eps(missing, aligned=cut))
    assert decided.answer is missing
    assert f"aligned above {cut:g}" in decided.by
    # at one eps only it changes with eps, and refutes nothing
    alone = everywhere(default, {AnalysisSetting("matched", aligned=cut): missing})
    assert alone.answer is (OPENED if default is TWO else default)


def test_a_tier_that_is_missing_by_default_is_what_is_said():
    """And not that another is missing as well where features are aligned above .6 only."""
    changed = at_every_eps(Answer.NO_FIRST_TIER, aligned=0.6)
    assert everywhere(Answer.NO_SECOND_TIER, changed).answer is Answer.NO_SECOND_TIER
    assert everywhere(OPENED, changed).answer is Answer.NO_FIRST_TIER


@pytest.mark.parametrize("moved", [{"recovered": 0.3}, {"percentile": 95.0}])
def test_other_lines_refute_no_tier(moved):
    assert everywhere(CONTINUUM, at_every_eps(Answer.NO_SECOND_TIER, **moved)).answer is CONTINUUM


def test_a_continuum_stands_unless_some_setting_says_two_tiers():
    assert everywhere(CONTINUUM, at_every_eps(OPENED, recovered=0.3)).answer is CONTINUUM
    assert everywhere(CONTINUUM, {AnalysisSetting("1e-12", recovered=0.3): TWO}).answer is OPENED


def test_negative_answers_stand_without_some_eps():
    for of in (CONTINUUM, Answer.NO_SECOND_TIER, Answer.NO_FIRST_TIER, Answer.NOT_TESTABLE):
        assert everywhere(of, eps=EPS_LABELS[:1]).answer is of


@pytest.mark.parametrize("of", Answer)
@pytest.mark.parametrize("beyond", list(product((YES, NO, OPEN), repeat=3)))
def test_solu_adds_what_there_is_beyond_every_control(of, beyond):
    said = answers.adds(of, beyond)
    if of in (OPENED, Answer.NOT_TESTABLE):
        assert said is OPEN
    elif of is not TWO:
        assert said is NO
    else:
        assert said is (YES if set(beyond) == {YES} else NO if NO in beyond else OPEN)


@pytest.mark.parametrize("n, k, status", [(16, 13, YES), (16, 12, OPEN), (16, 4, OPEN), (16, 3, NO), (8, 8, YES)])
def test_most_models_is_a_binomial_test(n, k, status):
    found = from_most("tier", torch.arange(n) < k)
    assert found.status is status
    assert (found.mean, found.n, found.margin) == (k / n, n, 0.5)
    assert found.low < found.mean <= found.high


@pytest.mark.parametrize("n", range(6))
def test_of_five_seeds_nothing_follows(n):
    for there in (torch.ones(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)):
        assert from_most("tier", there).status is OPEN
