"""Shares: exact intervals, Newcombe's published example, coverage, and shares of nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta

from toymodels.hypotheses.statistics.shares import share_difference, share_interval


def so(k: int, n: int) -> np.ndarray:
    return np.arange(n) < k


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (70, 100)])
def test_a_share_has_the_quantiles_of_the_beta_distribution(k: int, n: int) -> None:
    interval = share_interval(so(k, n))
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    assert (interval.mean, interval.n) == (k / n, n)
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_a_difference_is_that_of_newcombes_table() -> None:
    """56/70 - 48/80: .2, .0524 to .3339 (Newcombe 1998, table II, method 10)."""
    interval = share_difference(so(56, 70), so(48, 80))
    assert interval.mean == pytest.approx(0.2)
    assert (interval.low, interval.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_a_difference_turned_round_has_the_other_sign() -> None:
    one, other = share_difference(so(9, 10), so(30, 80)), share_difference(so(30, 80), so(9, 10))
    assert (other.mean, other.low, other.high) == pytest.approx((-one.mean, -one.high, -one.low))


def test_equal_shares_differ_in_about_one_of_twenty_experiments() -> None:
    rng = np.random.default_rng(0)
    outside = [
        interval.low > 0 or interval.high < 0
        for interval in (share_difference(rng.random(60) < 0.6, rng.random(60) < 0.6) for _ in range(600))
    ]
    assert 0.02 < np.mean(outside) < 0.08


def test_shares_of_nothing_are_undefined() -> None:
    none, some = so(0, 0), so(2, 4)
    assert math.isnan(share_interval(none).mean)
    assert math.isnan(share_difference(none, some).mean)
    assert math.isnan(share_difference(some, none).low)
