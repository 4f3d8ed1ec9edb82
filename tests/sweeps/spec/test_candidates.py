"""The sweep that tunes another, and the arms that two sweeps share."""

from __future__ import annotations

import itertools

import pytest

from tests.conftest import BODY, TINY
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.candidates import carried_over, trials_of, tuning_sweep, unchosen, with_chosen
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.sweep import Sweep, parse
from toymodels.sweeps.spec.tune import Chosen

TUNE = (
    '\n[tune]\nseeds = [1000, 1001]\nsteps = 0.5\n"train.learning_rate" = [1e-3, 1e-2]\n"model.init_scale" = [1, 2]\n'
)


def sweep(rest: str = TINY, tune: str = TUNE) -> Sweep:
    return parse(rest + tune, "tiny", "tiny.toml")


def with_first_chosen(of: Sweep) -> Sweep:
    """Everything chosen: of each arm another candidate, so that arms can be told apart."""
    assert of.tuning is not None
    candidates = itertools.cycle(of.tuning.candidates)
    return with_chosen(of, [Chosen(arm, next(candidates), 4, float(place)) for place, arm in enumerate(of.arms)])


def test_every_arm_is_tried_with_every_candidate_on_every_seed() -> None:
    trials = tuning_sweep(sweep())
    cells = [trials.settings(cell) for cell in range(len(trials))]
    assert len(cells) == 4 * 4 * 2
    assert {cell["train.steps"] for cell in cells} == {15}
    assert {cell["seed"] for cell in cells} == {1000, 1001}
    assert trials.tuning is None
    tried = [each.key() for arm in sweep().arms for each in trials_of(sweep(), arm)]
    assert sorted(tried) == sorted(cell.key() for cell in cells)


def test_the_default_of_steps_is_shortened_too() -> None:
    assert tuning_sweep(sweep(TINY.replace("steps = 30", ""))).settings(0)["train.steps"] == 5000


def test_arms_that_differ_in_nothing_but_their_steps_may_share_their_trials() -> None:
    steps = TINY + '"train.steps" = [1, 2, 3, 30]\n'
    trials = tuning_sweep(sweep(steps))
    assert trials.grid["train.steps"] == (1, 2, 15)
    plan = make_plan(trials)
    for arm in sweep(steps).arms:
        assert {each.key() for each in trials_of(sweep(steps), arm)} <= set(plan.keys)


def test_cases_lose_their_seeds_and_have_their_steps_shortened() -> None:
    cases = """
[[case]]
seed = 1
"train.steps" = 10
[[case]]
seed = 2
"train.steps" = 10
[[case]]
"train.batch" = 8
"""
    chosen = sweep(BODY, TUNE + cases)
    assert chosen.seeds() == [1, 2, 0]
    assert chosen.arms == [{"train.steps": 10}, {"train.batch": 8}]
    trials = tuning_sweep(chosen)
    assert trials.cases == ({"train.steps": 5}, {"train.batch": 8})
    assert len(make_plan(trials)) == 2 * 4 * 2


def test_thousands_of_cases_are_many_arms_each_once() -> None:
    cases = "".join(f'[[case]]\n"train.batch" = {n}\nseed = {seed}\n' for n in range(1, 2001) for seed in (0, 1))
    chosen = sweep(BODY, TUNE + cases)
    assert chosen.arms == [{"train.batch": n} for n in range(1, 2001)]
    assert chosen.arms is chosen.arms
    assert tuning_sweep(chosen).cases == tuple(chosen.arms)


def test_what_no_cell_falls_back_on_may_be_anything() -> None:
    odd = TINY.replace("steps = 30", 'steps = "many"') + '"train.steps" = [4]\n'
    assert tuning_sweep(sweep(odd)).settings(0)["train.steps"] == 2


def test_the_tuning_is_a_sweep_file_again() -> None:
    trials = tuning_sweep(sweep())
    again = parse(resolved_toml(trials), "tiny", "t.toml")
    assert make_plan(again).hash == make_plan(trials).hash


def test_all_is_to_be_chosen_until_it_is() -> None:
    assert unchosen(sweep()) == sweep().arms
    assert unchosen(with_first_chosen(sweep())) == []
    assert unchosen(parse(TINY, "tiny", "tiny.toml")) == []


def test_choices_stand_in_the_order_of_the_arms() -> None:
    tuning = with_first_chosen(sweep()).tuning
    assert tuning is not None
    backwards = with_chosen(sweep(), tuning.chosen[::-1]).tuning
    assert backwards == tuning


LARGER = {
    "seeds": TINY.replace("[0, 2]", "[0, 5]"),
    "activations": TINY.replace('["relu", "solu"]', '["gelu", "solu", "relu"]'),
    "another axis": TINY + '"train.batch" = [8, 16]\n',
    "as cases": TINY.replace('"model.layer_norm" = [false, true]\n', "")
    + '[[case]]\n"model.layer_norm" = true\n[[case]]\n"model.layer_norm" = false\n',
    "spelled out": TINY.replace("n = 6", 'n = 6\nvalues = "uniform"\nfrequency = { law = "uniform" }'),
}


@pytest.mark.parametrize("name", LARGER)
def test_arms_are_the_same_where_their_settings_are(name: str) -> None:
    made, larger = with_first_chosen(sweep()), sweep(LARGER[name])
    carried = carried_over(larger, made)
    before = {each.key(): each for each in map(made.settings, range(len(made)))}
    after = {each.key() for each in map(carried.settings, range(len(carried)))}
    assert before.keys() <= after
    assert len(unchosen(carried)) == len(larger.arms) - 4


def test_nothing_is_carried_over_to_an_arm_of_other_settings() -> None:
    made = with_first_chosen(sweep())
    other = sweep(TINY.replace("batch = 16", "batch = 32"))
    assert unchosen(carried_over(other, made)) == other.arms
    fewer = sweep(tune='\n[tune]\nseeds = [1000]\n"train.learning_rate" = [1e-3]\n')
    assert carried_over(fewer, made) == fewer
    for otherwise in (TUNE.replace("1001", "1002"), TUNE.replace("0.5", "1"), TUNE.replace("1e-2", "1e-1")):
        assert carried_over(sweep(tune=otherwise), made) == sweep(tune=otherwise)
    untuned = parse(TINY, "tiny", "tiny.toml")
    assert carried_over(untuned, made) is untuned
    assert carried_over(sweep(), untuned) == sweep()
