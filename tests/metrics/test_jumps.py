"""Jumps: trajectories built by hand whose jumps are known, and movements that have none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toymodels.metrics.jumps import WINDOW, Jump, jumps, share_in_jumps, share_met
from toymodels.training.recipe import log_spaced

STEP = log_spaced(20_000, 250)
LOG = np.log(STEP)


def sigmoid(at: float, width: float = 0.02) -> np.ndarray:
    """From 0 to 1 around the step ``at``, within some ``width`` of log steps."""
    return 1 / (1 + np.exp(-(LOG - math.log(at)) / width))


def test_a_step_between_two_levels_is_one_jump_of_its_height_where_it_is() -> None:
    values = np.stack([0.5 * sigmoid(3000), np.full(len(STEP), 0.25), 1 - 0.5 * sigmoid(800)])
    second, first = jumps(STEP, values, 0.1)[::-1]
    assert (first.series, second.series) == (2, 0)
    assert first.start < 800 < first.end
    assert second.start < 3000 < second.end
    assert first.change == pytest.approx(-0.5, abs=5e-3)
    assert second.change == pytest.approx(0.5, abs=5e-3)


def test_two_steps_of_one_series_are_two_jumps() -> None:
    found = jumps(STEP, (0.5 * sigmoid(300) + 0.5 * sigmoid(3000))[None], 0.1)
    assert [jump.start < at < jump.end for jump, at in zip(found, (300, 3000), strict=True)] == [True, True]


@pytest.mark.parametrize(
    "values",
    [
        LOG / LOG[-1],
        1 - np.exp(-STEP / 1000),
        np.sin(LOG),
        sigmoid(1000, width=0.5),
        0.09 * sigmoid(1000),
        STEP.astype(float),
    ],
    ids=["line", "approach", "wave", "slow", "small", "growth"],
)
def test_what_moves_slowly_or_little_has_no_jump(values: np.ndarray) -> None:
    height = 0.1 * max(1.0, float(values.max()))
    assert jumps(STEP, values[None], height) == []


def test_jumps_do_not_depend_on_the_unit_of_time_or_the_sign_and_level_of_the_values() -> None:
    values = np.stack([0.5 * sigmoid(3000), 0.3 * sigmoid(300) + 0.1 * np.sin(LOG)])
    found = jumps(STEP, values, 0.1)
    slower = jumps(7 * STEP, values, 0.1)
    assert [jump.start for jump in slower] == pytest.approx([7 * jump.start for jump in found])
    turned = jumps(STEP, 2 - values, 0.1)
    assert [(jump.series, jump.start) for jump in turned] == [(jump.series, jump.start) for jump in found]
    assert [jump.change for jump in turned] == pytest.approx([-jump.change for jump in found])
    swapped = jumps(STEP, values[::-1], 0.1)
    assert [1 - jump.series for jump in swapped] == [jump.series for jump in found]


def test_the_share_in_jumps_of_a_step_is_all_of_it_and_of_a_step_on_a_drift_its_part() -> None:
    step = 0.5 * sigmoid(3000)
    assert share_in_jumps(STEP, step[None], jumps(STEP, step[None], 0.1)) == pytest.approx(1, abs=0.01)
    drift = 0.5 * LOG / LOG[-1]
    both = np.stack([step, drift])
    assert share_in_jumps(STEP, both, jumps(STEP, both, 0.1)) == pytest.approx(0.5, abs=0.01)
    assert share_in_jumps(STEP, drift[None], []) == 0
    assert math.isnan(share_in_jumps(STEP, np.ones((2, len(STEP))), []))


def test_noise_within_windows_is_no_movement() -> None:
    rng = np.random.default_rng(0)
    quiet = 0.5 * sigmoid(3000)[None]
    noisy = quiet + 0.002 * rng.standard_normal(quiet.shape)
    fine = np.abs(np.diff(noisy)).sum()
    assert fine > 0.8
    assert share_in_jumps(STEP, noisy, jumps(STEP, noisy, 0.1)) > 0.85


def test_jumps_meet_where_their_windows_overlap() -> None:
    jump, near, far = (Jump(0, start, 0.5) for start in (100.0, 100.0 * WINDOW - 1, 100.0 * WINDOW))
    assert jump.meets(near)
    assert near.meets(jump)
    assert not jump.meets(far)
    assert share_met([jump, far], [jump]) == 0.5
    assert share_met([jump], []) == 0
    assert math.isnan(share_met([], [jump]))
