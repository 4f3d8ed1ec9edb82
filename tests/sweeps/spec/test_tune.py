"""The ``[tune]`` section: what it may say, what is refused, and what each arm then runs with."""

from __future__ import annotations

import pytest

from tests.conftest import BODY, GRID, TINY
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.candidates import tuning_sweep
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.sweep import Sweep, parse
from toymodels.sweeps.spec.tune import Chosen

TUNE = """
[tune]
seeds = { range = [1000, 1002] }
"train.learning_rate" = [1e-3, 1e-2]
"model.init_scale" = [1, 2]
"""
CHOSEN = """
[[tune.chosen]]
candidates = 4
loss_fraction = 0.5
arm = { "model.activation" = "solu", "model.layer_norm" = true }
settings = { "train.learning_rate" = 0.01, "model.init_scale" = 2 }
"""


def sweep(tune: str = TUNE, rest: str = TINY) -> Sweep:
    return parse(rest + tune, "tiny", "tiny.toml")


def refusal(tune: str, rest: str = TINY) -> str:
    with pytest.raises(SpecError) as caught:
        sweep(tune, rest)
    sentence = str(caught.value)
    assert sentence.startswith("tiny.toml: ")
    assert "\n" not in sentence
    return sentence


def tuned(chosen: Sweep) -> list[tuple[float, float]]:
    cells = [chosen.settings(cell) for cell in range(len(chosen))]
    return [(cell["train.learning_rate"], cell["model.init_scale"]) for cell in cells]


def test_candidates_are_the_cross_product_names_sorted_last_fastest() -> None:
    tuning = sweep().tuning
    assert tuning is not None
    assert tuning.share == 1
    assert list(tuning.seeds) == [1000, 1001]
    assert [tuple(each.values()) for each in tuning.candidates] == [(1, 1e-3), (1, 1e-2), (2, 1e-3), (2, 1e-2)]
    assert list(tuning.candidates[0]) == ["model.init_scale", "train.learning_rate"]


def test_the_section_is_one_more_key_and_nothing_else() -> None:
    plain = parse(TINY, "tiny", "tiny.toml")
    assert plain.tuning is None
    assert "tune" not in resolved_toml(plain)
    assert [sweep().grid, sweep().base] == [plain.grid, plain.base]


@pytest.mark.parametrize("share, steps", [(0.25, 8), (0.01, 1), (0.5, 15), (1, 30)])
def test_a_share_of_the_steps_is_rounded_and_at_least_one(share: float, steps: int) -> None:
    tuning = sweep(TUNE.replace("[tune]", f"[tune]\nsteps = {share}")).tuning
    assert tuning is not None
    assert tuning.steps_of(30) == steps


def test_before_the_choice_each_setting_is_what_the_file_says_or_its_default() -> None:
    other = TUNE.replace("[1e-3, 1e-2]", "[1e-2, 1e-1]").replace("[1, 2]", "[2, 4]")
    assert set(tuned(sweep(other))) == {(1e-3, 1)}
    said = TINY.replace("steps = 30", "steps = 30\nlearning_rate = 0.5")
    assert set(tuned(sweep(other, said))) == {(0.5, 1)}
    assert set(tuned(sweep(rest=said.replace("hidden = 2", "hidden = 2\ninit_scale = 3.0")))) == {(0.5, 3)}


def test_what_was_chosen_is_what_the_cells_of_its_arm_run_with() -> None:
    chosen = sweep(TUNE + CHOSEN)
    assert tuned(chosen) == [(1e-3, 1)] * 6 + [(1e-2, 2)] * 2
    tuning = chosen.tuning
    assert tuning is not None
    arm = {"model.activation": "solu", "model.layer_norm": True}
    expected = Chosen(arm, {"train.learning_rate": 0.01, "model.init_scale": 2}, 4, 0.5)
    assert tuning.choice({**arm, "seed": 17}) == expected
    assert tuning.choice({**arm, "model.layer_norm": False}) is None


def test_the_untuned_values_may_be_chosen_too() -> None:
    said = TINY.replace("steps = 30", "steps = 30\nlearning_rate = 0.5").replace("= 2\n", "= 2\ninit_scale = 3\n", 1)
    chosen = CHOSEN.replace("= 0.01,", "= 0.5,").replace('"model.init_scale" = 2', '"model.init_scale" = 3')
    assert set(tuned(sweep(TUNE + chosen, said))) == {(0.5, 3)}
    assert "expected one of the candidates" in refusal(TUNE + chosen.replace("= 3", "= 4"), said)


def test_a_setting_without_a_default_falls_back_on_its_first_value() -> None:
    rest = TINY.replace("hidden = 2", "tied = false")
    assert sweep(HEAD + '"model.hidden" = [3, 4]', rest).untuned == {"model.hidden": 3}
    inside = sweep(HEAD + '"model.embedding.size" = [3, 4]', TINY.replace("hidden = 2", "hidden = 2\ntied = false"))
    assert inside.untuned == {"model.embedding.size": 3}
    assert inside.settings(0)["model.embedding"] == 3


@pytest.mark.parametrize(
    "tune", [TUNE, TUNE + CHOSEN, TUNE + CHOSEN + "near = 3\n", TUNE + CHOSEN.replace("loss_fraction = 0.5\n", "")]
)
@pytest.mark.parametrize("rest", [TINY, TINY.replace("hidden = 2", "hidden = 2\ninit_scale = 3.0")])
def test_resolved_it_is_the_same_sweep(tune: str, rest: str) -> None:
    chosen = sweep(tune, rest)
    text = resolved_toml(chosen)
    again = parse(text, "tiny", "tiny.toml")
    assert again.tuning == chosen.tuning
    assert resolved_toml(again) == text
    assert tuned(again) == tuned(chosen)
    assert again.untuned == chosen.untuned


def test_set_and_grid_take_a_setting_out_of_the_tuning() -> None:
    fixed = sweep(TUNE + CHOSEN).with_setting("train.learning_rate", 0.1)
    assert fixed.tuning is not None
    assert (list(fixed.tuning.axes), fixed.tuning.chosen) == (["model.init_scale"], ())
    assert set(tuned(fixed)) == {(0.1, 1)}
    assert fixed.with_setting("model.init_scale", 2).tuning is None
    swept = sweep().with_axis("train.learning_rate", [0.1, 0.2]).with_axis("model.init_scale", [1])
    assert swept.tuning is None
    assert len(swept) == 16


def test_what_was_chosen_holds_for_other_seeds_and_for_no_other_settings() -> None:
    chosen = sweep(TUNE + CHOSEN)
    for seeds in (chosen.with_axis("seed", [4, 5]), chosen.with_setting("seed", 3)):
        assert seeds.tuning is not None
        assert len(seeds.tuning.chosen) == 1
    other = chosen.with_setting("train.batch", 32).tuning
    assert other is not None
    assert other.chosen == ()


def test_tuned_settings_and_seeds_are_the_tunings_alone() -> None:
    with pytest.raises(SpecError, match=r"the sweep has seed 1001 too: tune on seeds of its own"):
        sweep().with_axis("seed", [1001])
    with pytest.raises(SpecError, match="the sweep has seed 1000 too"):
        sweep().with_setting("seed", 1000)


ONE = '"train.learning_rate" = [1e-3, 1e-2]\n'
HEAD = "[tune]\nseeds = [1000]\n"
REFUSED = {
    "unknown": (HEAD + '"train.lerning_rate" = [1.0]', "unknown setting 'train.lerning_rate' (did you mean"),
    "unknown key": (HEAD + ONE + "sedes = [1]", "[tune]: unknown setting 'sedes'"),
    "unquoted": (HEAD + "train.learning_rate = [1.0]", '[tune]: a dotted name needs quotes: "train.learning_rate"'),
    "in grid": (HEAD + '"model.activation" = ["gelu"]', "'model.activation' is tuned in [tune] and named in [grid] or"),
    "in case": (
        HEAD + ONE + '[[case]]\n"train.learning_rate" = 0.1',
        "'train.learning_rate' is tuned in [tune] and named in [grid] or [[case]]",
    ),
    "inside": (
        HEAD + '"model.embedding" = [4]\n"model.embedding.size" = [3]',
        "'model.embedding' and 'model.embedding.size' are the same thing",
    ),
    **{
        name: (
            HEAD + f'"{name}" = [{value}]',
            f"[tune]: '{name}' cannot be tuned: it says what is learned, and not how",
        )
        for name, value in {
            "features.density": "0.1, 0.2",
            "features.frequency": '"uniform"',
            "features.frequency.cap": "0.5",
            "task.target": '"absolute"',
            "task.loss": '"cross_entropy"',
        }.items()
    },
    "samples": (HEAD + '"eval.samples" = [256, 512]', "cannot be tuned: it says how models are measured, and not how"),
    "curve points": (HEAD + '"train.curve_points" = [1, 2]', "cannot be tuned: it says what is kept of a training"),
    "snapshots": (HEAD + '"train.snapshots" = [1, 2]', "'train.snapshots' cannot be tuned: it says what is kept of"),
    "seed": (HEAD + "seed = [1, 2]", "'seed' cannot be tuned: the seeds of the tuning are given as seeds"),
    "steps": (HEAD + '"train.steps" = [1, 2]', "'train.steps' cannot be tuned: steps is the share of it"),
    "shared seed": (HEAD.replace("1000", "0, 1, 2") + ONE, "the sweep has seeds [0, 1] too"),
    "nothing": (HEAD, "expected a setting to tune, such as"),
    "no seeds": ("[tune]\n" + ONE, "seeds: missing"),
    "seeds": ("[tune]\nseeds = 3\n" + ONE, "tune 'seeds': expected a list"),
    "a seed": ("[tune]\nseeds = [-1]\n" + ONE, "seeds: expected whole numbers from 0 to 2^63 - 1, got -1"),
    "true": ("[tune]\nseeds = [true]\n" + ONE, "seeds: expected whole numbers"),
    "share 0": (HEAD + "steps = 0\n" + ONE, "steps: expected a share of train.steps, above 0 and at most 1, got 0"),
    "share 2": (HEAD + "steps = 2.0\n" + ONE, "at most 1, got 2.0"),
    "share nan": (HEAD + "steps = nan\n" + ONE, "at most 1, got nan"),
    "share true": (HEAD + "steps = true\n" + ONE, "at most 1, got True"),
    "share word": (HEAD + 'steps = "all"\n' + ONE, "at most 1, got 'all'"),
    "values": (HEAD + '"train.learning_rate" = 0.1', "tune 'train.learning_rate': expected a list"),
    "twice": (HEAD + '"train.learning_rate" = [0.1, 0.1]', "tune 'train.learning_rate': a value stands twice"),
    "none": (HEAD + '"train.learning_rate" = []', "tune 'train.learning_rate': expected at least one value"),
    "primary": (HEAD + ONE + '[primary]\n"train.learning_rate" = 0.1', "and named in [primary]: keep one of them"),
    "chosen": (HEAD + "chosen = 3\n" + ONE, "chosen: expected [[tune.chosen]] tables, got 3"),
    "chosen list": (HEAD + "chosen = [3]\n" + ONE, "chosen: expected [[tune.chosen]] tables, got [3]"),
    "chosen key": (
        TUNE + CHOSEN + "los_fraction = 3",
        "chosen: unknown key 'los_fraction' (did you mean 'loss_fraction'?)",
    ),
    "chosen no arm": (TUNE + "[[tune.chosen]]\ncandidates = 4\n", "chosen: arm: expected a table of settings"),
    "chosen no settings": (TUNE + "[[tune.chosen]]\narm = {}\n", "chosen: settings: expected a table of settings"),
    "chosen settings": (
        TUNE + CHOSEN.replace(', "model.init_scale" = 2', ""),
        "chosen: settings: expected model.init_scale, train.learning_rate, got train.learning_rate",
    ),
    "chosen count": (TUNE + CHOSEN.replace("= 4", "= 0"), "chosen: candidates: expected a whole number from 1, got 0"),
    "chosen loss": (TUNE + CHOSEN.replace("= 0.5", "= inf"), "chosen: loss_fraction: expected a number, got inf"),
    "chosen near": (
        TUNE + CHOSEN + "near = 4\n",
        "chosen: near: expected a whole number from 0, below candidates, got 4",
    ),
    "chosen near true": (TUNE + CHOSEN + "near = true\n", "chosen: near: expected a whole number from 0"),
    "chosen huge loss": (
        TUNE + CHOSEN.replace("= 0.5", f"= 0x1{'0' * 400}"),
        "chosen: loss_fraction: expected a number, got ",
    ),
    "chosen huger loss": (
        TUNE + CHOSEN.replace("= 0.5", f"= 0x1{'0' * 9000}"),
        "chosen: loss_fraction: expected a number, got a int too long to print",
    ),
    "chosen no candidate": (
        TUNE + CHOSEN.replace("= 0.01,", "= 0.02,"),
        "chosen: settings: expected one of the candidates, got {'model.init_scale': 2, 'train.learning_rate': 0.02}",
    ),
    "chosen no number": (TUNE + CHOSEN.replace("= 0.01,", "= [nan],"), "expected one of the candidates, got"),
    "chosen twice": (TUNE + CHOSEN + CHOSEN, "stands twice: keep one of them"),
    "chosen other arm": (TUNE + CHOSEN.replace('"solu"', '"gelu"'), "chosen: the sweep has no arm"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_section_that_cannot_be_is_refused_in_a_sentence(name: str) -> None:
    tune, said = REFUSED[name]
    assert said in refusal(tune)


@pytest.mark.parametrize("given", ["3", '"all"', "[1]", "[{seeds = [1]}]"])
def test_a_section_that_is_no_table_is_refused(given: str) -> None:
    assert "tune: expected a table, got" in refusal("", f"tune = {given}\n" + TINY)


def test_a_value_that_a_candidate_cannot_have_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"tiny.toml: \[tune\]: train.learning_rate: expected .* got -1.0"):
        make_plan(tuning_sweep(sweep(HEAD + '"train.learning_rate" = [0.1, -1.0]')))


def test_a_sweep_of_one_arm_can_be_tuned() -> None:
    alone = sweep(TUNE, BODY)
    assert alone.arms == [{}]
    assert alone.seeds() == [0]
    assert list(sweep(TUNE, BODY + GRID).seeds()) == [0, 1]
    many = sweep(TUNE, BODY + GRID.replace("[0, 2]", "[2000, 3000]"))
    assert many.seeds() == range(2000, 3000)  # no list of them
