"""Tuning a sweep: the choice recomputed by hand, the same bytes whatever happened on the way, and what is kept."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch

import toymodels as tm
from tests.conftest import BODY, listing
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.execution.deriving import rebuild
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.execution.tuning import chosen_by, to_be_tuned, with_choices_of
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.results.summary import summarise
from toymodels.sweeps.spec.candidates import with_chosen
from toymodels.sweeps.spec.sweep import Sweep, parse
from toymodels.sweeps.spec.tune import Chosen
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tuning import make_tuning_folder, tuning_folder
from toymodels.sweeps.verdict import regimes

GRID = '[grid]\n"model.activation" = ["relu", "solu"]\nseed = [0, 1]\n'
TUNE = """[tune]
seeds = [1000, 1001, 1002]
steps = 0.5
"train.learning_rate" = [1e-4, 1e-2, 1e-1]
"model.init_scale" = [1, 2]
"""
SLOW, WILD = '"train.learning_rate" = [1e-3, 1e30]', '"train.learning_rate" = [1e30, 1e29]'


def sweep(grid: str = GRID, tune: str = TUNE) -> Sweep:
    return parse(BODY + grid + tune, "tiny", "tiny.toml")


def planned(folder: Path, chosen: Sweep, extend: bool = False) -> tuple[Plan, Plan | None]:
    """The plan of a sweep in a folder, and that of the tuning that must come before."""
    plan = Store(folder).plan_for(with_choices_of(folder, chosen), extend)
    return plan, to_be_tuned(folder, plan, extend)


def go(
    folder: Path, chosen: Sweep, *, extend: bool = False, engine: str = "fused", notes: list[str] | None = None
) -> int:
    """Tune and train a sweep as the command does; returns how many models of the tuning were trained for it."""
    reporter = Reporter(note=(notes if notes is not None else []).append)
    plan, trials = planned(folder, chosen, extend)
    trained = 0
    if trials is not None:
        make_tuning_folder(folder, plan.sweep, trials)
        trained = run(trials, tuning_folder(folder), engine, "cpu").trained
        tuned = chosen_by(plan.sweep, trials, tuning_folder(folder), reporter)
        plan = Store(folder).plan_for(tuned, extend)
    run(plan, folder, engine, "cpu")
    return trained


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder, not to be changed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert go(folder, sweep()) == 2 * 6 * 3
    return folder


@pytest.fixture
def run_folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def by_hand(activation: tm.Activation) -> tuple[dict[str, float], float]:
    """The best candidate of an arm and its mean loss fraction, from the library alone."""
    best, least = {}, float("inf")
    for scale, rate in itertools.product([1.0, 2.0], [1e-4, 1e-2, 1e-1]):
        experiments = [
            tm.Experiment(
                tm.Features(n=6, density=0.3),
                tm.Bottleneck(hidden=2, activation=activation, init_scale=scale),
                tm.Training(steps=15, batch=16, learning_rate=rate),
                seed=seed,
            )
            for seed in (1000, 1001, 1002)
        ]
        trained = tm.train(experiments)
        measured = tm.measure(experiments, trained.parameters, 256).models["loss_fraction"]
        mean = float(torch.as_tensor(measured).double().mean())
        if mean < least:
            best, least = {"model.init_scale": scale, "train.learning_rate": rate}, mean
    return best, least


def test_the_choice_is_the_one_made_by_hand(whole: Path) -> None:
    tuning = Store(whole).sweep().tuning
    assert tuning is not None
    assert [choice.arm for choice in tuning.chosen] == [{"model.activation": "relu"}, {"model.activation": "solu"}]
    for choice, activation in zip(tuning.chosen, (tm.ReLU(), tm.SoLU()), strict=True):
        best, mean = by_hand(activation)
        assert choice.settings == best
        assert choice.loss_fraction == pytest.approx(mean, rel=1e-6)
        assert choice.candidates == 6


def test_the_models_of_an_arm_run_with_its_choice(whole: Path) -> None:
    trained = tm.load(whole)
    tuning = trained.plan.sweep.tuning
    assert tuning is not None
    for choice in tuning.chosen:
        rows = trained.models[trained.models["model.activation"] == choice.arm["model.activation"]]
        assert len(rows) == 2
        assert set(rows["train.learning_rate"]) == {choice.settings["train.learning_rate"]}
        assert set(rows["train.steps"]) == {30}
        assert set(rows["seed"]) == {0, 1}
    assert trained.tuned == ("model.init_scale", "train.learning_rate")
    assert [arm.models for arm in summarise(trained)] == [2, 2]
    assert trained.model(3).experiment.training.learning_rate == trained.models["train.learning_rate"][3]


def test_the_manifest_says_what_was_chosen(whole: Path) -> None:
    said = json.loads((whole / "manifest.json").read_bytes())
    tuning = Store(whole).sweep().tuning
    assert tuning is not None
    assert said["tuned"] == [choice.document() for choice in tuning.chosen]
    assert Store(whole).manifest.to_bytes() == (whole / "manifest.json").read_bytes()
    assert "tuned" not in json.loads((whole / "tuning" / "manifest.json").read_bytes())


def test_the_tuning_is_a_run_folder_of_its_own(whole: Path) -> None:
    tried = tm.load(whole / "tuning")
    assert len(tried.models) == 36
    assert set(tried.models["train.steps"]) == {15}
    assert tried.tuned == ()
    assert len(summarise(tried)) == 12


def test_again_it_is_the_same_and_nothing_is_trained(run_folder: Path, tmp_path: Path, whole: Path) -> None:
    assert go(run_folder, sweep()) == 0
    assert listing(run_folder) == listing(whole)
    assert go(tmp_path / "anew", sweep()) == 36
    assert listing(tmp_path / "anew") == listing(whole)


def test_the_finished_folder_does_without_its_tuning(run_folder: Path, whole: Path) -> None:
    shutil.rmtree(run_folder / "tuning")
    assert go(run_folder, sweep()) == 0
    rebuild(Store(run_folder))
    kept = {name: data for name, data in listing(whole).items() if not name.startswith("tuning/")}
    assert listing(run_folder) == kept


def test_interrupted_anywhere_it_is_the_same_folder(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    plan, trials = planned(folder, sweep())
    assert trials is not None
    make_tuning_folder(folder, plan.sweep, trials)
    assert parse((folder / "sweep.toml").read_text(), "tiny", "x").tuning == sweep().tuning
    assert planned(folder, sweep())[1] is not None
    run(trials, tuning_folder(folder), "fused", "cpu")
    (folder / "tuning" / "packs" / "00000001.safetensors").unlink()  # as if it had never been trained
    assert go(folder, sweep()) == 18
    assert listing(folder) == listing(whole)
    for path in folder.iterdir():  # as if it had been killed while it began
        if path.name not in ("tuning", "sweep.toml"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "packs").mkdir()
    assert go(folder, sweep()) == 0
    assert listing(folder) == listing(whole)


def test_the_resolved_sweep_has_its_choices_and_tunes_nothing(whole: Path, tmp_path: Path) -> None:
    text = (whole / "sweep.toml").read_text()
    assert go(tmp_path / "run", parse(text, "tiny", "tiny.toml")) == 0
    kept = {name: data for name, data in listing(whole).items() if not name.startswith("tuning/")}
    assert listing(tmp_path / "run") == kept


def test_both_engines_tune(tmp_path: Path) -> None:
    go(tmp_path / "run", sweep(), engine="autograd")
    tuning = Store(tmp_path / "run").sweep().tuning
    assert tuning is not None
    assert [choice.settings for choice in tuning.chosen] == [by_hand(tm.ReLU())[0], by_hand(tm.SoLU())[0]]


def test_the_order_of_the_tuned_values_changes_no_choice(whole: Path, tmp_path: Path) -> None:
    turned = TUNE.replace("[1e-4, 1e-2, 1e-1]", "[1e-1, 1e-4, 1e-2]").replace("[1, 2]", "[2, 1]")
    lines = turned.splitlines(keepends=True)
    go(tmp_path / "run", sweep(tune="".join([*lines[:3], lines[4], lines[3]])))
    made, again = Store(whole).sweep().tuning, Store(tmp_path / "run").sweep().tuning
    assert made is not None
    assert again is not None
    assert again.chosen == made.chosen


def test_a_candidate_that_diverges_is_not_chosen(tmp_path: Path) -> None:
    notes: list[str] = []
    go(tmp_path / "run", sweep(tune=f"[tune]\nseeds = [7]\n{SLOW}\n"), notes=notes)
    assert notes == []
    assert set(tm.load(tmp_path / "run").models["train.learning_rate"]) == {1e-3}
    assert [list(arm.settings) for arm in summarise(tm.load(tmp_path / "run"))] == [["model.activation"]] * 2


def test_where_all_candidates_diverge_the_file_decides(tmp_path: Path) -> None:
    notes: list[str] = []
    go(tmp_path / "run", sweep(tune=f"[tune]\nseeds = [7]\n{WILD}\n"), notes=notes)
    assert len(notes) == 2
    assert set(tm.load(tmp_path / "run").models["train.learning_rate"]) == {1e-3}  # the default
    assert all("loss_fraction" not in each for each in Store(tmp_path / "run").manifest.tuned)
    assert go(tmp_path / "run", sweep(tune=f"[tune]\nseeds = [7]\n{WILD}\n")) == 0


# ------------------------------------------------------------------------------------------------------- extending

MORE = '[grid]\n"model.activation" = ["gelu", "relu", "solu"]\nseed = [0, 1, 2]\n'


def test_extending_tunes_the_arms_that_are_added_and_keeps_what_was_chosen(run_folder: Path, whole: Path) -> None:
    before = Store(whole).sweep().tuning
    assert before is not None
    assert go(run_folder, sweep(MORE), extend=True) == 18
    after = Store(run_folder).sweep().tuning
    assert after is not None
    assert [choice.arm["model.activation"] for choice in after.chosen] == ["gelu", "relu", "solu"]
    assert after.chosen[1:] == before.chosen
    assert Store(run_folder).manifest.tuned == tuple(choice.document() for choice in after.chosen)
    for name, data in listing(whole).items():
        if name.startswith(("packs/", "tuning/packs/")):
            assert (run_folder / name).read_bytes() == data
    assert len(tm.load(run_folder).models) == 9
    assert go(run_folder, sweep(MORE)) == 0
    assert go(run_folder, sweep(MORE), extend=True) == 0


def test_more_seeds_need_no_tuning(run_folder: Path) -> None:
    assert go(run_folder, sweep(GRID.replace("[0, 1]", "[0, 1, 2]")), extend=True) == 0
    assert len(tm.load(run_folder).models) == 6


OTHERWISE = {
    "seeds of [tune]": TUNE.replace("1002", "1003"),
    "steps of [tune]": TUNE.replace("0.5", "1"),
    "values of 'train.learning_rate' in [tune]": TUNE.replace("1e-1]", "1e-1, 2e-1]"),
    "values of 'model.hidden_bias' in [tune]": TUNE + '"model.hidden_bias" = [false, true]\n',
    "values of 'model.init_scale' in [tune]": TUNE.replace('"model.init_scale" = [1, 2]\n', ""),
}
"""what differs, as it is said"""


@pytest.mark.parametrize("extend", [False, True])
@pytest.mark.parametrize("changed", OTHERWISE)
def test_another_tuning_is_another_sweep(run_folder: Path, whole: Path, changed: str, extend: bool) -> None:
    for grid in (GRID, MORE):
        with pytest.raises(FolderError) as caught:
            go(run_folder, sweep(grid, OTHERWISE[changed]), extend=extend)
        assert "holds another sweep (changed: " in str(caught.value)
        assert f"{changed}): give --out another folder" in str(caught.value)
        assert "train.learning_rate," not in str(caught.value)  # chosen, not changed
    assert listing(run_folder) == listing(whole)


def test_the_seeds_of_the_tuning_cannot_be_added_to_the_sweep(run_folder: Path) -> None:
    leak = GRID.replace("[0, 1]", "[0, 1, 1000]")
    with pytest.raises(SpecError, match="the sweep has seed 1000 too"):
        go(run_folder, sweep(leak), extend=True)
    with pytest.raises(FolderError, match=r"seeds of \[tune\]\): give --out another folder"):
        go(run_folder, sweep(leak, TUNE.replace("1000, 1001, 1002", "2000, 2001, 2002")), extend=True)


@pytest.mark.parametrize("extend", [False, True])
def test_tuned_and_untuned_refuse_each_others_folder(run_folder: Path, tmp_path: Path, extend: bool) -> None:
    untuned = parse(BODY + MORE, "tiny", "tiny.toml")
    with pytest.raises(FolderError, match=r"holds another sweep .*tune"):
        go(run_folder, untuned, extend=extend)
    go(tmp_path / "plain", parse(BODY + GRID, "tiny", "tiny.toml"))
    before = listing(tmp_path / "plain")
    with pytest.raises(FolderError, match=r"holds another sweep .*tune"):
        go(tmp_path / "plain", sweep(MORE), extend=extend)
    assert listing(tmp_path / "plain") == before


def test_an_untuned_sweep_does_not_begin_where_another_is_tuned(tmp_path: Path) -> None:
    plan, trials = planned(tmp_path / "run", sweep())
    assert trials is not None
    make_tuning_folder(tmp_path / "run", plan.sweep, trials)
    with pytest.raises(FolderError, match=r"holds other files and no manifest.json"):
        go(tmp_path / "run", parse(BODY + GRID, "tiny", "tiny.toml"))


# ------------------------------------------------------------------------------------------------------- damage


def test_a_missing_or_damaged_trial_chooses_nothing(whole: Path, tmp_path: Path) -> None:
    plan, trials = planned(tmp_path / "run", sweep())
    assert trials is not None
    tuning = Path(shutil.copytree(whole / "tuning", tmp_path / "tuning"))
    pack = tuning / "packs" / "00000000.safetensors"
    whole_bytes = pack.read_bytes()
    pack.write_bytes(whole_bytes[:-1] + bytes([whole_bytes[-1] ^ 1]))
    with pytest.raises(FolderError, match="run the same command again to train it anew"):
        chosen_by(plan.sweep, trials, tuning)
    pack.unlink()
    with pytest.raises(FolderError, match="is gone: run the same command again"):
        chosen_by(plan.sweep, trials, tuning)
    pack.write_bytes(whole_bytes)
    shutil.rmtree(tuning / "measures")
    chosen = chosen_by(plan.sweep, trials, tuning)  # measured anew
    assert chosen.tuning == Store(whole).sweep().tuning


def test_a_loss_that_could_not_be_measured_chooses_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toymodels.sweeps.execution.job import Job

    plan, trials = planned(tmp_path / "run", sweep())
    assert trials is not None
    measured = Job.measured

    def without(job: Job, stored, reporter):
        found = measured(job, stored, reporter)
        return type(found)({n: t for n, t in found.tensors.items() if n != "models.loss_fraction"}, found.metadata)

    monkeypatch.setattr(Job, "measured", without)
    with pytest.raises(FolderError, match="loss_fraction could not be measured in pack 0: nothing can be chosen"):
        chosen_by(plan.sweep, trials, whole / "tuning")


def test_a_regime_has_arms_of_settings_of_their_own(tmp_path: Path) -> None:
    arms = '[grid]\n"model.activation" = ["gelu", "solu"]\n"model.layer_norm" = [false, true]\nseed = [0, 1]\n'
    chosen = sweep(arms)
    assert chosen.tuning is not None
    each = zip(chosen.arms, chosen.tuning.candidates, strict=False)
    assert go(tmp_path / "run", with_chosen(chosen, [Chosen(arm, candidate, 6) for arm, candidate in each])) == 0
    trained = tm.load(tmp_path / "run")
    assert trained.models["train.learning_rate"].nunique() == 3
    assert len(summarise(trained)) == 4
    found, _ = regimes.regimes(trained)
    assert [(each.name, each.primary, each.seeds) for each in found] == [("the only regime", True, (0, 1))]
    assert not {"train.learning_rate", "model.init_scale"} & found[0].settings.keys()
    assert sorted(found[0].arms["1e-05"]) == ["gelu", "gelu + LN", "solu", "solu + LN"]
