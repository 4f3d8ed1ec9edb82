"""Every shipped sweep plans the models, keys and packs that it planned."""

from __future__ import annotations

import pytest

from .door import door
from .planning import plan
from .text import differences, read

RECORDED = read("plans.json")


def test_the_shipped_sweeps_are_those_recorded() -> None:
    listed = {row["name"]: row["models"] for row in door("list", "--json").json()["sweeps"]}
    assert listed == {name: recorded["listed"] for name, recorded in RECORDED.items()}


@pytest.mark.parametrize("name", RECORDED)
def test_a_shipped_sweep_plans_the_same_models(name: str) -> None:
    found = plan(name)
    assert differences(RECORDED[name], found | {"listed": found["models"]}, exact=True) == []
