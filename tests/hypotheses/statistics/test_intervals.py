"""Intervals against the bootstrap enumerated and in coverage, and their rules as truth tables."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, ttest_1samp
from scipy.stats import t as student

from toymodels.hypotheses.statistics.intervals import (
    FEWEST_SEEDS,
    TAIL,
    Interval,
    Status,
    against,
    all_of,
    bootstrap_interval,
    holm,
    student_interval,
    unanimous,
)

YES, NO, OPEN = Status.SUPPORTED, Status.NOT_SUPPORTED, Status.UNDETERMINED


def status(found: Interval, delta: float) -> Status:
    """What the interval says of a margin: the rule that p-values must agree with."""
    if found.low > delta:
        return YES
    return NO if found.high < delta else OPEN


def test_ends_are_quantiles_of_the_enumerated_bootstrap():
    x = np.array([0.1, 0.4, 0.35, 0.8, 1.9, -0.3])
    n, error = len(x), x.std(ddof=1) / math.sqrt(len(x))
    t = []
    for drawn in itertools.product(x, repeat=n):
        mean = sum(drawn) / n
        spread = math.sqrt(sum((value - mean) ** 2 for value in drawn) / (n - 1) / n)
        t.append((mean - x.mean()) / spread if spread > 1e-12 else math.copysign(math.inf, mean - x.mean()))
    t = np.sort(t)

    def quantile(share: float) -> float:
        return t[math.ceil(share * len(t)) - 1]

    found = bootstrap_interval(x)
    # 9,999 resamples: a share of .025 is known to .0016, four times which is .0063.
    assert x.mean() - quantile(0.9813) * error <= found.low <= x.mean() - quantile(0.9687) * error
    assert x.mean() - quantile(0.0313) * error <= found.high <= x.mean() - quantile(0.0187) * error
    for delta in (-0.4, 0.0, 0.1, 0.3, 0.5):
        exact = (t >= (x.mean() - delta) / error).mean()
        assert found.p_above(delta) == pytest.approx(exact, abs=4 * math.sqrt(exact / 9999) + 1e-3)
        assert found.p_below(delta) == pytest.approx(1 - exact, abs=0.02)


@pytest.mark.parametrize("law, truth, bounds", [("normal", 0.0, (0.91, 0.98)), ("exponential", 1.0, (0.88, 0.98))])
def test_it_covers_the_truth(law, truth, bounds):
    samples = getattr(np.random.default_rng(11), law)(size=(1000, 8))
    inside = np.mean([found.low <= truth <= found.high for found in map(bootstrap_interval, samples)])
    assert bounds[0] <= inside <= bounds[1]


def test_one_sided_p_is_uniform_where_the_mean_is_the_margin():
    p = np.array([bootstrap_interval(x).p_above(0.0) for x in np.random.default_rng(12).normal(size=(1000, 8))])
    assert kstest(p, "uniform").statistic < 0.07
    assert (p < 0.025).mean() <= 0.05


@pytest.mark.parametrize("seed", range(6))
def test_p_and_interval_are_one_rule(seed):
    """p < TAIL exactly where the interval excludes the margin, which is how `battery` judges."""
    rng = np.random.default_rng(seed)
    found = bootstrap_interval(rng.exponential(size=8) if seed % 2 else rng.normal(size=5 + seed))
    edges = found.mean - np.concatenate([found.t_stars[200:300], found.t_stars[9700:9800]]) * found.standard_error
    between = (edges[1:] + edges[:-1]) / 2
    for delta in [*np.linspace(-3, 4, 300), *between]:
        if min(abs(delta - found.low), abs(delta - found.high)) < 1e-12:
            continue  # a tie: which side it is on hangs on rounding
        by_interval = status(found, delta)
        by_p = YES if found.p_above(delta) < TAIL else NO if found.p_below(delta) < TAIL else OPEN
        assert by_p is by_interval, (delta, found.p_above(delta), found.p_below(delta))


@given(st.lists(st.floats(-100, 100), min_size=4, max_size=9), st.floats(-100, 100), st.floats(0, 50))
def test_p_falls_as_the_margin_does_and_is_a_probability(values, delta, step):
    found = bootstrap_interval(values)
    assert 0 <= found.p_above(delta - step) <= found.p_above(delta) <= 1
    assert 0 <= found.p_below(delta + step) <= found.p_below(delta) <= 1
    assert found.low <= found.high
    assert not math.isnan(found.low) and not math.isnan(found.high)  # noqa: PT018


@given(st.lists(st.integers(-80, 80), min_size=4, max_size=9, unique=True), st.integers(1, 40), st.integers(-40, 40))
def test_units_and_zero_do_not_matter(values, eighths, shift):
    x, scale = np.array(values) / 8, eighths / 8
    a, b = bootstrap_interval(x), bootstrap_interval(x * scale + shift)
    for ours, theirs in ((a.mean, b.mean), (a.low, b.low), (a.high, b.high)):
        if math.isfinite(ours) and a.standard_error > 1e-6:
            assert theirs == pytest.approx(ours * scale + shift, rel=1e-4, abs=1e-4)


def test_a_statistic_that_does_not_vary_is_known():
    found = bootstrap_interval([0.1 + 0.2] * 5)
    assert found.low == found.high == found.mean
    assert [status(found, d) for d in (0.2, found.mean, 0.4)] == [YES, OPEN, NO]
    assert [found.p_above(d) for d in (0.2, found.mean, 0.4)] == [0, 1, 1]
    assert [found.p_below(d) for d in (0.2, found.mean, 0.4)] == [1, 1, 0]


def test_undefined_seeds_are_no_seeds():
    with_nan = bootstrap_interval([1.0, math.nan, 2.0, 4.0, 3.5, math.nan])
    assert with_nan.n == 4
    assert (with_nan.low, with_nan.high) == (
        bootstrap_interval([1.0, 2.0, 4.0, 3.5]).low,
        bootstrap_interval([1.0, 2.0, 4.0, 3.5]).high,
    )


@pytest.mark.parametrize("n", range(FEWEST_SEEDS))
def test_too_few_seeds_say_nothing(n):
    found = bootstrap_interval([5.0] * n)
    assert found.n == n
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.mean == 5.0 if n else math.isnan(found.mean)
    assert (status(found, -100), found.p_above(-100), found.p_below(100)) == (OPEN, 1, 1)


@pytest.mark.parametrize("numbers", [[0.0, 0.0, 0.0, 1.0], [0.0] * 14 + [1.0, 1.0]])
def test_where_most_seeds_are_alike_students_t_stands_in(numbers):
    """A third, or a tenth, of the resamples is of equal numbers."""
    found, of_student = bootstrap_interval(numbers), student_interval(numbers)
    assert of_student is not None
    assert (found.low, found.high) == pytest.approx((of_student.low, of_student.high), rel=5e-3)
    n, error = len(numbers), np.std(numbers, ddof=1) / math.sqrt(len(numbers))
    for delta in (0.5, 1.0, 3.0):
        assert found.p_below(delta) == pytest.approx(student.cdf((found.mean - delta) / error, n - 1), abs=2e-4)
        assert found.p_above(delta) == pytest.approx(student.sf((found.mean - delta) / error, n - 1), abs=2e-4)


def test_all_of_and_unanimous_are_these_tables():
    for statuses in itertools.product([YES, NO, OPEN], repeat=3):
        any_no = any(s is NO for s in statuses)
        assert all_of(statuses) is (NO if any_no else OPEN if OPEN in statuses else YES)
        same = len(set(statuses)) == 1
        assert unanimous(statuses) is (statuses[0] if same else OPEN)


def test_holm_by_hand():
    # 4 * .005; 3 * .01; 2 * .03; 1 * .04 is less than what came before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_its_formula(p):
    """max over those no larger of (how many are not smaller than it) times it: ties come out alike."""
    direct = [min(1.0, max((sum(r >= q for r in p)) * q for q in p if q <= own)) for own in p]
    assert holm(p) == pytest.approx(direct)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_students_interval_is_scipys(n):
    x = np.random.default_rng(n).normal(size=n)
    found = student_interval([*x, math.nan])
    assert found is not None
    expected = ttest_1samp(x, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.mean, found.n) == (x.mean(), n)
    assert found.half_width == pytest.approx(found.high - found.mean)


def test_students_interval_of_one_value_is_everything_and_of_none_nothing():
    single = student_interval([2.0])
    assert single is not None
    assert (single.mean, single.low, single.high, single.n, single.half_width) == (2.0, -math.inf, math.inf, 1, None)
    assert student_interval([]) is student_interval([math.nan]) is None


@pytest.mark.parametrize(
    ("ends", "margin", "status"),
    [
        ((0.1, 0.2), 0, Status.SUPPORTED),
        ((-0.2, -0.1), 0, Status.NOT_SUPPORTED),
        ((-1, 1), 0, Status.UNDETERMINED),
        ((3, 4), 3, Status.UNDETERMINED),
        ((2, 3), 3, Status.UNDETERMINED),
        ((math.nan, math.nan), 0, Status.UNDETERMINED),
    ],
)
def test_an_interval_says_what_lies_wholly_above_or_below_the_margin(
    ends: tuple[float, float], margin: float, status: Status
) -> None:
    assert against(*ends, margin) is status
