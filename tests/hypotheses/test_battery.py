"""The battery on numbers made up for the purpose: which findings it makes of them, and what follows. Nothing is
measured here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from toymodels.hypotheses import battery
from toymodels.hypotheses.answers import DECIDING, ENGAGEMENT, LINES, Answer
from toymodels.hypotheses.arms import LN_ONLY, MAIN, PLAIN
from toymodels.hypotheses.battery import beyond
from toymodels.hypotheses.numbers import AtSetting, Statistics
from toymodels.hypotheses.predictions import PREDICTIONS, p1_bimodal, p3_gated
from toymodels.hypotheses.questions import EACH
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.hypotheses.tiers import EPS_LABELS, AnalysisSetting, Tiers, settings
from toymodels.metrics.tiers import Tier

YES, NO, OPEN = Status.SUPPORTED, Status.NOT_SUPPORTED, Status.UNDETERMINED
SEEDS, N, LARGE = 16, 30, 8
"""Of `N` features the first `LARGE` are in the neuron tier, the next 12 hidden."""
CONTROLS = LN_ONLY
COMPARED = {p.key: p for p in PREDICTIONS}
AT = AnalysisSetting("1e-05")


def in_tiers(neuron: int, hidden: int) -> Tiers:
    place = torch.arange(N).expand(SEEDS, N)
    return Tiers(place < neuron, (place >= neuron) & (place < neuron + hidden))


def numbers(effects: dict[str, float], rng: np.random.Generator) -> dict[str, dict[str, torch.Tensor | str]]:
    """By prediction and kind [seed, arm]: SoLU + LN has so many margins, its controls have none."""
    found: dict[str, dict[str, torch.Tensor | str]] = {}
    for p in PREDICTIONS:
        found[p.key] = {}
        for kind in p.decisive if p.key not in ("P1", "P6") else ():
            arms = 1 if p.key == "P9" else 1 + len(CONTROLS)
            noise = torch.from_numpy(rng.normal(scale=0.05, size=(SEEDS, arms)))
            noise -= noise.mean(0)
            noise[:, 0] += effects.get(p.key, 2.0)
            found[p.key][kind] = noise * p.margins.get(kind, p.margin)
    return found


def statistics(
    eps: str = "1e-05",
    effects: dict[str, float] | None = None,
    tiers: Tiers | None = None,
    engagement: float = 0.3,
    others: Tiers | None = None,
    name: str = "made up",
) -> Statistics:
    rng = np.random.default_rng(3)
    own, other = tiers or in_tiers(LARGE, 12), others or in_tiers(2, 2)
    made = AtSetting(
        tiers={MAIN: own} | dict.fromkeys((*CONTROLS, PLAIN), other),
        numbers=numbers(effects or {}, rng),
        marks={
            "undersampled": torch.zeros(SEEDS),
            p3_gated.LEFT_OUT: torch.zeros(SEEDS),
            p1_bimodal.ALIGNMENT: torch.from_numpy(rng.random((SEEDS, N))),
            p1_bimodal.DIP_P: torch.ones(SEEDS),
        },
    )
    spread = torch.from_numpy(engagement + 0.01 * rng.normal(size=SEEDS))
    covariates = rng.normal(size=(SEEDS, N, 2))
    losses = dict.fromkeys(made.tiers, torch.full((SEEDS,), 0.4))
    return Statistics(name, eps, covariates, spread, losses, dict.fromkeys(settings(eps), made))


def judged(**made) -> battery.Verdict:
    return battery.judge([statistics(eps, **made) for eps in EPS_LABELS])[0]


def test_two_tiers_and_that_solu_adds_them():
    verdict = judged()
    assert (verdict.answer, verdict.adds) == (Answer.TWO_TIERS, YES)
    assert [verdict.predictions[key] for key in DECIDING] == [YES] * 3
    assert [verdict.beyond[key] for key in DECIDING] == [YES] * 3
    assert verdict.tiers[AT][MAIN] == {Tier.NEURON: LARGE, Tier.HIDDEN: 12}
    assert len(verdict.at) == len(verdict.findings) == 3 * len(settings(""))


@pytest.mark.parametrize("key", DECIDING)
@pytest.mark.parametrize("effect, answer", [(0.0, Answer.CONTINUUM), (1.0, Answer.UNDETERMINED)])
def test_each_of_the_three_can_take_it_back(key, effect, answer):
    verdict = judged(effects={key: effect})
    assert verdict.answer is answer
    assert key in verdict.decided_by
    assert verdict.adds is (NO if answer is Answer.CONTINUUM else OPEN)


@pytest.mark.parametrize("key", ["P1", "P6", "P7", "P9"])
def test_the_others_stand_beside(key):
    assert judged(effects={key: -3.0}).answer is Answer.TWO_TIERS


@pytest.mark.parametrize(
    "made, answer",
    [
        ({"engagement": 0.0}, Answer.NOT_TESTABLE),
        ({"engagement": 0.05}, Answer.UNDETERMINED),
        ({"tiers": in_tiers(1, 1)}, Answer.NOT_TESTABLE),
        ({"tiers": in_tiers(2, 12)}, Answer.NO_FIRST_TIER),
        ({"tiers": in_tiers(8, 2)}, Answer.NO_SECOND_TIER),
    ],
)
def test_lines_before_the_predictions(made, answer):
    verdict = judged(**made)
    assert verdict.answer is answer
    assert verdict.adds is (OPEN if answer in (Answer.NOT_TESTABLE, Answer.UNDETERMINED) else NO)


def test_two_tiers_that_a_control_has_as_well_are_not_added():
    made = [statistics(eps) for eps in EPS_LABELS]
    for each in made:
        for at in each.at.values():
            for kinds in (at.numbers[key] for key in DECIDING):
                for values in kinds.values():
                    assert isinstance(values, torch.Tensor)
                    values[:, 1] = values[:, 0]
    verdict = battery.judge(made)[0]
    assert verdict.answer is Answer.TWO_TIERS
    assert verdict.adds is NO


def test_what_is_beyond_some_of_the_controls_only_is_not_said_to_be_added():
    made = []
    for each in (statistics(eps) for eps in EPS_LABELS):
        losses = {arm: of for arm, of in each.losses.items() if arm != CONTROLS[2]}
        made.append(dataclasses.replace(each, losses=losses))
    verdict = battery.judge(made)[0]
    assert (verdict.answer, verdict.adds) == (Answer.TWO_TIERS, OPEN)
    assert f"no {CONTROLS[2]} to compare with" in verdict.notes[0]


def test_without_controls_there_is_an_answer_and_no_more():
    made = [statistics(eps) for eps in EPS_LABELS]
    alone = []
    for each in made:
        at = each.at[dataclasses.replace(AT, eps=each.eps)]
        own = {key: {kind: v[:, :1] for kind, v in kinds.items()} for key, kinds in at.numbers.items()}  # pyright: ignore
        only = dataclasses.replace(at, tiers={MAIN: at.own}, numbers=own)
        alone.append(dataclasses.replace(each, at=dict.fromkeys(each.at, only)))
    verdict = battery.judge(alone)[0]
    assert (verdict.answer, verdict.adds) == (Answer.TWO_TIERS, OPEN)
    found = verdict.findings[AT]
    assert found[beyond("P3")]["gating"].reason == "no LN-only control"
    assert found["Q1"] == found["Q2"] == {}


def test_questions_compare_counts_arm_by_arm():
    found = judged(others=in_tiers(4, 12)).findings[AT]
    assert {arm: f.mean for arm, f in found["Q1"].items()} == dict.fromkeys((*CONTROLS, PLAIN, EACH), LARGE - 4)
    assert {f.status for f in found["Q1"].values()} == {YES}  # 4 more, margin 3
    assert {f.status for f in found["Q2"].values()} == {NO}  # as many


def test_a_question_at_its_margin_is_open():
    rng = np.random.default_rng(0)
    place = torch.arange(N).expand(SEEDS, N)
    noisy = Tiers(place < torch.from_numpy(rng.integers(LARGE - 4, LARGE - 1, (SEEDS, 1))), place < 0)
    assert judged(others=noisy).findings[AT]["Q1"][EACH].status is OPEN


def test_seeds_put_together_and_taken_apart_are_the_same():
    whole = statistics()
    parts = [whole.of_seeds(range(0, 5)), whole.of_seeds([5]), whole.of_seeds(range(6, SEEDS))]
    again = Statistics.together(parts)
    assert again.seeds == SEEDS
    for setting in whole.at:
        assert repr(battery.findings(again, setting)) == repr(battery.findings(whole, setting))


@pytest.mark.parametrize("seeds", [1, 3])
def test_few_seeds_are_judged_open_without_a_crash(seeds):
    verdict = battery.judge([statistics(eps).of_seeds(range(seeds)) for eps in EPS_LABELS])[0]
    assert (verdict.answer, verdict.seeds) == (Answer.UNDETERMINED, seeds)
    assert "too few for an interval" in verdict.notes[0]


def test_an_eps_not_run_takes_support_back():
    verdict = battery.judge([statistics("1e-05"), statistics("1e-12")])[0]
    assert verdict.answer is Answer.UNDETERMINED
    assert set(verdict.predictions.values()) <= {OPEN, NO}
    assert {verdict.predictions[key] for key in DECIDING} == {OPEN}
    assert "matched" in verdict.notes[0]


def test_exploratory_regimes_are_corrected_for_their_number_and_the_primary_is_not():
    weak: dict[str, float] = {str(key): 1.1 for key in DECIDING}
    primary = [statistics(eps, weak) for eps in EPS_LABELS]
    alone = battery.judge(primary)[0]
    among = battery.judge(primary, [primary] * 8)
    assert among[0].answer is alone.answer is Answer.TWO_TIERS
    assert [v.primary for v in among] == [True] + [False] * 8
    for verdict in among[1:]:
        own, corrected = alone.findings[AT]["P3"]["gating"], verdict.findings[AT]["P3"]["gating"]
        assert corrected.p_above == pytest.approx(min(1.0, 8 * own.p_above))
        assert verdict.findings[AT][LINES] == alone.findings[AT][LINES]  # which say what can be asked


def test_regimes_need_not_have_the_same_arms():
    fewer = []
    for each in (statistics(eps) for eps in EPS_LABELS):
        at = each.at[dataclasses.replace(AT, eps=each.eps)]
        only = dataclasses.replace(at, tiers={MAIN: at.own, PLAIN: at.tiers[PLAIN]})
        fewer.append(dataclasses.replace(each, at=dict.fromkeys(each.at, only)))
    verdicts = battery.judge([], [[statistics(eps) for eps in EPS_LABELS], fewer])
    assert [set(v.findings[AT]["Q1"]) for v in verdicts] == [{*CONTROLS, PLAIN, EACH}, {PLAIN, EACH}]


def test_engagement_is_of_its_interval():
    finding = judged().findings[AT][LINES][ENGAGEMENT]
    assert finding.low < finding.mean < finding.high
    assert (finding.margin, finding.n) == (0.05, SEEDS)
