"""Extending: a folder gets more models, and everything it had stays as it was, byte for byte and number for number."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

import toymodels
from tests.conftest import listing
from toymodels.figures.report import write_report
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.deriving import rebuild
from toymodels.sweeps.execution.run import Outcome, run
from toymodels.sweeps.plan.extending import difference, extended
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.results.summary import summarise
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.sweep import Sweep, parse
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.locks import Lock, Shard
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import deserialise
from toymodels.sweeps.verdict import judging as verdict

BODY = """
question = "{question}"
[features]
n = 6
density = 0.3
[model]
hidden = 2
[train]
steps = {steps}
batch = 16
[eval]
samples = 256
[grid]
"""
FEW = '"model.activation" = ["relu", "solu"]\nseed = [3, 1]\n'
"""four models in two packs"""
MORE = '"model.activation" = ["gelu", "relu", "solu"]\nseed = { range = [0, 4] }\n'
"""twelve models: two seeds more of each activation, and one activation more"""
MOST = '"model.activation" = ["gelu", "relu", "solu"]\n"model.layer_norm" = [false, true]\nseed = { range = [0, 4] }\n'


def sweep(grid: str, steps: int = 30, question: str = "more?") -> Sweep:
    return parse(BODY.format(steps=steps, question=question) + grid, "tiny", "tiny.toml")


def go(folder: Path, of: str | Sweep, extend: bool = False, shard: Shard | None = None) -> Outcome:
    chosen = sweep(of) if isinstance(of, str) else of
    plan = Store(folder).plan_for(chosen, extend)
    return run(plan, folder, "autograd", "cpu", shard=shard)


def packs(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The packs, and when they were written."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (folder / "packs").iterdir()}


def models(plan: Plan) -> list[tuple[int, ...]]:
    return [pack.models for pack in plan.packs]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder, not to be changed."""
    folder = tmp_path_factory.mktemp("few") / "run"
    go(folder, FEW)
    return folder


@pytest.fixture(scope="module")
def whole(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, extended; not to be changed."""
    folder = Path(shutil.copytree(few, tmp_path_factory.mktemp("more") / "run"))
    assert go(folder, MORE, extend=True) == Outcome(models=12, trained=8)
    return folder


@pytest.fixture
def copied(few: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(few, tmp_path / "run"))


@pytest.fixture
def longer(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


# ------------------------------------------------------------------------------------------------------------ the plan


def test_models_keep_their_numbers_and_new_ones_follow_in_the_order_of_the_sweep() -> None:
    old, new = make_plan(sweep(FEW)), make_plan(sweep(MORE))
    plan = extended(old, new)
    assert plan is not None
    assert list(plan.keys[:4]) == list(old.keys)
    assert models(plan)[:2] == models(old) == [(0, 1), (2, 3)]
    assert models(plan)[2:] == [(4, 5, 6, 7), (8, 9), (10, 11)]
    said = [(s["model.activation"], s["seed"]) for s in plan.settings(range(12))]
    assert said[:4] == [("relu", 3), ("relu", 1), ("solu", 3), ("solu", 1)]
    assert said[4:] == [*(("gelu", seed) for seed in range(4)), *((a, s) for a in ("relu", "solu") for s in (0, 2))]
    assert [s.key() for s in plan.settings(range(12))] == list(plan.keys)
    assert plan.n_groups == new.n_groups == 3


def test_what_extends_is_in_the_hash() -> None:
    """Four seeds of one, or two and two: the same models in the same order, and other packs."""
    two, four = (make_plan(sweep(f"seed = {{ range = [0, {n}] }}\n")) for n in (2, 4))
    plan = extended(two, four)
    assert plan is not None
    assert plan.keys == four.keys
    assert models(plan) != models(four)
    assert plan.hash != four.hash


def test_difference_is_counted_both_ways() -> None:
    found = difference(make_plan(sweep("seed = [0, 1, 2]\n")), make_plan(sweep("seed = [7, 1, 0, 8, 9]\n")))
    assert (found.cells.tolist(), found.lacking, found.more) == ([2, 1, -1], 1, 3)


@pytest.mark.parametrize("grid", [FEW, "seed = [3, 1]\n", '"model.activation" = ["relu"]\nseed = [3, 1, 0]\n'])
def test_nothing_to_add_or_not_all_there_is_no_extension(grid: str) -> None:
    assert extended(make_plan(sweep(FEW)), make_plan(sweep(grid))) is None


# ---------------------------------------------------------------------------------------------------------- the folder


def test_extended_folder_keeps_every_pack_and_has_all_models(few: Path, copied: Path) -> None:
    before = packs(copied)
    assert go(copied, MORE, extend=True) == Outcome(models=12, trained=8)
    assert before.items() <= packs(copied).items()
    assert len(packs(copied)) == 5
    loaded = toymodels.load(copied)
    assert loaded.models["model"].tolist() == list(range(12))
    assert loaded.missing == ""
    rows = ["model.activation", "seed", "loss", "key"]
    assert loaded.models[rows][:4].equals(toymodels.load(few).models[rows])
    for model, row in enumerate(loaded.models.to_dict("records")):
        one = loaded.model(model)
        assert (one.experiment.seed, one.experiment.bottleneck.activation.name) == (
            row["seed"],
            row["model.activation"],
        )
        assert row["key"] == loaded.plan.keys[model]


def test_new_packs_are_those_of_the_new_models_alone(whole: Path) -> None:
    loaded = toymodels.load(whole)
    for pack in loaded.plan.packs:
        stored = deserialise(whole / "packs" / f"{pack.index:08d}.safetensors")
        assert stored.tensors["model"].tolist() == list(pack.models)
        assert stored.metadata["keys"] == [loaded.plan.keys[model] for model in pack.models]


def test_models_trained_as_an_extension_are_those_of_one_sweep(whole: Path, tmp_path: Path) -> None:
    go(tmp_path, MORE)
    columns = ["key", "loss"]
    one, two = (toymodels.load(each).models[columns].sort_values("key").to_numpy() for each in (tmp_path, whole))
    assert one[:, 0].tolist() == two[:, 0].tolist()
    assert one[:, 1].tolist() == pytest.approx(two[:, 1].tolist(), rel=1e-4)


def test_folder_says_which_sweeps_it_is_of(few: Path, whole: Path) -> None:
    manifest = json.loads((whole / "manifest.json").read_bytes())
    before = json.loads((few / "manifest.json").read_bytes())
    assert manifest == {**before, "plan": manifest["plan"], "models": 12, "packs": 5, "sweeps": 2}
    assert (whole / "sweep-0000.toml").read_bytes() == (few / "sweep.toml").read_bytes()
    assert (whole / "sweep-0001.toml").read_text() == resolved_toml(sweep(MORE))
    assert (whole / "sweep.toml").read_bytes() == (whole / "sweep-0001.toml").read_bytes()


@pytest.mark.parametrize("again", [False, True])
def test_same_sweep_goes_on_and_changes_no_byte(longer: Path, whole: Path, again: bool) -> None:
    before = packs(longer)
    assert go(longer, MORE, extend=again) == Outcome(models=12, trained=0)
    assert go(longer, parse((longer / "sweep.toml").read_text(), "sweep", "sweep.toml")).trained == 0
    assert packs(longer) == before
    assert listing(longer) == listing(whole)


def test_grid_keys_permuted_extend_alike(whole: Path, copied: Path) -> None:
    go(copied, "\n".join(reversed(MORE.splitlines())) + "\n", extend=True)
    assert listing(copied) == listing(whole)


@pytest.mark.parametrize("grid", [FEW, '"model.activation" = ["solu", "relu"]\nseed = [1, 3]\n'])
def test_nothing_to_add_is_a_normal_run(few: Path, copied: Path, grid: str) -> None:
    assert go(copied, grid, extend=True) == Outcome(models=4, trained=0)
    assert listing(copied) == listing(few)


def test_extending_what_is_not_there_is_a_normal_run(few: Path, tmp_path: Path) -> None:
    go(tmp_path / "run", FEW, extend=True)
    assert listing(tmp_path / "run") == listing(few)


def test_extended_twice(whole: Path, longer: Path) -> None:
    before = packs(longer)
    assert go(longer, MOST, extend=True) == Outcome(models=24, trained=12)
    assert before.items() <= packs(longer).items()
    assert json.loads((longer / "manifest.json").read_bytes())["sweeps"] == 3
    assert (longer / "sweep-0001.toml").read_bytes() == (whole / "sweep-0001.toml").read_bytes()
    assert go(longer, MOST).trained == 0
    loaded = toymodels.load(longer)
    assert loaded.models["model"].tolist() == list(range(24))
    assert loaded.plan.starts == (0, 4, 12)


def test_unfinished_folder_is_extended_and_finished(whole: Path, copied: Path) -> None:
    (copied / "packs" / "00000001.safetensors").unlink()
    assert go(copied, MORE, extend=True).trained == 10
    assert listing(copied) == listing(whole)


def test_shards_go_on_in_an_extended_folder(whole: Path, longer: Path) -> None:
    for pack in (1, 2, 4):
        (longer / "packs" / f"{pack:08d}.safetensors").unlink()
    assert sorted(go(longer, MORE, shard=Shard(index, 2)).trained for index in (1, 0)) == [2, 6]
    assert listing(longer) == listing(whole)


def test_rebuilding_makes_every_table_again_identical(whole: Path, longer: Path) -> None:
    for table in longer.glob("*.parquet"):
        table.unlink()
    assert rebuild(Store.open_existing(longer)) == 5
    assert listing(longer) == listing(whole)


def test_summary_and_report_are_of_all_models(longer: Path) -> None:
    go(longer, sweep(MOST, question="most?"), extend=True)
    loaded = toymodels.load(longer)
    assert loaded.question == "most?"
    assert loaded.sweep_text == (longer / "sweep.toml").read_text()
    assert [arm.models for arm in summarise(loaded)] == [4] * 6
    assert "most?" in write_report(loaded).read_text()


# ------------------------------------------------------------------------------------------------------------- refusals


def test_larger_sweep_is_refused_naming_extend(few: Path, copied: Path) -> None:
    with pytest.raises(FolderError, match=r"changed: model\.activation, seed\): --extend adds the 8 models") as caught:
        go(copied, MORE)
    assert caught.value.exit_code == 4
    assert listing(copied) == listing(few)


@pytest.mark.parametrize("extend", [False, True])
@pytest.mark.parametrize(
    "other, changed",
    [
        (sweep(FEW, steps=31), "train.steps"),
        (sweep('"model.activation" = ["relu", "solu", "gelu"]\nseed = [3]\n'), "model.activation, seed"),
        (sweep("seed = [3]\n"), "model.activation, seed"),
    ],
)
def test_sweep_that_lacks_a_model_is_refused(few: Path, copied: Path, other: Sweep, changed: str, extend: bool) -> None:
    with pytest.raises(FolderError, match=rf"changed: {changed}.*give --out another folder") as caught:
        go(copied, other, extend)
    assert caught.value.exit_code == 4
    assert "--extend" not in str(caught.value)
    assert listing(copied) == listing(few)


def test_older_sweep_is_refused_naming_how_to_go_on(whole: Path, longer: Path) -> None:
    with pytest.raises(FolderError, match=r"with every model of this one: 'toymodels sweep \S*/sweep-0001\.toml"):
        go(longer, FEW)
    assert listing(longer) == listing(whole)


def test_extension_by_another_engine_is_refused(few: Path, copied: Path) -> None:
    plan = Store(copied).plan_for(sweep(MORE), extend=True)
    with pytest.raises(FolderError, match="made with engine"):
        run(plan, copied, "fused", "cpu")
    assert listing(copied) == listing(few)


def test_folder_that_is_at_work_is_not_extended(few: Path, copied: Path) -> None:
    held = Lock(copied, Shard(0, 2))
    held.take()
    with pytest.raises(FolderError, match="in use by"):
        go(copied, MORE, extend=True)
    held.release()
    assert listing(copied) == listing(few)


def test_a_shard_does_not_extend(few: Path, copied: Path) -> None:
    with pytest.raises(FolderError):
        run(Store(copied).plan_for(sweep(MORE), True), copied, "autograd", "cpu", shard=Shard(0, 2))
    assert listing(copied) == listing(few)


def test_folder_extended_by_another_meanwhile_is_refused(whole: Path, copied: Path) -> None:
    plans = [Store(copied).plan_for(sweep(grid), extend=True) for grid in (MORE, MORE, MOST)]
    run(plans[0], copied, "autograd", "cpu")
    assert run(plans[1], copied, "autograd", "cpu").trained == 0
    for plan in (plans[2], make_plan(sweep(MORE))):
        with pytest.raises(FolderError, match="extended just now: run the same command again"):
            run(plan, copied, "autograd", "cpu")
    assert listing(copied) == listing(whole)


@pytest.mark.parametrize("sweeps", [0, 1, -3, True, 2.0, 10**9, "../../etc", ["sweep-0000.toml", "/etc/passwd"], None])
def test_hostile_number_of_sweeps_is_damage(longer: Path, sweeps: object) -> None:
    path = longer / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sweeps": sweeps}))
    with pytest.raises(FolderError, match="damaged"):
        toymodels.load(longer)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "sweep-0001.toml").unlink(),
        lambda folder: (folder / "sweep-0000.toml").write_text("seed = ["),
        lambda folder: shutil.copy(folder / "sweep-0001.toml", folder / "sweep-0000.toml"),
        lambda folder: shutil.copy(folder / "sweep-0000.toml", folder / "sweep-0001.toml"),
        lambda folder: (folder / "sweep-0000.toml").write_text(resolved_toml(sweep("seed = [1, 3]\n"))),
    ],
    ids=["absent", "no TOML", "newest as first", "first as newest", "another"],
)
def test_damaged_sweep_files_are_refused(longer: Path, harm: Callable[[Path], Any]) -> None:
    harm(longer)
    with pytest.raises(FolderError, match=r"sweep-000.\.toml: (damaged|not the sweep)"):
        _ = toymodels.load(longer).plan


def test_linked_sweep_file_is_refused(longer: Path, tmp_path: Path) -> None:
    outside = shutil.move(longer / "sweep-0001.toml", tmp_path / "outside.toml")
    (longer / "sweep-0001.toml").symlink_to(outside)
    with pytest.raises(FolderError, match="a link"):
        _ = toymodels.load(longer).plan


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("mine")])
def test_copy_of_the_newest_sweep_is_put_back(whole: Path, longer: Path, spoil: Callable[[Path], Any]) -> None:
    spoil(longer / "sweep.toml")
    assert len(toymodels.load(longer).plan) == 12
    go(longer, MORE)
    assert listing(longer) == listing(whole)


# ---------------------------------------------------------------------------------------------------------------- kills


class Killed(BaseException):
    """The end of a process."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("k", range(8))
def test_killed_at_any_write_it_is_the_old_folder_or_the_new_and_the_same_command_completes(
    few: Path, whole: Path, copied: Path, monkeypatch: pytest.MonkeyPatch, k: int, after: bool
) -> None:
    """The writes are those of two sweep files, the manifest, the copy, and of packs and measures."""
    before, calls, real = packs(copied), 0, atomic.writing

    @contextmanager
    def writing(path: Path) -> Iterator[IO[bytes]]:
        nonlocal calls
        calls += 1
        if calls > k and not after:
            raise Killed
        with real(path) as file:
            yield file
        if calls > k:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "writing", writing)
        with pytest.raises(Killed):
            go(copied, MORE, extend=True)
    committed = k + after > 2
    assert before.items() <= packs(copied).items()
    loaded = toymodels.load(copied)
    assert loaded.plan.hash == toymodels.load(whole if committed else few).plan.hash
    assert (loaded.missing != "") == committed
    if not committed:
        shutil.copytree(copied, copied.with_name("old"))
        assert go(copied.with_name("old"), FEW).trained == 0
    go(copied, MORE, extend=True)
    assert before.items() <= packs(copied).items()
    assert listing(copied) == listing(whole)


def test_full_disk_says_that_what_is_finished_is_safe(few: Path, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "writing", full)
        with pytest.raises(FolderError, match="is safe") as caught:
            go(copied, MORE, extend=True)
    assert caught.value.exit_code == 1
    assert listing(copied) == listing(few)


# -------------------------------------------------------------------------------------------------------------- verdict

JUDGED = """
case = [
    {{ "model.activation" = "solu", "model.layer_norm" = true }},
    {{ "model.activation" = "gelu", "model.layer_norm" = true }},
    {{ "model.activation" = "gelu" }},
]
[features]
n = 8
density = 0.2
[model]
hidden = 4
[train]
steps = 30
batch = 32
[eval]
samples = 512
[primary]
"features.values" = "binary"
[grid]
"features.values" = {values}
seed = {{ range = [0, {seeds}] }}
"""


def test_verdict_knows_the_primary_regime_of_an_extended_folder(tmp_path: Path) -> None:
    small, large = (
        parse(JUDGED.format(values=values, seeds=seeds), "judged", "judged.toml")
        for values, seeds in (('["uniform"]', 2), ('["binary", "uniform"]', 3))
    )
    go(tmp_path, small)
    go(tmp_path, large, extend=True)
    loaded = toymodels.load(tmp_path)
    primary = [loaded.plan.is_primary(model) for model in loaded.models["model"]]
    assert primary == (loaded.models["features.values"] == "binary").tolist()
    judgement = verdict.judge(loaded, "none")
    assert [(r.primary, r.settings["features.values"], r.seeds) for r in judgement.regimes] == [
        (True, "binary", (0, 1, 2)),
        (False, "uniform", (0, 1, 2)),
    ]
    for regime in judgement.regimes:
        for name, numbers in regime.arms["1e-05"].items():
            rows = loaded.models.set_index("model").loc[numbers]
            assert rows["seed"].tolist() == [0, 1, 2]
            assert set(rows["model.activation"]) == {name.partition(" ")[0]}
