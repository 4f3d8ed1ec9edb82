"""The dip against a linear programme over all unimodal G, written in the values of G's limits at the steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import kstest

from toymodels.hypotheses.statistics.dip import dip, expected_of_normals, expected_of_two_groups, p_values


def nearest_unimodal(sample: np.ndarray) -> float:
    """min_d over every step as the mode. (A mode between two steps is no better: moved to one of them, the rise there
    stays at least as steep as one of its neighbours.)"""
    x, counts = np.unique(sample, return_counts=True)
    k, top = len(x), np.cumsum(counts) / len(sample)
    foot = top - counts / len(sample)
    left, right, one = np.eye(2 * k + 1)[:k], np.eye(2 * k + 1)[k : 2 * k], np.eye(2 * k + 1)[2 * k]
    near = [(left - one, foot), (-left - one, -foot), (right - one, top), (-right - one, -top)]
    rises = left[1:] - right[:-1]
    slopes = rises / np.diff(x)[:, None]
    distances = []
    for mode in range(k):
        jump = right - left
        bends = slopes[:-1] - slopes[1:]  # of step i + 1: at most 0 where convex
        signs = np.where(np.arange(1, k - 1) < mode, 1.0, -1.0)
        bends = (signs[:, None] * bends)[np.arange(1, k - 1) != mode]
        below = np.concatenate([*(a for a, _ in near), -rises, -jump[[mode]], bends])
        bounds = np.concatenate([*(b for _, b in near), np.zeros(len(rises) + 1 + len(bends))])
        still = np.delete(jump, mode, axis=0)
        equal = (still, np.zeros(k - 1)) if k > 1 else (None, None)
        found = linprog(one, below, bounds, *equal, bounds=(0, 1), method="highs")
        assert found.success
        distances.append(found.fun)
    return min(distances)


@pytest.mark.parametrize("n", range(4, 13))
@pytest.mark.parametrize("law", ["uniform", "two humps", "heavy tails", "ties", "many ties"])
def test_no_unimodal_distribution_is_nearer_and_one_is_as_near(law, n):
    rng = np.random.default_rng([n, len(law)])
    for _ in range(4):
        sample = {
            "uniform": lambda: rng.random(n),
            "two humps": lambda: rng.normal(size=n) + 6 * (rng.random(n) < 0.4),
            "heavy tails": lambda: rng.standard_cauchy(n),
            "ties": lambda: rng.integers(0, n, n).astype(float),
            "many ties": lambda: rng.choice([0.0, 1.0, 1.5, 4.0], n),
        }[law]()
        assert dip(torch.from_numpy(sample)[None]).item() == pytest.approx(nearest_unimodal(sample), abs=1e-9)


samples = st.lists(st.integers(-500, 500), min_size=4, max_size=40, unique=True)


@given(samples, st.integers(1, 40), st.integers(-100, 100), st.booleans())
def test_affine_maps_and_reflection_change_nothing(values, scale, shift, mirrored):
    x = torch.tensor([values], dtype=torch.float64)
    moved = (-x if mirrored else x) * (scale / 8) + shift
    assert dip(moved).item() == pytest.approx(dip(x).item(), abs=1e-12)


@given(samples)
def test_distinct_numbers_have_a_dip_between_one_in_2n_and_a_quarter(values):
    found = dip(torch.tensor([values], dtype=torch.float64)).item()
    assert 1 / (2 * len(values)) - 1e-12 <= found <= 0.25 + 1e-12


@pytest.mark.parametrize("n", [4, 10, 40])
def test_both_bounds_are_reached(n):
    even = torch.arange(n, dtype=torch.float64)[None]
    assert dip(even).item() == pytest.approx(1 / (2 * n))
    halves = torch.tensor([[0.0] * (n // 2) + [1.0] * (n // 2)], dtype=torch.float64)
    assert dip(halves).item() == pytest.approx(0.25)


def test_a_lump_is_one_mode():
    assert dip(torch.tensor([[3.0] * 7])).item() == 0
    lump = torch.tensor([[0.0, *[1.0] * 30, 2.0]])
    assert dip(lump).item() == pytest.approx(nearest_unimodal(lump[0].double().numpy()), abs=1e-9)


def test_rows_are_judged_apart_and_nan_is_no_number():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(5, 9))
    rows[1, 2:5] = rows[3, 8] = np.nan
    together = dip(torch.from_numpy(rows))
    alone = [nearest_unimodal(row[np.isfinite(row)]) for row in rows]
    assert together.numpy() == pytest.approx(np.array(alone), abs=1e-9)
    assert dip(torch.full((1, 6), torch.nan)).tolist() == [0]


@pytest.mark.parametrize("n", [6, 25, 60])
def test_p_is_uniform_where_the_numbers_are(n):
    p = p_values(torch.from_numpy(np.random.default_rng(77).random((800, n)))).numpy()
    # The least dip, 1 / (2n), is common in a few numbers: there p is 1, and beside it uniform.
    assert kstest(p[p < 0.9] / 0.9, "uniform").statistic < 0.08
    assert (p < 0.9).mean() == pytest.approx(0.9, abs=0.04)
    assert p.min() >= 1 / 2001


def test_of_too_few_numbers_nothing_is_said():
    assert p_values(torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan]])).tolist() == [1.0, 1.0]


def test_p_is_small_for_two_modes():
    draws = np.random.default_rng(0).normal(size=(20, 30)) + 8 * (np.arange(30) < 15)
    assert (p_values(torch.from_numpy(draws)) < 0.01).all()


@pytest.mark.parametrize("n", [4, 10, 20, 40, 100])
def test_the_mean_dip_of_normals_is_that_of_others_drawn(n):
    found = dip(torch.from_numpy(np.random.default_rng(99).normal(3.0, 2.0, (4000, n))))
    error = found.std().item() * (1 / 2000 + 1 / 4000) ** 0.5
    assert expected_of_normals(n) == pytest.approx(found.mean().item(), abs=4 * error)


def test_the_mean_dip_of_normals_falls_as_they_get_more():
    means = [expected_of_normals(n) for n in (4, 6, 10, 16, 25, 40, 64, 100)]
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.12
    assert means[-1] < 0.03


@pytest.mark.parametrize("few, count, beyond", [(3, 40, -0.002), (4, 40, 0.004), (5, 40, 0.016), (5, 64, 0.004)])
def test_few_in_a_group_of_their_own_are_hardly_more_than_chance(few, count, beyond):
    """The floor that another simulation gave."""
    found = expected_of_two_groups(few, count - few) - expected_of_normals(count)
    assert found == pytest.approx(beyond, abs=0.0012)
    assert expected_of_two_groups(count - few, few) == expected_of_two_groups(few, count - few)


def test_two_groups_that_stand_still_have_half_the_share_of_the_smaller():
    """The floor without chance, and beside it what is expected of groups large enough."""
    values = torch.cat([torch.zeros(30), torch.ones(70)])[None]
    assert dip(values).item() == pytest.approx(0.15)
    assert expected_of_two_groups(30, 70) == pytest.approx(0.15, abs=0.002)
    assert expected_of_two_groups(0, 40) == expected_of_normals(40)
