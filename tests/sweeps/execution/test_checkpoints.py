"""Checkpoints: an interrupted pack goes on where it was, and nothing that is wrong with its file is trusted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from tests.conftest import listing
from toymodels.engines import ENGINES
from toymodels.engines.fused import crew
from toymodels.sweeps.execution import checkpoints, local
from toymodels.sweeps.execution.checkpoints import Checkpoints
from toymodels.sweeps.execution.job import Job
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import Outcome, run
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.locks import Shard
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import deserialise, serialise

SWEEP = """
question = "Does it go on?"
[features]
n = 6
density = 0.3
[model]
hidden = 2
activation = "solu"
[train]
steps = 600
batch = 16
snapshots = 3
[eval]
samples = 256
[grid]
"model.layer_norm" = [false, true]
"train.learning_rate" = [0.001, 1e6]
seed = { range = [0, 2] }
"""
"""two packs of four models"""
OFTEN = {"autograd": 0.01, "fused": 0.001}
"""seconds between checkpoints, some in a pack, by engine"""


def plan() -> Plan:
    return make_plan(parse(SWEEP, "tiny", "tiny.toml"))


def nothing(_: Any) -> None:
    return None


def go(
    folder: Path,
    engine: str = "autograd",
    on_progress: Callable[[float], None] = nothing,
    on_note: Callable[[str], None] = nothing,
    on_stored: Callable[[float], None] = nothing,
    shard: str | None = None,
) -> Outcome:
    own = Shard.parse(shard) if shard else None
    with mock.patch.object(checkpoints, "SECONDS", OFTEN[engine]):
        return run(plan(), folder, engine, "cpu", Reporter(on_note, on_progress, on_stored), shard=own)


class After:
    """Interrupts once so many models' worth of training is done."""

    def __init__(self, models: float) -> None:
        self.left = models

    def __call__(self, models: float) -> None:
        self.left -= models
        if self.left < 0:
            raise KeyboardInterrupt


def interrupted(folder: Path, engine: str = "autograd", models: float = 2.0, shard: str | None = None) -> Path:
    """A folder whose first pack was interrupted; returns its checkpoint."""
    with pytest.raises(KeyboardInterrupt):
        go(folder, engine, After(models), shard=shard)
    return folder / "unfinished" / "00000000-0-4.safetensors"


@pytest.fixture(scope="module", params=list(OFTEN))
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """The engine, and the folder of a sweep that nobody touched."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    go(folder, request.param)
    assert not (folder / "unfinished").exists()
    return request.param, listing(folder)


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "CALL_SECONDS", 1e-4)


@pytest.mark.parametrize("models", [0.5, 2.0, 5.0])
def test_an_interrupted_pack_goes_on_where_it_was(
    whole: tuple[str, dict[str, bytes]], tmp_path: Path, models: float
) -> None:
    engine, expected = whole
    interrupted(tmp_path, engine, models)
    assert list((tmp_path / "unfinished").glob("*.safetensors"))
    notes: list[str] = []
    trained: list[float] = []
    kept: list[float] = []
    go(tmp_path, engine, trained.append, notes.append, kept.append)
    assert listing(tmp_path) == expected
    assert not (tmp_path / "unfinished").exists()
    assert sum(trained) + sum(kept) == pytest.approx(8)
    assert any("goes on where it was interrupted" in note for note in notes)


DECODERS = """
question = "Does a decoder go on?"
[features]
n = 6
density = 0.3
values = "binary"
[model]
hidden = 3
activation = "relu"
output = "linear"
tied = false
[train]
steps = 400
batch = 16
snapshots = 3
[eval]
samples = 256
[grid]
seed = { range = [0, 2] }
[[case]]
"model.embedding" = 4
[[case]]
"model.embedding" = { size = 3, trained = true }
"task.target" = { kind = "and", pairs = 5 }
"task.loss" = "cross_entropy"
[[case]]
"task.target" = { kind = "and", pairs = 4 }
"""


@pytest.mark.parametrize("engine", OFTEN)
@pytest.mark.parametrize("models", [0.5, 2.5, 4.5])
def test_packs_of_decoders_and_pairs_go_on_too(tmp_path: Path, engine: str, models: float) -> None:
    plan = make_plan(parse(DECODERS, "decoders", "decoders.toml"))
    assert len(plan.packs) == 3

    def train(folder: Path, on_progress: Callable[[float], None] = nothing) -> dict[str, bytes]:
        with mock.patch.object(checkpoints, "SECONDS", OFTEN[engine]):
            run(plan, folder, engine, "cpu", Reporter(nothing, on_progress, nothing))
        return listing(folder)

    expected = train(tmp_path / "whole")
    assert "targets.parquet" in expected
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", After(models))
    assert train(tmp_path / "stopped") == expected


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda data: data[:-5] + bytes([data[-5] ^ 4]) + data[-4:],
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "a pickle": lambda data: b"\x80\x04N.",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_one_is_moved_aside_and_said_and_the_pack_begins_again(
    whole: tuple[str, dict[str, bytes]], tmp_path: Path, name: str
) -> None:
    engine, expected = whole
    path = interrupted(tmp_path, engine)
    damaged = DAMAGE[name](path.read_bytes())
    path.write_bytes(damaged)
    refused_and_begun_again(tmp_path, engine, expected, path, damaged)


def resealed(path: Path, tensors: dict[str, torch.Tensor], **said: Any) -> bytes:
    """The file with some of it replaced, and a digest and seal that are right."""
    stored = deserialise(path)
    metadata = {name: value for name, value in stored.metadata.items() if name not in ("schema", "digest", "seal")}
    path.write_bytes(serialise({**stored.tensors, **tensors}, {**metadata, **said}))
    return path.read_bytes()


def refused_and_begun_again(
    folder: Path, engine: str, expected: dict[str, bytes], path: Path, wrong: bytes, said: str = ""
) -> None:
    notes: list[str] = []
    go(folder, engine, on_note=notes.append)
    aside = path.with_name(f"{path.name}.damaged-0")
    assert aside.read_bytes() == wrong
    (note,) = [note for note in notes if str(path) in note]
    assert aside.name in note
    assert said in note
    shutil.rmtree(folder / "unfinished")
    assert listing(folder) == expected


FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "other models": ({"keys": ["a", "b", "c", "d"]}, "it has other keys"),
    "another engine": ({"engine": "abacus"}, "it has other engine"),
    "other numerics": ({"numerics": 0}, "it has other numerics"),
    "another version": ({"versions": {"torch": "0.1"}}, "it has other versions"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_one_is_refused(whole: tuple[str, dict[str, bytes]], tmp_path: Path, what: str) -> None:
    engine, expected = whole
    path, (changes, said) = interrupted(tmp_path, engine), FOREIGN[what]
    refused_and_begun_again(tmp_path, engine, expected, path, resealed(path, {}, **changes), said)


def test_a_sealed_one_of_another_shape_is_refused(whole: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    engine, expected = whole
    path = interrupted(tmp_path, engine)
    wrong = resealed(path, {"curve": torch.zeros(4, 3)})
    refused_and_begun_again(tmp_path, engine, expected, path, wrong, "curve: expected shape")


@pytest.mark.parametrize(
    "step, begun",
    [
        (torch.tensor([5, 5]), 5),
        (torch.tensor([5, 6]), 0),
        (torch.tensor(5), None),
        (torch.zeros(0, dtype=torch.int64), None),
        (torch.zeros(2, 2, dtype=torch.int64), None),
        (torch.full((2,), torch.inf), None),
    ],
)
def test_how_far_a_pack_is_that_was_begun(step: torch.Tensor, begun: int | None, tmp_path: Path) -> None:
    made = plan()
    store = Store.create_or_open(tmp_path, made, "autograd", "cpu")
    store.release()
    of, job = Checkpoints("autograd", "cpu", Reporter()), Job.of(store, made, made.packs[0])
    assert of.begun(job) is None
    of.of(job).save({"step": step})
    assert of.begun(job) == begun


def test_one_that_cannot_be_written_ends_nothing_and_is_said_once(
    whole: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, expected = whole
    write, refused = atomic.write, []

    def full(path: Path, data: bytes) -> None:
        if path.parent.name == "unfinished":
            refused.append(path)
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(atomic, "write", full)
    notes: list[str] = []
    assert go(tmp_path, engine, on_note=notes.append).trained == 8
    assert len(refused) > 1
    (note,) = notes
    assert "No space left on device" in note
    assert listing(tmp_path) == expected


def test_those_of_a_pack_that_is_there_are_removed(whole: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    """As after a kill between the pack's writing and their removal."""
    engine, expected = whole
    path = interrupted(tmp_path / "run", engine)
    left = path.read_bytes()
    go(tmp_path / "run", engine)
    path.parent.mkdir()
    path.write_bytes(left)
    (path.parent / f"{atomic.PREFIX}abc").write_bytes(b"half")
    assert go(tmp_path / "run", engine).trained == 0
    assert listing(tmp_path / "run") == expected


def test_each_half_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan()
    half = ENGINES["autograd"].bytes_needed(made.experiments(made.settings(made.packs[1].models[:2])))
    monkeypatch.setattr(local, "memory_budget", lambda _: half)
    go(tmp_path / "whole")
    interrupted(tmp_path / "run", models=3.0)
    names = {path.name for path in (tmp_path / "run" / "unfinished").iterdir()}
    assert names == {"00000000-0-2.safetensors", "00000000-2-4.safetensors"}
    go(tmp_path / "run")
    assert listing(tmp_path / "run") == listing(tmp_path / "whole")


def test_a_shard_touches_only_its_own(whole: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    engine, expected = whole
    path = interrupted(tmp_path, engine, 1.0, "0/2")
    first = path.read_bytes()
    go(tmp_path, engine, shard="1/2")
    assert path.read_bytes() == first
    go(tmp_path, engine, shard="0/2")
    assert listing(tmp_path) == expected
    assert not path.parent.exists()


def test_a_file_in_the_place_of_the_folder_ends_nothing(tmp_path: Path) -> None:
    made, notes = plan(), []
    store = Store.create_or_open(tmp_path / "run", made, "autograd", "cpu")
    store.release()
    store.unfinished.write_bytes(b"")
    keep = Checkpoints("autograd", "cpu", Reporter(note=notes.append)).of(Job.of(store, made, made.packs[0]))
    keep.save({"step": torch.zeros(1)})
    keep.save({"step": torch.zeros(1)})
    assert len(notes) == 1
    assert keep.load() is None
