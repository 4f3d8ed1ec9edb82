"""Geometry: plateaus, bounds and invariances that are theorems."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from toymodels.metrics.geometry import (
    coherence,
    dimensionality,
    interference,
    least_squared_overlap,
    mean_squared_overlap,
    norms,
    unit_columns,
    welch_gap,
)
from toymodels.rotations import haar


def polygon(k):
    angles = 2 * math.pi * torch.arange(k, dtype=torch.float64) / k
    return torch.stack([angles.cos(), angles.sin()])[None]


def simplex(k):
    """k + 1 unit vectors in R^k at equal angles."""
    centred = torch.eye(k + 1, dtype=torch.float64) - 1 / (k + 1)
    basis = torch.linalg.svd(centred).U[:, :k]
    return unit_columns((basis.T @ centred)[None])


def cross_polytope(k):
    return torch.cat([torch.eye(k, dtype=torch.float64), -torch.eye(k, dtype=torch.float64)], dim=1)[None]


def matrices():
    shapes = st.tuples(st.just(2), st.integers(1, 5), st.integers(1, 9))
    return shapes.flatmap(
        lambda shape: arrays(np.float64, shape, elements=st.sampled_from([-2.0, -0.5, 0.0, 0.3, 1.0, 4.0]))
    )


@pytest.mark.parametrize("k", [2, 3, 7])
def test_plateaus_of_dimensionality(k):
    assert dimensionality(simplex(k))[0].tolist() == pytest.approx([k / (k + 1)] * (k + 1))
    assert dimensionality(polygon(k + 1))[0].tolist() == pytest.approx([2 / (k + 1)] * (k + 1))
    assert dimensionality(cross_polytope(k))[0].tolist() == pytest.approx([1 / 2] * (2 * k))
    assert dimensionality(torch.eye(k)[None])[0].tolist() == pytest.approx([1.0] * k)


@given(matrices())
def test_dimensionalities_sum_to_at_most_the_smaller_width(W):
    W = torch.from_numpy(W)
    D = dimensionality(W)
    assert D.isfinite().all()
    assert (D[norms(W) == 0] == 0).all()
    assert (D.sum(1) <= min(W.shape[1:]) + 1e-9).all()


@given(matrices())
def test_dimensionality_is_one_over_normalised_interference(W):
    """D_i = |W_i|^2 / (|W_i|^2 + interference_i)."""
    W = torch.from_numpy(W)
    square = norms(W).square()
    expected = torch.where(square > 0, square / (square + interference(W)), 0.0)
    assert torch.allclose(dimensionality(W), expected, rtol=1e-9)


@given(matrices())
def test_geometry_is_invariant_under_rotation_and_follows_permutations(W):
    W = torch.from_numpy(W)
    Q = haar(np.array([1, 2]), W.shape[1], step=1)
    order = torch.randperm(W.shape[2], generator=torch.Generator().manual_seed(0))
    for measure in (norms, interference, dimensionality):
        assert torch.allclose(measure(Q @ W), measure(W), rtol=1e-8, atol=1e-10)
        assert torch.allclose(measure(W[:, :, order]), measure(W)[:, order], rtol=1e-9)
    for measure in (coherence, welch_gap):
        assert torch.allclose(measure(Q @ W), measure(W), rtol=1e-7, atol=1e-9, equal_nan=True)


@given(matrices())
def test_welch_bounds(W):
    """max |cos| >= sqrt((n-m)/(m(n-1))), and sum over i != j of cos^2 >= n^2/m - n, over non-zero columns."""
    W = torch.from_numpy(W)
    assert (welch_gap(W).nan_to_num(0) >= -1e-9).all()
    for one in W:
        unit = unit_columns(one[None])[0][:, norms(one[None])[0] > 0]
        m, n = unit.shape
        cosines = unit.T @ unit - torch.eye(n, dtype=torch.float64)
        assert cosines.square().sum() >= n * n / m - n - 1e-9


def test_an_equiangular_tight_frame_meets_welch():
    assert welch_gap(simplex(4)).item() == pytest.approx(0, abs=1e-9)
    assert welch_gap(polygon(3)).item() == pytest.approx(0, abs=1e-9)
    assert coherence(simplex(4)).item() == pytest.approx(1 / 4)
    assert welch_gap(polygon(5)).item() > 0.1


def test_fewer_than_two_columns_have_no_coherence():
    W = torch.zeros(1, 3, 4)
    assert coherence(W).isnan().all()
    W[0, 1, 2] = 1
    assert welch_gap(W).isnan().all()
    assert interference(W).tolist() == [[0.0] * 4]


@pytest.mark.parametrize("m", [2, 5, 16])
def test_random_directions_overlap_by_one_over_the_dimensions(m):
    """Exactly so over a basis, E cos^2 = 1/m; of many random ones within their spread."""
    basis = torch.cat([torch.eye(m), haar(np.array([1]), m, step=0)[0].float()], dim=1)[None].double()
    between = mean_squared_overlap(basis) * 2 * m * (2 * m - 1)  # 2 m pairs of a basis with itself have none
    assert between.item() == pytest.approx(2 * m)
    W = torch.randn(4, m, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far = unit_columns(W)
    assert mean_squared_overlap(far).tolist() == pytest.approx([1 / m] * 4, rel=0.03)


@pytest.mark.parametrize("k", [3, 5, 8])
def test_tight_frames_overlap_least(k):
    for frame in (polygon(k), simplex(k), cross_polytope(k)):
        count = torch.tensor([frame.shape[2]], dtype=torch.float64)
        least = least_squared_overlap(count, frame.shape[1])
        torch.testing.assert_close(mean_squared_overlap(frame), least)
    assert least_squared_overlap(torch.tensor([3.0, 0.0]), 4).tolist() == [0, 0]


@given(matrices())
def test_no_overlap_is_less_than_the_least_and_short_columns_do_not_count(W):
    W = unit_columns(torch.from_numpy(W))
    overlap, count = mean_squared_overlap(W), (norms(W) > 0.5).sum(1).double()
    assert (overlap[count > 1] >= least_squared_overlap(count[count > 1], W.shape[1]) - 1e-9).all()
    assert overlap[count < 2].isnan().all()
    beside = torch.cat([W, 0.4 * W[:, :, :1]], 2)
    torch.testing.assert_close(mean_squared_overlap(beside), overlap, equal_nan=True)
