"""When a tier is too small to be compared: by seed, by tier, and in so many words."""

from __future__ import annotations

import pytest
import torch

from toymodels.hypotheses.statistics.intervals import FEWEST_SEEDS
from toymodels.hypotheses.tiers import FEWEST_FEATURES, too_small
from toymodels.metrics.tiers import Tier

N = 9
NONE, ONE, BOTH = (), (Tier.HIDDEN,), (Tier.HIDDEN, Tier.NEURON)


def of_sizes(*sizes):
    return torch.arange(N).expand(len(sizes), N) < torch.tensor(sizes)[:, None]


FULL = of_sizes(*[5] * 6)
LEAST, SHORT = FEWEST_FEATURES, FEWEST_FEATURES - 1


def test_seeds_in_which_the_tiers_compared_have_enough_features():
    neuron, hidden = of_sizes(LEAST, SHORT, 9, LEAST, 0, 4), of_sizes(LEAST, 9, SHORT, 4, 0, LEAST)
    assert too_small(neuron, hidden, BOTH)[0].tolist() == [True, False, False, True, False, True]
    assert too_small(neuron, hidden, ONE)[0].tolist() == [True, True, False, True, False, True]
    assert too_small(neuron, hidden, NONE)[0].tolist() == [True] * 6
    assert {too_small(neuron, hidden, compared)[1] for compared in (NONE, ONE, BOTH)} == {""}


@pytest.mark.parametrize("short, said", [(0, False), (3, False), (4, True), (6, True)])
def test_a_tier_too_small_in_over_half_of_the_seeds_is_named(short, said):
    small = of_sizes(*[SHORT] * short, *[LEAST] * (6 - short))
    expected = f"fewer than {FEWEST_FEATURES} features in {short} of 6 seeds"
    assert too_small(small, FULL, BOTH)[1] == (f"tier neuron has {expected}" if said else "")
    assert too_small(FULL, small, BOTH)[1] == (f"tier hidden has {expected}" if said else "")
    assert too_small(FULL, small, ONE)[1] == (f"tier hidden has {expected}" if said else "")
    assert too_small(small, FULL, ONE)[1] == ""  # the neuron tier is not compared
    assert too_small(small, small, NONE)[1] == ""


def test_both_tiers_are_named_where_both_are_too_small():
    reason = too_small(of_sizes(*[0] * 5, 9), of_sizes(*[0] * 4, 9, 9), BOTH)[1]
    assert f"tier neuron has fewer than {FEWEST_FEATURES} features in 5 of 6 seeds" in reason
    assert f"tier hidden has fewer than {FEWEST_FEATURES} features in 4 of 6 seeds" in reason


def test_tiers_that_are_small_in_different_seeds_are_not_added_up():
    """Each is there in half of the seeds: no seed is left to compare them in, but neither is missing."""
    neuron, hidden = of_sizes(0, 0, 0, 5, 5, 5), of_sizes(5, 5, 5, 0, 0, 0)
    enough, reason = too_small(neuron, hidden, BOTH)
    assert not enough.any()
    assert reason == ""


@pytest.mark.parametrize("seeds", range(1, 6))
def test_of_too_few_seeds_no_tier_is_called_missing(seeds):
    none = of_sizes(*[0] * seeds)
    enough, reason = too_small(none, none, BOTH)
    assert not enough.any()
    assert bool(reason) is (seeds >= FEWEST_SEEDS)
