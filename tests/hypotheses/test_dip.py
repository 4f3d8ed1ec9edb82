"""The dip against linear programming over all unimodal functions, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from toymodels.hypotheses.dip import dip, p_values


def by_linear_programming(sample: np.ndarray) -> float:
    """min over modes and unimodal G of sup |F - G|: at every step a left and a right limit of G, and the distance."""
    x, counts = np.unique(sample, return_counts=True)
    top = np.cumsum(counts) / len(sample)
    foot, k = top - counts / len(sample), len(x)

    def row(**at: float) -> np.ndarray:
        out = np.zeros(2 * k + 1)
        for name, value in at.items():
            out[{"l": int(name[1:]), "r": k + int(name[1:] or 0), "d": 2 * k}[name[0]]] += value
        return out

    best = 1.0
    for mode in range(k):
        below, bounds, equal = [], [], []
        for i in range(k):
            for side, share in (("l", foot[i]), ("r", top[i])):
                below += [row(**{f"{side}{i}": 1.0, "d0": -1.0}), row(**{f"{side}{i}": -1.0, "d0": -1.0})]
                bounds += [share, -share]
            jump = row(**{f"l{i}": 1.0, f"r{i}": -1.0})
            if i == mode:
                below.append(jump)
                bounds.append(0.0)
            else:
                equal.append(jump)
        slopes = []
        for i in range(k - 1):
            below.append(row(**{f"r{i}": 1.0, f"l{i + 1}": -1.0}))
            bounds.append(0.0)
            slopes.append(row(**{f"l{i + 1}": 1.0, f"r{i}": -1.0}) / (x[i + 1] - x[i]))
        for i in range(k - 2):
            if i + 1 != mode:
                below.append((slopes[i] - slopes[i + 1]) * (1 if i + 1 < mode else -1))
                bounds.append(0.0)
        cost = np.zeros(2 * k + 1)
        cost[-1] = 1
        equalities = {"A_eq": np.array(equal), "b_eq": np.zeros(len(equal))} if equal else {}
        found = linprog(cost, A_ub=np.array(below), b_ub=bounds, bounds=(0, 1), **equalities)
        assert found.status == 0
        best = min(best, found.fun)
    return best


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_distance_from_the_nearest_unimodal_distribution(seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(4, 13)
    sample = np.concatenate([rng.normal(size=n // 2), rng.random() * 6 + rng.random() * rng.normal(size=n - n // 2)])
    if seed % 3 == 0:
        sample = sample.round(1)
    assert dip(torch.from_numpy(sample)[None]).item() == pytest.approx(by_linear_programming(sample), abs=1e-9)


@given(st.lists(st.integers(-1000, 1000), min_size=4, max_size=60, unique=True), st.booleans(), st.integers(1, 9))
@settings(max_examples=100)
def test_it_is_bounded_and_does_not_see_scale_place_and_direction(values, mirrored, scale):
    x = torch.tensor(values, dtype=torch.float64)[None]
    found = dip(x).item()
    assert 1 / (2 * len(values)) - 1e-12 <= found <= 0.25 + 1e-12
    assert dip((-x if mirrored else x) * scale + 17).item() == pytest.approx(found, abs=1e-12)


def test_nan_is_left_out_and_nothing_has_no_dip():
    x = torch.tensor([[3.0, torch.nan, 1.0, 1.5, 9.0, torch.nan], [torch.nan] * 6])
    assert dip(x).tolist() == [dip(torch.tensor([[1.0, 1.5, 3.0, 9.0]])).item(), 0.0]


def test_p_values_are_uniform_under_the_null_and_small_for_two_modes():
    p = p_values(torch.rand(500, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    assert abs((p < 0.1).double().mean().item() - 0.1) < 0.05
    two = torch.cat([torch.randn(20, 15), 8 + torch.randn(20, 15)], 1)
    assert (p_values(two) < 0.01).all()


@given(st.integers(1, 20))
def test_one_value_only_has_no_dip(count):
    assume(count > 0)
    assert dip(torch.full((1, count), 2.5)).item() == 0
