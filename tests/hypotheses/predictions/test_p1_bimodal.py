"""P1: samples of which it is known how many groups they are, the floor of two groups, and what it says of models."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.evidence import OF_TIERS, Evidence
from toymodels.hypotheses.numbers import AtSetting, Statistics
from toymodels.hypotheses.predictions.p1_bimodal import ALIGNMENT, DESCRIBES, DIP, DIP_P, FLOOR, Bimodal, modes
from toymodels.hypotheses.statistics.dip import dip, expected_of_normals, p_values
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.hypotheses.tiers import Tiers

SEEDS, N = 6, 20
NEURON = torch.arange(N).expand(SEEDS, N) < 6
HIDDEN = (torch.arange(N).expand(SEEDS, N) >= 6) & (torch.arange(N).expand(SEEDS, N) < 18)


def alignments(of_neuron, of_hidden, spread=0.03):
    """a_i around two values, with the last two features, in no tier, in between."""
    rng = np.random.default_rng(1)
    centre = torch.where(NEURON, of_neuron, torch.where(HIDDEN, of_hidden, (of_neuron + of_hidden) / 2))
    return centre.double() + torch.from_numpy(spread * rng.standard_normal((SEEDS, N)))


def evidence(values):
    return Evidence("made up", "1e-05", {MAIN: {OF_TIERS: {"alignment": values}}}, np.zeros((len(values), N, 2)))


def statistics():
    return Statistics("made up", "1e-05", np.zeros((SEEDS, N, 2)), torch.zeros(SEEDS), {}, {})


def at(neuron, hidden, marks) -> AtSetting:
    return AtSetting({MAIN: Tiers(neuron, hidden)}, {}, marks)


def test_two_groups_are_found_and_reach_their_floor():
    found = modes(alignments(0.9, 0.3, spread=0.001), NEURON, HIDDEN)
    assert found.features == SEEDS * 18
    assert found.floor == pytest.approx(1 / 6 - expected_of_normals(SEEDS * 18), abs=0.003)  # half of a third
    assert found.dip == pytest.approx(found.floor, abs=0.005)
    wider = modes(alignments(0.9, 0.3, spread=0.03), NEURON, HIDDEN)
    assert 0.05 < wider.dip < found.dip
    assert wider.p == found.p == pytest.approx(1 / 2001)


def test_one_group_is_not_two():
    found = modes(alignments(0.6, 0.6), NEURON, HIDDEN)
    assert abs(found.dip) < 0.02 < found.floor / 3
    assert found.p > 0.3


def test_it_is_the_dip_of_the_features_of_all_seeds_minus_that_of_as_many_normal_numbers():
    values = alignments(0.7, 0.5, spread=0.1)
    values[2, 3] = math.nan  # never seen
    found = modes(values, NEURON, HIDDEN)
    chosen = values[NEURON | HIDDEN]
    chosen = chosen[chosen.isfinite()][None]
    assert found.features == chosen.shape[1] == SEEDS * 18 - 1
    assert found.dip == pytest.approx(dip(chosen).item() - expected_of_normals(SEEDS * 18 - 1))
    assert found.p == p_values(chosen).item()


def test_neither_the_order_of_features_and_seeds_nor_the_unit_of_alignment_matters():
    values, order = alignments(0.7, 0.4, spread=0.1), torch.randperm(N, generator=torch.Generator().manual_seed(0))
    one = modes(values, NEURON, HIDDEN)
    other = modes(2 + 3 * values.flip(0)[:, order], NEURON[:, order], HIDDEN[:, order])
    assert other.dip == pytest.approx(one.dip, abs=1e-9)
    assert (other.features, other.p, other.floor) == (one.features, one.p, one.floor)


@pytest.mark.parametrize("features", [0, 3, 4])
def test_of_fewer_than_four_features_nothing_is_said(features):
    tier = torch.arange(N).expand(1, N) < features
    found = modes(torch.linspace(0, 1, N).expand(1, N), tier, torch.zeros_like(tier))
    assert found.features == features
    assert math.isfinite(found.dip) is math.isfinite(found.floor) is (features >= 4)


def test_it_describes_and_decides_nothing(make_tiers):
    values = alignments(0.9, 0.3)
    marks = Bimodal().marks(evidence(values), make_tiers(NEURON, HIDDEN))
    assert marks[ALIGNMENT].isfinite().equal(NEURON | HIDDEN)
    assert marks[DIP_P].shape == (SEEDS,)
    found = Bimodal().pooled(statistics(), at(NEURON, HIDDEN, marks))
    expected = modes(values, NEURON, HIDDEN)
    assert set(found) == {DIP, FLOOR}
    assert (found[DIP].mean, found[DIP].p_above, found[DIP].margin) == (expected.dip, expected.p, expected.floor)
    assert found[FLOOR].mean == expected.floor
    assert {(each.status, each.reason, each.n) for each in found.values()} == {(Status.UNDETERMINED, DESCRIBES, SEEDS)}
    assert Bimodal.decisive == ()
    none = torch.zeros_like(NEURON)
    empty = Bimodal().pooled(statistics(), at(none, none, marks))
    assert {each.n for each in empty.values()} == {0}


def test_marks_of_parts_are_those_of_the_whole(make_tiers):
    """Seeds are measured some at a time; what is pooled over them must not notice."""
    values, parts = alignments(0.8, 0.5, spread=0.1), []
    for some in (slice(0, 2), slice(2, SEEDS)):
        marks = Bimodal().marks(evidence(values[some]), make_tiers(NEURON[some], HIDDEN[some]))
        parts.append(at(NEURON[some], HIDDEN[some], marks))
    found = Bimodal().pooled(statistics(), AtSetting.together(parts))
    assert found[DIP].mean == modes(values, NEURON, HIDDEN).dip
