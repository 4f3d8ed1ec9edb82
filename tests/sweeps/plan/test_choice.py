"""The choice of a candidate for each arm: the smallest mean, ties and divergence, and plans that are tuned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TINY
from toymodels.sweeps.plan.choice import at_ends, choose
from toymodels.sweeps.plan.extending import continued, extended, refusal, tuned_alike
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.spec.candidates import tuning_sweep, unchosen, with_chosen
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.sweep import Sweep, parse
from toymodels.sweeps.spec.tune import Chosen, Tuning

RATES, SCALES = "[1e-3, 1e-2, 1e-1]", "[1, 2]"


def sweep(rates: str = RATES, scales: str = SCALES, rest: str = TINY, seeds: str = "[1000, 1001]") -> Sweep:
    tune = f'\n[tune]\nseeds = {seeds}\n"train.learning_rate" = {rates}\n"model.init_scale" = {scales}\n'
    return parse(rest + tune, "tiny", "tiny.toml")


def plan_of(chosen: Sweep) -> Plan:
    return make_plan(tuning_sweep(chosen))


def losses(plan: Plan, round_to: int = 9) -> np.ndarray:
    """A loss of each model that depends on its settings alone."""
    return np.array([round(int(key[:6], 16) / 2**24, round_to) for key in plan.keys])


def choices(chosen: Sweep) -> list[dict[str, object]]:
    assert chosen.tuning is not None
    return [dict(each.settings) for each in chosen.tuning.chosen]


def test_each_arm_gets_the_candidate_of_the_smallest_mean() -> None:
    plan, told = plan_of(sweep()), losses(plan_of(sweep()))
    chosen, notes = choose(sweep(), plan, told)
    assert notes == []
    assert unchosen(chosen) == []
    tuning = chosen.tuning
    assert tuning is not None
    settings = [plan.settings([model])[0] for model in range(len(plan))]
    for choice in tuning.chosen:
        means: dict[tuple[float, float], list[float]] = {}
        for each, loss in zip(settings, told, strict=True):
            if all(each[name] == value for name, value in choice.arm.items()):
                means.setdefault((each["model.init_scale"], each["train.learning_rate"]), []).append(loss)
        assert [len(of) for of in means.values()] == [2] * 6
        best = min(means, key=lambda candidate: sum(means[candidate]))
        assert tuple(choice.settings.values()) == best
        assert choice.loss_fraction == pytest.approx(sum(means[best]) / 2)
        assert choice.candidates == 6


def test_candidates_within_one_percent_are_counted() -> None:
    told = np.tile(np.array([0.5, 0.504, 0.5051, 0.506, 0.3, np.nan]).repeat(2), 4)
    told[8::12] = 0.9  # of the fifth candidate one seed, so that its mean is far
    order = sweep("[1, 2, 3, 4, 5, 6]", "[1]")
    plan = plan_of(order)
    settings = plan.settings(range(len(plan)))
    place = {(rate, seed): i for i, (rate, seed) in enumerate((r, s) for r in range(1, 7) for s in (1000, 1001))}
    chosen, _ = choose(
        order, plan, np.array([told[place[each["train.learning_rate"], each["seed"]]] for each in settings])
    )
    assert chosen.tuning is not None
    assert [(each.loss_fraction, each.near) for each in chosen.tuning.chosen] == [(0.5, 1)] * 4
    assert parse(resolved_toml(chosen), "tiny", "tiny.toml").tuning == chosen.tuning
    tied, _ = choose(order, plan, np.zeros(48))
    assert tied.tuning is not None
    assert [each.near for each in tied.tuning.chosen] == [5] * 4
    lost, _ = choose(order, plan, np.full(48, np.nan))
    assert lost.tuning is not None
    assert ["near" in each.document() for each in lost.tuning.chosen] == [False] * 4


def with_rates(rates: list[float], axis: str = RATES, loss: float | None = 0.5) -> Tuning:
    """The tuning in which the four arms chose these rates."""
    of = sweep(axis)
    made = [
        Chosen(arm, {"model.init_scale": 1, "train.learning_rate": rate}, 6, loss)
        for arm, rate in zip(of.arms, rates, strict=True)
    ]
    tuning = with_chosen(of, made).tuning
    assert tuning is not None
    return tuning


@pytest.mark.parametrize("axis", [RATES, "[1e-2, 1e-1, 1e-3]"])
def test_many_arms_at_the_ends_of_an_axis_are_said(axis: str) -> None:
    said = (
        "2 of 4 arms chose the smallest or the largest value of 'train.learning_rate' in the tuning: its best may lie "
        "beyond."
    )
    assert at_ends(with_rates([1e-1, 1e-2, 1e-2, 1e-3], axis)) == [said]
    assert at_ends(with_rates([1e-1, 1e-2, 1e-2, 1e-2], axis)) == []  # a quarter is not more than that


def test_ends_are_said_of_nothing_else() -> None:
    assert at_ends(with_rates([1e-3] * 4, "[1e-3, 1e-2]")) == []
    assert at_ends(with_rates([1e-3] * 4, loss=None)) == []
    tuning = sweep().tuning
    assert tuning is not None
    assert at_ends(tuning) == []


def test_of_equal_candidates_the_earlier_is_chosen() -> None:
    chosen, _ = choose(sweep(), plan_of(sweep()), np.full(48, 0.5))
    assert choices(chosen) == [{"model.init_scale": 1, "train.learning_rate": 1e-3}] * 4
    turned = sweep("[1e-1, 1e-2, 1e-3]", "[2, 1]")
    chosen, _ = choose(turned, plan_of(turned), np.full(48, 0.5))
    assert choices(chosen) == [{"model.init_scale": 2, "train.learning_rate": 1e-1}] * 4


def test_the_order_of_the_axes_and_of_their_values_changes_no_choice_without_ties() -> None:
    chosen, _ = choose(sweep(), plan_of(sweep()), losses(plan_of(sweep())))
    turned = sweep("[1e-2, 1e-1, 1e-3]", "[2, 1]")
    again, _ = choose(turned, plan_of(turned), losses(plan_of(turned)))
    assert choices(again) == choices(chosen)


def test_a_candidate_that_diverges_on_one_seed_is_not_chosen() -> None:
    plan = plan_of(sweep())
    settings = plan.settings(range(len(plan)))
    told = np.array([each["train.learning_rate"] for each in settings])
    told[[each["train.learning_rate"] == 1e-3 and each["seed"] == 1001 for each in settings]] = np.nan
    chosen, notes = choose(sweep(), plan, told)
    assert choices(chosen) == [{"model.init_scale": 1, "train.learning_rate": 1e-2}] * 4
    assert notes == []


def test_an_arm_that_always_diverges_keeps_what_the_file_says_and_that_is_said() -> None:
    plan = plan_of(sweep())
    told = losses(plan)
    told[[each["model.activation"] == "solu" for each in plan.settings(range(len(plan)))]] = np.inf
    chosen, notes = choose(sweep(), plan, told)
    assert choices(chosen)[2:] == [{"model.init_scale": 1, "train.learning_rate": 1e-3}] * 2
    assert chosen.tuning is not None
    assert [each.loss_fraction for each in chosen.tuning.chosen][2:] == [None, None]
    assert len(notes) == 2
    assert notes[0] == (
        "model.activation solu, model.layer_norm False: every candidate diverged in the tuning, so it runs with "
        "model.init_scale 1.0, train.learning_rate 0.001"
    )
    said = TINY.replace("steps = 30", "steps = 30\nlearning_rate = 0.5").replace(
        "hidden = 2", "hidden = 2\ninit_scale = 3"
    )
    stated = sweep(rest=said)
    chosen, notes = choose(stated, plan_of(stated), np.full(48, np.nan))
    assert choices(chosen) == [{"model.init_scale": 3, "train.learning_rate": 0.5}] * 4
    assert len(notes) == 4


def test_what_was_chosen_before_is_kept() -> None:
    plan = plan_of(sweep())
    chosen, _ = choose(sweep(), plan, losses(plan))
    again, notes = choose(chosen, plan, np.full(48, np.nan))
    assert (again, notes) == (chosen, [])


def test_a_tuning_that_lacks_a_candidate_chooses_nothing() -> None:
    fewer = sweep("[1e-3]")
    with pytest.raises(ValueError, match="is in the plan of its tuning"):
        choose(sweep(), plan_of(fewer), np.zeros(16))


# ------------------------------------------------------------------------------------------------------- plans


def test_a_tuned_sweep_is_another_one_even_where_its_models_are_the_same() -> None:
    untuned, tuned = make_plan(parse(TINY, "tiny", "tiny.toml")), make_plan(sweep())
    assert tuned.keys == untuned.keys
    assert tuned.hash != untuned.hash
    assert make_plan(sweep("[1e-3]")).hash != tuned.hash
    for old, new in ((untuned, tuned), (tuned, untuned)):
        assert not tuned_alike(old.sweep, new.sweep)
        assert continued(old, new, False) is new
        assert continued(old, new, True) is new
        sentence = refusal(old, new, Path("run/sweep.toml"), Path("run"))
        assert sentence == "holds another sweep (changed: tune): give --out another folder"


def test_a_tuned_sweep_is_extended_by_one_that_is_tuned_in_the_same_way() -> None:
    more = TINY.replace("[0, 2]", "[0, 3]")
    old = make_plan(sweep())
    assert extended(old, make_plan(sweep(rest=more))) is not None
    assert extended(old, make_plan(sweep("[1e-3, 1.0]", rest=more))) is None
    assert extended(old, make_plan(sweep(seeds="[1000]", rest=more))) is None
    assert extended(old, make_plan(parse(more, "tiny", "tiny.toml"))) is None
    wider = make_plan(sweep("[1e-3, 1.0]"))
    assert continued(old, wider, extend=False) is wider
    assert continued(old, wider, extend=True) is wider
