"""Contests: what makes a regime and what an arm; layers without LayerNorm stand once, whatever its eps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toymodels.sweeps.execution.run import run as finish
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.arms import conditions
from toymodels.sweeps.results.contests import Contest, contests
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse

SWEEP = """
case = [
    { "model.layer_norm" = false },
    { "model.layer_norm" = true, "model.layer_norm_eps" = 1e-5 },
    { "model.layer_norm" = true, "model.layer_norm_eps" = 1e-12 },
]
[features]
n = 5
density = 0.3
[model]
hidden = 3
activation = "relu"
[train]
steps = 2
batch = 4
[eval]
samples = 64
[grid]
"features.density" = [0.2, 0.4]
"model.hidden" = [3, 4]
"train.weights_kept" = [1.0, 0.5]
"train.learning_rate" = [0.01, 0.02]
seed = [0, 1]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder: Path = tmp_path_factory.mktemp("contests")
    finish(make_plan(parse(SWEEP, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


def found(run: Run, tuned: tuple[str, ...] = ()) -> list[Contest]:
    return contests(run, run.models, tuned)


def test_regimes_are_of_one_task_and_size_and_named_by_what_differs(run: Run) -> None:
    assert [contest.name for contest in found(run)] == [
        "density 0.2, hidden 3",
        "hidden 4",
        "density 0.4",
        "density 0.4, hidden 4",
    ]
    assert found(run)[1].settings == {"features.density": 0.2, "model.hidden": 4}


def test_everything_else_is_an_arm_named_by_its_layer_and_what_differs(run: Run) -> None:
    first = found(run)[0]
    layers = ("relu", "relu + LN", "relu + LN, layer_norm_eps 1e-12")
    assert {arm.name for arm in first.arms if arm.kept == 1 and "rate" not in arm.name} == set(layers)
    assert len(first.arms) == 3 * 2 * 2
    (arm,) = (arm for arm in first.arms if arm.name == "relu, learning_rate 0.02, weights_kept 0.5")
    assert (arm.layer, arm.kept) == ("relu", 0.5)
    assert list(arm.models.index) == [0, 1]
    assert set(arm.models["train.learning_rate"]) == {0.02}


def test_what_is_tuned_is_each_arms_own(run: Run) -> None:
    first = found(run, ("train.learning_rate",))[0]
    assert len(first.arms) == 3 * 2
    assert all(len(arm.models) == 4 for arm in first.arms)


def test_numbers_are_paired_by_seed(run: Run) -> None:
    first = found(run)[0]
    arm = first.arms[2]
    without = first.arms[1].models.drop(index=0)
    shorter = Contest(first.name, first.settings, [arm, type(arm)("short", "relu", 1.0, without)])
    numbers = shorter.numbers("loss")
    assert torch.isnan(numbers[1, 0])
    assert numbers[0].tolist() == arm.models["loss"].tolist()
    assert numbers[1, 1] == without["loss"].iloc[0]


def test_what_the_first_has_and_another_lacks_is_said() -> None:
    first = {
        "features.n": 8,
        "model.embedding": 4,
        "features.frequency.law": "zipf",
        "features.frequency.exponent": 1.0,
    }
    none = first | {"model.embedding": None}
    assert conditions([first, none]) == ["n 8, embedding 4, frequency zipf", "no embedding"]
    uniform = {"features.n": 9, "features.frequency.law": "uniform", "features.frequency.exponent": None}
    assert conditions([first, none | uniform])[1] == "n 9, no embedding, frequency uniform"
    assert conditions([none, first], ["relu", "relu"]) == ["", "embedding 4"]


def test_a_switch_that_is_off_tells_arms_apart_and_none_is_left_out(tmp_path: Path) -> None:
    head = SWEEP[SWEEP.index("[features]") : SWEEP.index("[grid]")]
    switches = '[grid]\n"model.hidden_bias" = [true, false]\n"model.activation" = ["relu", "solu"]\n'
    finish(make_plan(parse(head + switches, "tiny", "tiny.toml")), tmp_path, "autograd", "cpu")
    of = load(tmp_path)
    (contest,) = contests(of, of.models, ())
    assert sorted(arm.name for arm in contest.arms) == ["relu", "relu, no hidden_bias", "solu", "solu, no hidden_bias"]


def test_two_exponents_of_one_law_have_two_names() -> None:
    zipf = {"features.frequency.law": "zipf", "features.frequency.exponent": 1.0}
    names = conditions([{"features.frequency.law": "uniform"}, zipf, zipf | {"features.frequency.exponent": 2.0}])
    assert len(set(names)) == 3
    assert "exponent 2" in names[2]
