"""Power: what a point of the table is, by a small plan; and labels that mean nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from toymodels.hypotheses.answers import Answer
from toymodels.hypotheses.arms import MAIN, Regime
from toymodels.hypotheses.battery import judge, statistics
from toymodels.hypotheses.evidence import Evidence
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.planted import plant, trained
from toymodels.hypotheses.power import (
    MOST_FALSE,
    MOST_PERMUTED,
    PowerPlan,
    PowerPoint,
    PowerTable,
    decide,
    permuted_labels,
)
from toymodels.hypotheses.power import power as points_of_power
from toymodels.hypotheses.tiers import EPS_LABELS, AnalysisSetting, Tiers
from toymodels.metrics.tiers import Tier

SEEDS = tuple(range(6000, 6006))
PLAN = PowerPlan(SEEDS, 6, 2, (8,), (0.0, 1.0), (8,), (8,), permutations=5, samples=16_384, steps=2000)


@pytest.fixture(scope="module")
def table() -> PowerTable:
    return PowerTable(PLAN, tuple(points_of_power(PLAN, processes=1)))


def test_a_point_each_k_strength_and_rotation(table):
    assert [(p.aligned, p.strength, p.turned) for p in table.points] == [
        (8, 0.0, False),
        (8, 1.0, False),
        (8, 1.0, True),
    ]
    for point in table.points:
        assert sum(point.answers.values()) == 2
        assert sum(point.share(answer) for answer in Answer) == pytest.approx(1)


def test_what_is_planted_is_found_and_what_is_not_is_not(table):
    trained_only, planted, turned = table.points
    assert set(planted.answers) <= {Answer.TWO_TIERS, Answer.UNDETERMINED}, planted  # six seeds are few
    assert "two tiers by default" in planted.decided_by or planted.share(Answer.TWO_TIERS) == 1, planted
    assert planted.features[Tier.NEURON] == pytest.approx(8, abs=0.3)
    assert trained_only.share(Answer.TWO_TIERS) == 0, trained_only
    assert turned.share(Answer.TWO_TIERS) == 0, turned
    assert set(trained_only.permuted) == set(planted.permuted) >= {"P2 rescaled", "P3 gating", "P4 optimal"}
    assert turned.permuted == {}


def test_processes_change_no_number():
    small = replace(PLAN, pool=SEEDS[:2], sizes=(5,), turned=(), permutations=2, samples=4096, steps=200)
    alone, beside = (list(points_of_power(small, processes=count)) for count in (1, 2))
    assert alone == beside


def test_it_decides_as_a_verdict_does():
    arms = {eps: trained(SEEDS, eps, 500) for eps in EPS_LABELS}
    for strength in (0.0, 1.0):
        of = [statistics(gather(Regime("", {MAIN: plant(a, 5, strength)}), eps, 8192)) for eps, a in arms.items()]
        (verdict,) = judge(of)
        said = decide(of)
        assert (said.answer, said.by) == (verdict.answer, verdict.decided_by)


def point(strength: float, answers: dict[Answer, int], permuted: Mapping[str, int] | None = None, *, turned=False):
    return PowerPoint(3, strength, turned, answers, {}, "", permuted or {})


@pytest.mark.parametrize(
    "points, right",
    [
        ([point(0.0, {Answer.TWO_TIERS: 10, Answer.CONTINUUM: 190})], True),
        ([point(0.0, {Answer.TWO_TIERS: 11, Answer.CONTINUUM: 189})], False),
        ([point(0.5, {Answer.TWO_TIERS: 100, Answer.CONTINUUM: 100})], True),
        ([point(1.0, {Answer.TWO_TIERS: 190, Answer.CONTINUUM: 10})], True),
        ([point(1.0, {Answer.TWO_TIERS: 189, Answer.CONTINUUM: 11})], False),
        ([point(1.0, {Answer.TWO_TIERS: 11, Answer.NO_FIRST_TIER: 189}, turned=True)], False),
        ([point(0.0, {Answer.CONTINUUM: 200}, {"P2 rescaled": 15})], True),
        ([point(0.0, {Answer.CONTINUUM: 200}, {"P2 rescaled": 16})], False),
        ([point(0.0, {Answer.TWO_TIERS: 19, Answer.CONTINUUM: 1}), point(0.0, {Answer.CONTINUUM: 380})], True),
    ],
)
def test_rates_are_over_all_draws_of_a_strength(points, right):
    assert (MOST_FALSE, MOST_PERMUTED) == (0.05, 0.075)
    assert PowerTable(PowerPlan(), tuple(points)).right is right


@pytest.fixture(scope="module")
def measured() -> Evidence:
    arm = plant(trained(SEEDS, "1e-05", 2000), 8, 1.0)
    return gather(Regime("", {MAIN: arm}), "1e-05", 8192)


def test_labels_without_meaning_are_rarely_supported(measured):
    found = permuted_labels(measured, 200)
    assert max(found.values()) <= 15, found


def test_permuted_labels_keep_the_sizes_of_tiers_and_leave_the_lost_alone(measured):
    from toymodels.hypotheses.power import _permuted

    tiers = Tiers.of(measured, AnalysisSetting("1e-05"))
    drawn = _permuted(tiers, np.random.default_rng(0))
    assert torch.equal(drawn.neuron.sum(1), tiers.neuron.sum(1))
    assert torch.equal(drawn.neuron | drawn.hidden, tiers.neuron | tiers.hidden)
    assert not (drawn.neuron & drawn.hidden).any()
    assert not torch.equal(drawn.neuron, tiers.neuron)


@pytest.mark.slow
def test_the_battery_decides_rightly_where_it_judges():
    table = PowerTable(PowerPlan(), tuple(points_of_power()))
    assert table.right, table.rates
