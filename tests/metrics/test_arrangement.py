"""Arrangement: polygons and polytopes whose angles are known, chances that can be counted, and symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from toymodels.metrics.arrangement import (
    MOST_DIVISIONS,
    PairKind,
    angles,
    count_divisions,
    divisions,
    of_kind,
    pairs_of,
    relabelled,
    sets_of_kind,
    side_by_side,
)
from toymodels.rotations import haar

PAIRS = torch.tensor([0, 0, 1, 1])
THREE = torch.tensor([0, 0, 1, 1, 2, 2])
ORTHOGONAL, ANTIPODAL = sets_of_kind(PairKind.ORTHOGONAL), sets_of_kind(PairKind.ANTIPODAL)


def at(*degrees: float) -> Tensor:
    """Unit columns in the plane at these angles, [1, 2, feature]."""
    radians = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([radians.cos(), radians.sin()])[None]


def test_angles_are_those_that_the_columns_were_drawn_at_and_undefined_where_a_feature_is_absent() -> None:
    W = at(0, 30, 90, 180)
    assert angles(W)[0, 0].tolist() == pytest.approx([0, 30, 90, 180], abs=1e-5)
    W[:, :, 1] *= 0.4
    assert angles(W)[0, 0].isnan().tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("degrees", "kind"),
    [
        (0, "same"),
        (14.9, "same"),
        (15.1, "other"),
        (74.9, "other"),
        (75.1, "orthogonal"),
        (104.9, "orthogonal"),
        (120, "other"),
        (165.1, "antipodal"),
        (math.nan, "absent"),
    ],
)
def test_every_angle_is_of_one_kind(degrees: float, kind: str) -> None:
    angle = torch.tensor(degrees)
    assert [each.value for each in PairKind if of_kind(angle, each)] == [kind]


def test_sets_that_are_orthogonal_and_sets_that_are_antipodal() -> None:
    """Two antipodal pairs; which features they are of decides."""
    W = torch.cat([at(0, 90, 180, 270), at(0, 180, 90, 270), at(0, 90, 180, 230)])
    assert ORTHOGONAL(W, PAIRS).tolist() == [True, False, False]
    assert ANTIPODAL(W, PAIRS).tolist() == [False, True, False]
    W[0, :, 3] *= 0.1
    assert not ORTHOGONAL(W, PAIRS)[0]
    assert sets_of_kind(PairKind.ORTHOGONAL, within=45)(W, PAIRS)[1:].tolist() == [False, True]


def test_pairs_within_and_between_sets_are_all_pairs() -> None:
    within, between = pairs_of(THREE, True), pairs_of(THREE, False)
    assert (int(within.sum()), int(between.sum())) == (3, 12)
    assert not (within & between).any()
    assert torch.equal(within | between, torch.triu(torch.ones(6, 6, dtype=torch.bool), diagonal=1))


def test_side_by_side_is_neighbours_on_the_circle() -> None:
    W = torch.cat([at(0, 60, 120, 180, 240, 300), at(300, 0, 60, 120, 180, 240), at(0, 120, 60, 180, 240, 300)])
    assert side_by_side(W, THREE).tolist() == [True, True, False]
    W[0, :, 0] = 0
    assert not side_by_side(W, THREE)[0]
    with pytest.raises(ValueError, match="3 hidden dimensions"):
        side_by_side(torch.ones(1, 3, 6), THREE)


@pytest.mark.parametrize(("n", "size", "count"), [(4, 2, 3), (6, 2, 15), (6, 3, 10), (4, 4, 1), (8, 2, 105)], ids=str)
def test_divisions_are_all_and_each_once(n: int, size: int, count: int) -> None:
    found = list(divisions(n, size))
    assert len({tuple(each) for each in found}) == len(found) == count == count_divisions(n, size)
    assert all(np.bincount(each).tolist() == [size] * (n // size) for each in found)


def test_chances_of_exchangeable_features() -> None:
    square, hexagon = at(0, 90, 180, 270), at(0, 60, 120, 180, 240, 300)
    octahedron = torch.cat([torch.eye(3), -torch.eye(3)], dim=1)[None]
    assert relabelled(ORTHOGONAL, square, PAIRS).item() == pytest.approx(2 / 3)
    assert relabelled(ANTIPODAL, square, PAIRS).item() == pytest.approx(1 / 3)
    assert relabelled(ORTHOGONAL, octahedron, THREE).item() == pytest.approx(8 / 15)
    assert relabelled(ANTIPODAL, octahedron, THREE).item() == pytest.approx(1 / 15)
    assert relabelled(side_by_side, hexagon, THREE).item() == pytest.approx(2 / 15)


def test_more_divisions_than_can_be_listed_are_drawn() -> None:
    """Whether features 0 and 1 are of one set, as in 1 of 19 divisions of 20 features into pairs, and whether 0 to 3
    are two sets, in 3 of 19 x 17; that the sets are pairs, in all."""

    def arranged(W: Tensor, member: Tensor) -> Tensor:
        first, second = member[0] == member[1], len(member[:4].unique()) == 2
        return torch.tensor([bool(first), second, bool((member.bincount() == 2).all())])

    member = torch.arange(20) // 2
    assert count_divisions(20, 2) == 654_729_075
    share = relabelled(arranged, torch.ones(3, 2, 20), member)
    exact = torch.tensor([1 / 19, 3 / (19 * 17), 1], dtype=torch.float64)
    assert ((share - exact).abs() <= 4 * (exact * (1 - exact) / MOST_DIVISIONS).sqrt()).all()
    assert torch.equal(relabelled(arranged, torch.ones(3, 2, 20), member), share)


def test_arrangements_are_invariant_under_rotation_scale_and_the_order_of_sets_and_members() -> None:
    W = torch.randn(400, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    W = W + 0.6 * W.sign()
    Q = haar(np.arange(400), 2, step=1)
    arrangements = (sets_of_kind(PairKind.ORTHOGONAL, 40), sets_of_kind(PairKind.SAME, 60), side_by_side)
    for arranged in arrangements:
        first = arranged(W, THREE)
        assert 0 < first.sum() < 400
        assert torch.equal(arranged(Q @ W, THREE), first)
        assert torch.equal(arranged(3 * W, THREE), first)
        assert torch.equal(arranged(W[:, :, [1, 0, 4, 5, 3, 2]], THREE), first)
        assert torch.equal(arranged(W, torch.tensor([2, 2, 0, 0, 1, 1])), first)
        assert torch.allclose(relabelled(arranged, W[:, :, torch.randperm(6)], THREE), relabelled(arranged, W, THREE))
