"""One number a seed and control, against `interval` control by control; and how often noise is judged."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from toymodels.hypotheses.statistics.findings import from_seeds
from toymodels.hypotheses.statistics.intervals import FEWEST_SEEDS, TAIL, Status, bootstrap_interval

YES, NO, OPEN = Status.SUPPORTED, Status.NOT_SUPPORTED, Status.UNDETERMINED
MARGIN = 0.1


def column(mean, seed=0, spread=0.05, seeds=8):
    """Numbers of exactly this mean."""
    x = np.random.default_rng([seed, 7]).normal(size=seeds)
    return mean + spread * (x - x.mean())


def judged(*columns, where=None):
    chosen = None if where is None else torch.tensor(where)
    return from_seeds("s", torch.from_numpy(np.stack(columns, 1)), MARGIN, chosen)


def shown(found):
    return found.mean, found.low, found.high, found.n


def test_one_number_a_seed_is_one_control():
    x = column(0.13)
    alone, one = from_seeds("s", torch.from_numpy(x), MARGIN), judged(x)
    assert alone == one
    over = bootstrap_interval(x)
    assert shown(alone) == shown(over)
    assert (alone.p_above, alone.p_below) == (over.p_above(MARGIN), over.p_below(MARGIN))
    assert (alone.kind, alone.margin, alone.reason) == ("s", MARGIN, "")


@pytest.mark.parametrize("means", [(0.3, 0.2, 0.25), (0.3, 0.11, 0.25), (0.3, 0.02, -0.1), (0.08, 0.1, 0.12)])
def test_every_control_by_its_own_interval(means):
    columns = [column(mean, seed) for seed, mean in enumerate(means)]
    each, found = [bootstrap_interval(x) for x in columns], judged(*columns)
    assert found.p_above == max(over.p_above(MARGIN) for over in each)
    assert found.p_below == min(1.0, 3 * min(over.p_below(MARGIN) for over in each))
    assert shown(found) == shown(each[int(np.argmin(means))])
    assert found == judged(*columns[::-1])


def test_supported_is_against_every_control():
    above, at = column(0.3, 0), column(MARGIN, 1)
    assert judged(above, column(0.25, 2), column(0.2, 3)).status is YES
    assert judged(above, column(0.25, 2), at).status is OPEN


def test_not_supported_is_against_any_control():
    assert judged(column(0.3, 0), column(0.25, 1), column(-0.1, 2)).status is NO
    assert judged(column(-0.1, 2)).status is NO


def test_below_one_of_several_must_be_clearer_than_below_one():
    """A p between .025 / 3 and .025: enough against one control, or two that agree no better, but not of three."""
    means = np.linspace(0.0, MARGIN, 200)
    edge = next(x for x in map(column, means) if TAIL / 2 < bootstrap_interval(x).p_below(MARGIN) < TAIL)
    assert judged(edge).status is NO
    assert judged(edge, column(0.3, 1)).status is OPEN
    assert judged(edge, column(0.3, 1)).p_below == 2 * bootstrap_interval(edge).p_below(MARGIN)
    assert judged(edge, edge, edge).status is OPEN


def test_a_p_is_never_above_one():
    assert judged(column(0.3, 0), column(0.4, 1), column(0.5, 2)).p_below == 1.0


def test_what_is_shown_is_the_least_mean_though_another_is_less_sure():
    steady, wild = column(0.12, 0, 0.001), column(0.2, 1, 0.5)
    found = judged(wild, steady)
    assert shown(found) == shown(bootstrap_interval(steady))
    assert found.p_above == bootstrap_interval(wild).p_above(MARGIN)
    assert found.status is OPEN


def without(x, undefined):
    return np.where(np.arange(len(x)) < undefined, math.nan, x)


@pytest.mark.parametrize("undefined, counts", [(0, True), (4, True), (5, False), (8, False)])
def test_a_control_defined_in_under_half_of_the_seeds_does_not_count(undefined, counts):
    """It would say no, alone; and where it does not count, p is not multiplied for it."""
    good, bad = column(0.3, 0), without(column(-0.3, 1), undefined)
    found = judged(good, bad)
    assert found == judged(bad, good)
    if counts:
        assert found.status is NO
        assert shown(found) == shown(bootstrap_interval(bad))
        assert found.n == 8 - undefined
    else:
        assert found == judged(good)
        assert found.status is YES


@pytest.mark.parametrize("undefined, counts", [(4, True), (6, True), (7, False)])
def test_under_half_is_of_the_best_defined_control(undefined, counts):
    """Where SoLU + LN's own number is undefined in half of the seeds, a control cannot be defined in more."""
    good, bad = without(column(0.3, 0), 4), without(column(-0.3, 1), undefined)
    found = judged(good, bad)
    assert (found == judged(good)) is not counts
    if undefined == 6:  # two seeds have no interval: nothing is known against this control
        assert (found.status, found.n) == (OPEN, 2)


def test_seeds_left_out_are_left_out_of_every_control():
    a, b = column(0.3, 0), column(0.25, 1)
    where = [True, False, True, True, False, True, True, True]
    kept = np.array(where)
    assert judged(a, b, where=where) == judged(a[kept], b[kept])
    assert judged(a, b, where=where).n == 6
    assert judged(a, b, where=[True] * 8) == judged(a, b)


def test_a_control_counts_by_the_seeds_that_are_left():
    good, bad = column(0.3, 0), without(column(-0.3, 1), 5)
    assert judged(good, bad).status is YES
    left = np.arange(8) >= 4  # four seeds, in three of which it is defined
    found = judged(good, bad, where=left.tolist())
    assert (found.status, found.n) == (OPEN, 3)


@pytest.mark.parametrize("controls", [1, 3])
def test_nothing_defined_is_open(controls):
    for found in (
        judged(*[np.full(8, math.nan)] * controls),
        judged(*[column(0.3, 0)] * controls, where=[False] * 8),
    ):
        assert (found.n, found.p_above, found.p_below, found.status) == (0, 1.0, 1.0, OPEN)
        assert math.isnan(found.mean)


@pytest.mark.parametrize("seeds", range(1, FEWEST_SEEDS))
def test_too_few_seeds_are_open(seeds):
    found = judged(column(5.0, 0, 0.001, seeds), column(-5.0, 1, 0.001, seeds))
    assert (found.n, found.p_above, found.p_below, found.status) == (seeds, 1.0, 1.0, OPEN)
    assert found.mean == pytest.approx(-5.0)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_three_noisy_controls_do_not_make_a_no_of_an_effect_at_the_margin():
    """The largest of three noisy controls, seed by seed, is too large: by it, most of these would be a no."""
    rng, repeats = np.random.default_rng(1), 100
    each, largest = [], []
    for _ in range(repeats):
        own, controls = MARGIN + 0.05 * rng.normal(size=16), 0.05 * rng.normal(size=(16, 3))
        each.append(from_seeds("s", torch.from_numpy(own[:, None] - controls), MARGIN).status)
        largest.append(from_seeds("s", torch.from_numpy(own - controls.max(1)), MARGIN).status)
    assert each.count(NO) < 0.1 * repeats
    assert each.count(YES) <= 0.05 * repeats
    assert largest.count(NO) > 0.6 * repeats
