"""Shares: the quantiles of the beta distribution, and shares of nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta

from toymodels.hypotheses.statistics.shares import share_interval


def so(k: int, n: int) -> np.ndarray:
    return np.arange(n) < k


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (70, 100)])
def test_a_share_has_the_quantiles_of_the_beta_distribution(k: int, n: int) -> None:
    interval = share_interval(so(k, n))
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    assert (interval.mean, interval.n) == (k / n, n)
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_shares_of_nothing_are_undefined() -> None:
    assert math.isnan(share_interval(so(0, 0)).mean)
