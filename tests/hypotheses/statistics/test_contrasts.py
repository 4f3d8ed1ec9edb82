"""How statistics of tiers are put together, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from toymodels.hypotheses.statistics.contrasts import beyond_controls, defined, mean_over

NAN, INF = math.nan, math.inf


def beyond(*arms):
    return beyond_controls(torch.tensor(arms).T).tolist()


def test_a_mean_is_of_what_is_defined_and_inside():
    values = torch.tensor([[1.0, 2.0, NAN, 8.0], [NAN, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    where = torch.tensor([[True, True, True, False], [True, False, False, False], [False] * 4])
    found = mean_over(values, where)
    assert found[0].item() == 1.5
    assert found[1:].isnan().all()


def same(found, expected):
    return torch.equal(torch.tensor(found).nan_to_num(nan=-99.0), torch.tensor(expected).nan_to_num(nan=-99.0))


def test_every_control_is_taken_off_by_itself():
    assert beyond([5.0, 5.0], [1.0, 4.0], [3.0, 2.0], [-9.0, -9.0]) == [[4.0, 2.0, 14.0], [1.0, 3.0, 14.0]]
    assert beyond([5.0, 5.0], [1.0, 4.0]) == [[4.0], [1.0]]


def test_an_undefined_control_is_undefined_alone():
    assert same(beyond([5.0, 5.0], [NAN, NAN], [3.0, NAN]), [[NAN, 2.0], [NAN, NAN]])


@pytest.mark.parametrize("diverged", [INF, -INF])
def test_a_control_that_diverged_is_undefined_too(diverged):
    """log 0 or x / 0 in one control is undefined, not the largest float there is."""
    found = beyond([5.0, 5.0, 5.0], [diverged] * 3, [3.0, diverged, NAN])
    assert same(found, [[NAN, 2.0], [NAN, NAN], [NAN, NAN]])


@pytest.mark.parametrize("own", [NAN, INF, -INF])
def test_what_is_undefined_in_the_model_itself_is_undefined(own):
    """Also beyond a control that diverged alike."""
    assert same(beyond([own, 5.0], [1.0, 1.0], [own, 2.0]), [[NAN, NAN], [4.0, 3.0]])


def test_what_is_not_finite_is_undefined():
    assert defined(torch.tensor([1.0, INF, -INF, NAN])).isnan().tolist() == [False, True, True, True]
