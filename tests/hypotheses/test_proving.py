"""The battery on constructed models whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from toymodels.hypotheses.answers import Answer
from toymodels.hypotheses.constructed import CONSTRUCTIONS, VARIANTS
from toymodels.hypotheses.proving import BY_NAME, SIZES, Control, controls, proof, prove
from toymodels.hypotheses.statistics.intervals import Status


def test_the_first_construction_alone_has_two_tiers():
    assert [c.name for c in CONSTRUCTIONS if Answer.TWO_TIERS in c.truth] == ["two tiers"]
    assert CONSTRUCTIONS[0].truth == (Answer.TWO_TIERS,)
    assert not [c.name for c in CONSTRUCTIONS if Answer.UNDETERMINED in c.truth]


def test_controls_cover_every_construction_and_every_variant_but_not_their_product():
    found = controls()
    assert {c.construction for c in found} == set(BY_NAME)
    assert {c.variant for c in found if c.construction == "two tiers"} == {v.name for v in VARIANTS}
    for variant in VARIANTS[1:]:
        assert len({c.construction for c in found if c.variant == variant.name}) == 3
    assert {c.construction for c in found if c.variant != "plain"} == set(BY_NAME)
    assert {c.construction for c in found if c.counterparts} == set(BY_NAME)
    assert {c.hidden for c in found} == set(SIZES)
    assert len(set(found)) == len(found) < len(BY_NAME) * len(VARIANTS)
    assert {c.values for c in found} == {"binary", "uniform"}


def test_fewer_are_each_construction_once():
    assert [c.construction for c in controls(short=True)] == list(BY_NAME)


def small(name: str, **changed) -> Control:
    return Control(name, "plain", 24, seeds=tuple(range(2000, 2012)), samples=16_384, **changed)


@pytest.mark.parametrize("name", ["two tiers", "two tiers, an axis each", "bimodal without LN"])
def test_it_is_right_on_what_is_most_alike(name):
    (found,) = prove([small(name)], processes=1)
    assert found.right, (found.answer, found.decided_by)


def test_what_is_right_is_in_the_truth_and_two_tiers_must_be_added_where_that_was_asked():
    of = proof(small("identity"))
    assert of.answer is Answer.NOT_TESTABLE
    assert of.right
    assert not replace(of, answer=Answer.UNDETERMINED).right
    assert not replace(of, answer=Answer.TWO_TIERS).right
    asked = replace(of, control=small("two tiers", counterparts=True), answer=Answer.TWO_TIERS)
    assert replace(asked, adds=Status.SUPPORTED).right
    assert not replace(asked, adds=Status.UNDETERMINED).right


@pytest.mark.slow
@pytest.mark.parametrize("control", controls(), ids=lambda c: f"{c.construction}, {c.variant}, {c.values}")
def test_it_is_right_on_every_control(control):
    found = proof(control)
    assert found.right, (found.answer, found.decided_by)
