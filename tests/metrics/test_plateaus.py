"""Plateaus: arrangements that sit on them exactly, distributions that have none, and the mean over a model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.metrics.test_geometry import cross_polytope, polygon, simplex
from toymodels.metrics.arrangement import present
from toymodels.metrics.geometry import dimensionality
from toymodels.metrics.plateaus import PLATEAUS, dimensions_a_feature, on_plateaus, scattered
from toymodels.rotations import haar

NAMES = list(PLATEAUS)


def antiprism() -> Tensor:
    """Two squares, one turned by 45 degrees, at heights that make all eight vectors one tight frame of R^3."""
    turn = torch.arange(4, dtype=torch.float64) * math.pi / 2
    radius, height = math.sqrt(2 / 3), math.sqrt(1 / 3)
    squares = [
        torch.stack([radius * (turn + shift).cos(), radius * (turn + shift).sin(), torch.full((4,), side * height)])
        for shift, side in ((0.0, 1), (math.pi / 4, -1))
    ]
    return torch.cat(squares, dim=1)[None]


def found(W: Tensor, width: float = 0.01) -> dict[str, float]:
    on = on_plateaus(dimensionality(W), present(W), width)
    return {name: share for name, share in zip(NAMES, on.share[0].tolist(), strict=True) if share}


@pytest.mark.parametrize(
    ("W", "name"),
    [
        (torch.eye(4, dtype=torch.float64)[None], "own dimension"),
        (simplex(3), "tetrahedron"),
        (polygon(3), "triangle"),
        (cross_polytope(5), "antipodal pair"),
        (polygon(5), "pentagon"),
        (antiprism(), "square antiprism"),
    ],
    ids=NAMES,
)
def test_regular_arrangements_sit_on_their_plateau_and_on_no_other(W: Tensor, name: str) -> None:
    assert found(W) == {name: 1.0}
    on = on_plateaus(dimensionality(W), present(W), 0.01)
    assert on.excess[0, NAMES.index(name)].item() == 1.0


def test_features_that_are_absent_do_not_count() -> None:
    """A pentagon and an antipodal pair in two planes, and a feature that is hardly there."""
    W = torch.zeros(1, 3, 8, dtype=torch.float64)
    W[:, :2, :5] = polygon(5)
    W[0, 2, 5:7] = torch.tensor([1.0, -1.0])
    W[0, 2, 7] = 1e-3
    assert found(W) == {"antipodal pair": pytest.approx(2 / 7), "pentagon": pytest.approx(5 / 7)}
    nothing = on_plateaus(dimensionality(0 * W), present(0 * W), 0.01)
    assert nothing.share.isnan().all()


@pytest.mark.parametrize("width", [0.01, 0.02])
def test_a_straight_distribution_has_no_excess(width: float) -> None:
    """Uniform, and of linear density, 100,000 features: as many as expected, whatever the width."""
    u = (torch.arange(100_000, dtype=torch.float64)[None] + 0.5) / 100_000
    there = torch.ones_like(u, dtype=torch.bool)
    on = on_plateaus(u, there, width)
    assert torch.allclose(on.excess, torch.zeros_like(on.excess), atol=2e-4)
    bands = dict(zip(NAMES, on.share[0].tolist(), strict=True))
    assert bands["triangle"] == pytest.approx(2 * width, abs=1e-3)
    assert bands["own dimension"] == pytest.approx(width, abs=1e-3)
    inside = slice(1, 4)  # the shoulders of the others lie on one side more than on the other
    sloping = on_plateaus(u.sqrt(), there, width)
    assert torch.allclose(sloping.excess[:, inside], torch.zeros(1, 3, dtype=torch.float64), atol=5e-4)


def test_a_cluster_beside_a_plateau_is_no_excess_on_it() -> None:
    D = torch.full((1, 50), 0.5 + 0.015, dtype=torch.float64)
    on = on_plateaus(D, torch.ones_like(D, dtype=torch.bool), 0.01)
    assert on.share[0].sum() == 0
    assert on.excess[0, NAMES.index("antipodal pair")] < 0


def test_bands_that_overlap_share_no_feature() -> None:
    D = torch.linspace(0.36, 0.42, 601, dtype=torch.float64)[None]
    on = on_plateaus(D, torch.ones_like(D, dtype=torch.bool), 0.02)
    assert on.share.sum().item() <= 1
    assert on.share[0, -2:].sum().item() == pytest.approx(1, abs=0.02)


def test_the_mean_over_a_model_is_one_for_an_orthogonal_and_a_half_for_an_antipodal_model() -> None:
    assert dimensions_a_feature(torch.eye(5)[None]).item() == pytest.approx(1)
    assert dimensions_a_feature(cross_polytope(5)).item() == pytest.approx(1 / 2)
    assert dimensions_a_feature(polygon(5)).item() == pytest.approx(2 / 5)
    for tight in (simplex(3), antiprism()):
        assert dimensions_a_feature(tight).item() == pytest.approx(dimensionality(tight).mean().item())


def test_plateaus_and_the_mean_are_invariant_under_rotation_and_permutation() -> None:
    W = torch.randn(3, 4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turned = haar(np.arange(3), 4, step=1) @ W[:, :, torch.randperm(9)]
    first, second = (on_plateaus(dimensionality(each), present(each), 0.02) for each in (W, turned))
    assert torch.allclose(first.share, second.share)
    assert torch.allclose(first.expected, second.expected)
    assert torch.allclose(dimensions_a_feature(W), dimensions_a_feature(turned))


def test_scattered_columns_keep_their_lengths_and_nothing_of_their_angles() -> None:
    W = cross_polytope(20) * 1.5
    again = scattered(W, seed=0)
    assert torch.allclose(again.norm(dim=1), W.norm(dim=1))
    assert torch.equal(scattered(W, seed=0), again)
    assert not torch.equal(scattered(W, seed=1), again)
    assert found(W) == {"antipodal pair": 1.0}
    assert found(again).get("antipodal pair", 0) < 0.5
