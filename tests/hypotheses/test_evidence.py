"""How statistics of tiers are put together, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.evidence import beyond_controls, mean_over

NAN, INF = math.nan, math.inf


def beyond(main, *controls):
    names = ("gelu + LN", "relu + LN", "linear + LN")
    measured = {MAIN: {"s": torch.tensor(main)}} | {
        name: {"s": torch.tensor(values)} for name, values in zip(names, controls, strict=False)
    }
    return beyond_controls(measured, lambda of: of["s"]).tolist()


def test_a_mean_is_of_what_is_defined_and_inside():
    values = torch.tensor([[1.0, 2.0, NAN, 8.0], [NAN, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    where = torch.tensor([[True, True, True, False], [True, False, False, False], [False] * 4])
    found = mean_over(values, where)
    assert found[0].item() == 1.5
    assert found[1:].isnan().all()


def test_the_largest_control_counts_seed_by_seed():
    assert beyond([5.0, 5.0], [1.0, 4.0], [3.0, 2.0], [-9.0, -9.0]) == [2.0, 1.0]


def same(found, expected):
    return torch.equal(torch.tensor(found).nan_to_num(nan=-99.0), torch.tensor(expected).nan_to_num(nan=-99.0))


def test_an_undefined_control_does_not_count_and_none_at_all_is_undefined():
    assert same(beyond([5.0, 5.0], [NAN, NAN], [3.0, NAN]), [2.0, NAN])


@pytest.mark.parametrize("diverged", [INF, -INF])
def test_a_control_that_diverged_does_not_count_either(diverged):
    """log 0 or x / 0 in one control is undefined, not the largest float there is."""
    assert same(beyond([5.0, 5.0, 5.0], [diverged] * 3, [3.0, diverged, NAN]), [2.0, NAN, NAN])


@pytest.mark.parametrize("own", [NAN, INF, -INF])
def test_what_is_undefined_in_the_model_itself_is_undefined(own):
    assert same(beyond([own, 5.0], [1.0, 1.0]), [NAN, 4.0])
