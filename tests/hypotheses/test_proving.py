"""The battery on models whose answer is known, at widths and seeds that it was not tuned on."""

from __future__ import annotations

import pytest

from toymodels import Binary, UniformValues
from toymodels.hypotheses.constructed import CONSTRUCTIONS
from toymodels.hypotheses.proving import SIZES, VALUE_LAWS, prove

SEEDS = range(1000, 1008)
"""fewer than `prove` takes by itself, for time"""
BY_NAME = {c.name: c for c in CONSTRUCTIONS}


def test_the_first_construction_alone_has_two_tiers():
    assert [c.name for c in CONSTRUCTIONS if c.two_tiers] == ["two tiers"]


@pytest.mark.parametrize(
    "name, values",
    [("two tiers", Binary()), ("bimodal without LN", Binary()), ("bimodal, equal amplitudes", UniformValues())],
)
def test_it_is_right_on_what_is_most_alike(name, values):
    (proof,) = prove(sizes=[20], values=[values], constructions=[BY_NAME[name]], seeds=SEEDS)
    assert proof.right, proof.verdict.predictions


@pytest.mark.slow
@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("values", VALUE_LAWS, ids=lambda v: v.name)
def test_it_is_right_on_every_construction(hidden, values):
    for proof in prove(sizes=[hidden], values=[values]):
        assert proof.right, (proof.construction.name, proof.verdict.predictions)
