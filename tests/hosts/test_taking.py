"""Taking features away: each way against what it says, and all of them where they must agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toymodels.examples import Examples
from toymodels.hosts.taking import Counterfactual, Means, Projection

ALL = torch.arange(4)


def test_means_are_those_of_the_samples_with_and_without_a_feature():
    generator = np.random.default_rng(0)
    x, active = generator.normal(size=(2, 3, 50)), generator.random((2, 5, 50)) < 0.3
    active[:, 4] = False
    active[:, 3] = True
    data = Examples(torch.from_numpy(x).float(), torch.from_numpy(active).float(), torch.from_numpy(active))
    found = Means.of(data).difference
    for model in range(2):
        for feature in range(3):
            there = active[model, feature]
            expected = x[model][:, there].mean(1) - x[model][:, ~there].mean(1)
            assert found[model, :, feature].numpy() == pytest.approx(expected, abs=1e-6)
    assert not found[:, :, 3:].any()
    taken = Means.of(data)[1:](data.x[1:, :, :4], torch.tensor([0, 1, 2, 3]), ALL)
    assert torch.allclose(taken, data.x[1:, :, :4] - found[1:, :, :4])


def test_means_of_independent_features_in_orthogonal_directions_take_each_one_away():
    generator = torch.Generator().manual_seed(0)
    active = torch.rand(1, 4, 200_000, generator=generator) < 0.2
    basis = torch.linalg.qr(torch.randn(6, 4, generator=generator)).Q
    x = basis @ active.float()
    assert (Means.of(Examples(x, active.float(), active)).difference[0] - basis).abs().max() < 0.02


def test_projection_leaves_nothing_of_a_direction_but_its_mean_and_all_else_as_it_is():
    x = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(1))
    d = torch.nn.functional.normalize(torch.randn(1, 6, 2, generator=torch.Generator().manual_seed(2)), dim=1)
    mean = torch.arange(6.0)[None]
    feature = torch.tensor([0, 1, 1, 0])
    taken = Projection(d, mean)(x, feature, ALL)
    along = d[0][:, feature]
    assert torch.allclose((along * taken[0]).sum(0), (along * mean[0][:, None]).sum(0), atol=1e-5)
    rest = taken[0] - along * (along * taken[0]).sum(0)
    assert torch.allclose(rest, x[0] - along * (along * x[0]).sum(0), atol=1e-5)
    assert torch.allclose(Projection(-d, mean)(x, feature, ALL), taken, atol=1e-5)  # a direction has no sign


def test_a_counterfactual_is_what_was_read_and_nothing_else_is_known():
    x = torch.randn(2, 3, 6)
    place = torch.full((2, 2, 10), -1, dtype=torch.int32)
    place[:, 0, 7], place[:, 1, 7], place[:, 1, 2] = 0, 2, 1
    taking = Counterfactual(x, place)[1:]
    found = taking(torch.zeros(1, 6, 3), torch.tensor([0, 1, 1]), torch.tensor([7, 2, 7]))
    assert torch.equal(found[0].T, x[1])
    with pytest.raises(ValueError, match="in which it is active"):
        taking(torch.zeros(1, 6, 1), torch.tensor([0]), torch.tensor([3]))
