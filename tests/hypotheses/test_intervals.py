"""Intervals over seeds: against the bootstrap written out, in coverage, and the rules that read them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from toymodels.hypotheses.intervals import Status, all_of, holm, interval, status, unanimous

YES, NO, OPEN = Status.SUPPORTED, Status.NOT_SUPPORTED, Status.UNDETERMINED


def test_it_is_the_studentised_bootstrap_over_all_resamples():
    x = np.array([0.1, 0.4, 0.35, 0.8, 1.9])
    error = x.std(ddof=1) / np.sqrt(5)
    t = []
    for places in itertools.product(range(5), repeat=5):
        drawn = x[list(places)]
        spread = drawn.std(ddof=1) / np.sqrt(5)
        if spread > 1e-12:
            t.append((drawn.mean() - x.mean()) / spread)
    low, high = x.mean() - np.quantile(t, [0.975, 0.025]) * error
    found = interval(x)
    assert found.mean == pytest.approx(x.mean())
    assert found.low == pytest.approx(low, abs=0.3 * error)
    assert found.high == pytest.approx(high, abs=0.3 * error)


@pytest.mark.parametrize("law, mean, least", [("normal", 0.0, 0.92), ("exponential", 1.0, 0.88)])
def test_it_covers_the_truth(law, mean, least):
    rng = np.random.default_rng(0)
    samples = getattr(rng, law)(size=(600, 8))
    covered = np.mean([found.low <= mean <= found.high for found in map(interval, samples)])
    assert least <= covered <= 0.985


def test_p_values_and_interval_say_the_same():
    found = interval(np.random.default_rng(1).normal(1, 1, 8))
    for delta in np.linspace(-1, 3, 81):
        assert (found.p_above(delta) < 0.025) == (found.low > delta) or abs(found.low - delta) < 0.02
        assert (found.p_below(delta) < 0.025) == (found.high < delta) or abs(found.high - delta) < 0.02


def test_seeds_without_the_statistic_are_left_out_and_few_seeds_say_nothing():
    assert interval([1.0, np.nan, 2.0, 3.0, 4.0]).n == 4
    few = interval([1.0, 2.0, 3.0])
    assert status(few, 0.0) is OPEN
    assert few.p_above(-100) == 1
    assert interval([]).n == 0


def test_a_constant_is_itself():
    found = interval([0.5] * 6)
    assert (found.low, found.high) == (0.5, 0.5)
    assert status(found, 0.4) is YES
    assert status(found, 0.6) is NO
    assert found.p_above(0.4) == 0


@pytest.mark.parametrize(
    "statuses, together, same",
    [([YES, YES], YES, YES), ([YES, NO], NO, OPEN), ([YES, OPEN], OPEN, OPEN), ([NO, OPEN], NO, OPEN), ([NO], NO, NO)],
)
def test_rules(statuses, together, same):
    assert all_of(statuses) is together
    assert unanimous(statuses) is same


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
