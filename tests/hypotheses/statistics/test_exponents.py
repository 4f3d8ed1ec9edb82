"""Exponents: exact for power laws, NumPy's line for anything, and undefined without a spread of x."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toymodels.hypotheses.statistics.exponents import BENT, bends, exponent


@pytest.mark.parametrize("a", [-1.0, 0.0, 0.5, 2.0])
def test_a_power_law_has_its_exponent(a: float) -> None:
    x = np.array([8.0, 16.0, 32.0, 100.0])
    assert exponent(x, 3 * x**a) == pytest.approx(a)
    assert exponent(7 * x, x**a) == pytest.approx(a)


def test_it_is_the_least_squares_line_of_the_logarithms() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(1, 9, 20), rng.uniform(1, 9, 20)
    assert exponent(x, y) == pytest.approx(np.polyfit(np.log(x), np.log(y), 1)[0])
    beside = exponent([*x, 3.0, 4.0, np.nan], [*y, 0.0, np.nan, 2.0])
    assert beside == pytest.approx(exponent(x, y))


def test_without_two_values_of_x_it_is_undefined() -> None:
    assert math.isnan(exponent([2.0, 2.0], [1.0, 3.0]))
    assert math.isnan(exponent([], []))


def test_what_bends_is_no_power_law_and_two_points_cannot_say() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    for y, expected in ((x**1.3, False), (x + x**3, True)):
        between = [exponent(x[k : k + 2], y[k : k + 2]) for k in range(3)]
        assert bends(between) is expected
    assert bends([1.0, 1.0 + 1.01 * BENT, math.nan]) is True
    assert bends([1.0, math.nan]) is None
    assert bends([]) is None
