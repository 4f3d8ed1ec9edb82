"""Random axes: the same on every machine, of their own name alone, and more of them are the same ones and others."""

from __future__ import annotations

import hashlib
import math

import pytest
from scipy.stats import kstest

from tests.conftest import BODY
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.plan.extending import continued, extends
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.assignments import parse_axis
from toymodels.sweeps.spec.axes import axis_values
from toymodels.sweeps.spec.draws import UNIFORM, drawn
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.sweep import Sweep, parse

DENSITY = "features.density"


def swept(grid: str, top: str = "") -> Sweep:
    return parse(f"{top}{BODY}\n[grid]\n{grid}\n", "file", "file.toml")


def test_a_draw_is_what_the_page_says() -> None:
    (value, *_) = swept(f'"{DENSITY}" = {{ uniform = [0.1, 0.5], n = 3 }}', "seed = 7").grid[DENSITY]
    bits = int.from_bytes(hashlib.sha256(b"axis features.density 7 0").digest()[:8], "big") >> 11
    assert value == pytest.approx(0.1 + 0.4 * (bits + 0.5) / 2**53, rel=1e-11)


def test_pinned_values() -> None:
    """A digit that changes here would give folders that were begun another sweep."""
    assert axis_values("train.learning_rate", {"log_uniform": [1e-4, 1e-1], "n": 2}, "x") == (
        0.00040743684831,
        0.000553241177474,
    )


@pytest.mark.parametrize("law", ["uniform", "log_uniform"])
def test_draws_follow_their_law(law: str) -> None:
    values = axis_values(DENSITY, {law: [0.01, 0.9], "n": 2000}, "x")
    assert all(0.01 < value < 0.9 for value in values)
    share = [(v - 0.01) / 0.89 if law == "uniform" else math.log(v / 0.01) / math.log(90) for v in values]
    assert kstest(share, "uniform").pvalue > 0.01


def test_draws_of_other_names_and_seeds_are_others() -> None:
    a, b, c = (
        axis_values(key, {"uniform": [0, 1], "n": 200}, "x", seed=seed) for key, seed in (("a", 0), ("a", 1), ("b", 0))
    )
    assert not set(a) & set(b)
    assert not set(a) & set(c)
    assert kstest([(x - y) % 1 for x, y in zip(a, c, strict=True)], "uniform").pvalue > 0.01


def test_a_whole_setting_gets_whole_numbers_ends_included() -> None:
    values = swept('"model.hidden" = { uniform = [2, 6], n = 5 }').grid["model.hidden"]
    assert sorted(values) == [2, 3, 4, 5, 6]
    assert all(type(value) is int for value in values)
    seeds = swept("seed = { uniform = [0, 1_000_000_000], n = 8 }").grid["seed"]
    assert len(set(seeds)) == 8
    with pytest.raises(SpecError, match="there are 3 whole numbers from 2 to 4, and n is 5"):
        swept('"model.hidden" = { uniform = [2, 4], n = 5 }')
    with pytest.raises(SpecError, match=r"a whole number, and so must both ends be, got 2\.5 and 4"):
        swept('"model.hidden" = { log_uniform = [2.5, 4], n = 1 }')


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{ uniform = [0.5, 0.1], n = 3 }", "needs its first end below its last, got 0.5 and 0.1"),
        ("{ log_uniform = [0, 0.1], n = 3 }", "needs both ends above 0, got 0 and 0.1"),
        ("{ uniform = [0.1, 0.2] }", "expected a list"),
        ("{ uniform = [0.1, 0.2], n = 0 }", "expected a list"),
        ("{ uniform = [0.1, 0.2], n = true }", "expected a list"),
        ("{ uniform = [nan, 0.2], n = 2 }", "expected a list"),
        ("{ uniform = [0.1, 0.2], n = 2, seed = 1 }", "expected a list"),
        ("{ uniform = [0.1, 0.1000000000001], n = 9 }", "its ends are too close for so many values"),
        ("{ uniform = [0.1, 0.2], n = 100_000_000 }", "more than the 10,000,000"),
    ],
)
def test_what_cannot_be_is_one_sentence(given: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        swept(f'"{DENSITY}" = {given}')


def test_resolved_it_is_a_list_and_the_same_plan() -> None:
    made = swept(f'"{DENSITY}" = {{ uniform = [0.1, 0.5], n = 4 }}\n"model.tied" = [true, false]', "seed = 3")
    again = parse(resolved_toml(made), "file", "sweep.toml")
    assert "uniform = [" not in resolved_toml(made)
    assert make_plan(again).hash == make_plan(made).hash
    beside = swept(f'"{DENSITY}" = {{ uniform = [0.1, 0.5], n = 4 }}', "seed = 3")
    assert beside.grid[DENSITY] == made.grid[DENSITY]  # whatever other axes there are


def test_from_the_command_and_whatever_set_makes_of_the_seed() -> None:
    chosen = swept(f'"{DENSITY}" = [0.2]', "seed = 3")
    values = chosen.with_axis(*parse_axis(f"{DENSITY}={{ uniform = [0.1, 0.5], n = 4 }}")).grid[DENSITY]
    assert values == swept(f'"{DENSITY}" = {{ uniform = [0.1, 0.5], n = 4 }}', "seed = 3").grid[DENSITY]
    first = chosen.with_setting("seed", 9).with_axis(DENSITY, {"uniform": [0.1, 0.5], "n": 4})
    assert first.grid[DENSITY] == values


def test_more_values_extend_a_plan() -> None:
    few, more = (make_plan(swept(f'"{DENSITY}" = {{ log_uniform = [0.1, 0.5], n = {n} }}')) for n in (3, 7))
    assert more.sweep.grid[DENSITY][:3] == few.sweep.grid[DENSITY]
    longer = continued(few, more, extend=True)
    assert extends(longer, few)
    assert len(longer) == 7


def test_a_tuned_setting_may_be_drawn() -> None:
    seeds, rates = "{ uniform = [1000, 2000], n = 2 }", "{ log_uniform = [1e-3, 1e-1], n = 3 }"
    tuning = swept(f'seed = [0]\n[tune]\nseeds = {seeds}\n"train.learning_rate" = {rates}').tuning
    assert tuning is not None
    assert len(tuning.candidates) == 3
    assert len(tuning.seeds) == 2


def test_whole_numbers_below_0_are_drawn_down_to_the_first() -> None:
    assert sorted(drawn(UNIFORM, -3, 3, 7, "any", 0, whole=True) or []) == [-3, -2, -1, 0, 1, 2, 3]
