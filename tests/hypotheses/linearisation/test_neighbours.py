"""Neighbours: each kind differs in what it says and in nothing else; every feature is chosen as often as any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.hypotheses.linearisation.conftest import N, data_of, experiments_of
from toymodels import Binary, Dataset, Features, ReLU
from toymodels.hypotheses.linearisation.neighbours import KINDS, differing, neighbours, other_values, switched
from toymodels.training.experiment import Experiment

PAIRS = 512


@pytest.mark.parametrize("binary", [True, False])
def test_each_kind_differs_as_it_says(binary: bool) -> None:
    experiments = experiments_of(ReLU(), binary=binary)
    x, near = neighbours(experiments, PAIRS)
    assert set(near) == set(KINDS) - ({"values"} if binary else set())
    some, active = (x != 0).any(1), x != 0
    for kind, expected in {"off": some, "on": some & ~active.all(1), "first": ~some}.items():
        assert torch.equal(differing(x, near[kind]), expected.long())
    changed = near["off"] != x
    assert (near["off"][changed] == 0).all()
    for kind in ("on", "first"):
        changed = near[kind] != x
        assert (x[changed] == 0).all()
        assert (near[kind][changed] == (1.0 if binary else 0.5)).all()
    assert torch.equal(near["other"].double(), data_of(experiments, PAIRS, PAIRS))
    if not binary:
        assert torch.equal(near["values"] != 0, active)
        new, old = near["values"][active], x[active]
        assert not (new == old).any()
        assert abs(new.mean() - 0.5) < 0.02
        assert abs(np.corrcoef(new, old)[0, 1]) < 0.05


def test_signed_values_of_size_one_change_their_sign_alone() -> None:
    features = Features(N, 0.3, values=Binary(), signed=True)
    x = torch.tensor([1.0, -1.0, 0.0, 1.0])[None, :, None]
    u = torch.tensor([0.2, 0.2, 0.2, 0.9]).double()[None, :, None]
    assert other_values(features, x, u).flatten().tolist() == [-1, -1, 0, 1]


@pytest.mark.parametrize("on", [True, False])
def test_every_eligible_feature_is_switched_as_often(on: bool) -> None:
    x = torch.zeros(1, 6, 12_000)
    x[:, 2:5] = 1
    u = torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    changed = (switched(x, u, on=on, value=0.5) != x).double().mean(2)[0]
    assert changed.sum() == pytest.approx(1)
    eligible = (x[0, :, 0] == 0) == on
    assert (changed[~eligible] == 0).all()
    assert changed[eligible].tolist() == pytest.approx([1 / 3] * 3, abs=0.02)


def test_a_models_neighbours_are_its_own_whatever_is_beside_it() -> None:
    experiments = experiments_of(ReLU(), binary=False)
    both, alone = neighbours(experiments, 64)[1], neighbours(experiments[1:], 64)[1]
    assert all(torch.equal(both[kind][1:], alone[kind]) for kind in KINDS)


def test_data_without_a_law_of_values_are_refused() -> None:
    (like, *_) = experiments_of(ReLU())
    e = Experiment(Dataset(torch.eye(N)), like.bottleneck, like.training)
    with pytest.raises(TypeError, match="drawn from Features, got Dataset"):
        neighbours([e], 4)
