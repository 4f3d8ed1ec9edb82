"""Equal budgets: exact where a measure is linear in the logarithm of the budget, silent outside, seed by seed."""

from __future__ import annotations

import numpy as np
import pytest

from toymodels.hypotheses.statistics.equal_budget import at_budget

BUDGETS = np.array([400.0, 100.0, 1600.0])


def test_what_is_linear_in_the_logarithm_is_met_exactly_in_any_order_of_widths():
    slopes = np.array([2.0, -1.0])
    values = np.log(BUDGETS)[:, None] * slopes + 5
    for wanted in (100, 150, 400, 800, 1600):
        np.testing.assert_allclose(at_budget(BUDGETS, values, wanted), np.log(wanted) * slopes + 5, rtol=1e-12)


def test_outside_nothing_is_said():
    values = np.ones((3, 2))
    assert np.isnan(at_budget(BUDGETS, values, 99)).all()
    assert np.isnan(at_budget(BUDGETS, values, 1601)).all()


def test_a_seed_without_a_width_that_is_needed_is_undefined_and_the_others_are_not():
    values = np.array([[1.0, 1.0], [0.0, np.nan], [2.0, 2.0]])
    assert at_budget(BUDGETS, values, 200)[0] == pytest.approx(0.5)
    assert np.isnan(at_budget(BUDGETS, values, 200)[1])
    assert at_budget(BUDGETS, values, 800).tolist() == pytest.approx([1.5, 1.5])
    assert at_budget(BUDGETS, values, 400).tolist() == [1, 1]


def test_equal_budgets_are_refused():
    with pytest.raises(ValueError, match="expected different ones"):
        at_budget(np.array([1.0, 1.0]), np.ones((2, 1)), 1)
