"""Recipes, schedules and log-spaced steps."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toymodels import Constant, Cosine, LinearDecay, Training
from toymodels.training.recipe import log_spaced


@given(st.integers(1, 10**6), st.integers(0, 200))
def test_log_spaced_steps_are_distinct_ordered_and_end_at_the_last(last, points):
    steps = log_spaced(last, points)
    assert len(steps) <= points
    assert (np.diff(steps) > 0).all()
    if points:
        assert steps[-1] == last
    if points > 1:
        assert steps[0] == 1


@pytest.mark.parametrize("schedule", [Constant(), LinearDecay(), Cosine()], ids=lambda s: s.name)
def test_schedules_begin_at_one_and_their_period_is_the_run(schedule):
    factors = [schedule.factor(t / 100) for t in range(100)]
    assert factors[0] == 1
    assert all(a >= b for a, b in itertools.pairwise(factors))
    end = {"constant": 1, "linear": 0, "cosine": 0}[schedule.name]
    assert schedule.factor(1 - 1e-9) == pytest.approx(end, abs=1e-8)
    assert Cosine().factor(0.25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


@pytest.mark.parametrize(
    "field, value",
    [
        ("steps", 0),
        ("batch", 0),
        ("curve_points", 0),
        ("snapshots", -1),
        ("learning_rate", -1.0),
        ("weight_decay", math.nan),
    ],
)
def test_nonsense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(Training(), **{field: value})
