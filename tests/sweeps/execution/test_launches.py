"""Launches: packs that are trained together are the bytes that they are by themselves, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from tests.conftest import listing
from tests.sweeps.execution.test_checkpoints import After
from toymodels.engines import ENGINES
from toymodels.engines.fused import FusedEngine, crew
from toymodels.sweeps.execution import checkpoints, local
from toymodels.sweeps.execution.launches import KeptTogether, launches
from toymodels.sweeps.execution.local import InProcess
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import Outcome, run
from toymodels.sweeps.plan import plan as plans
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.training.experiment import Experiment
from toymodels.training.keep import Keep

SWEEP = """
question = "Is a pack what it is alone?"
[features]
n = 6
density = 0.3
[model]
hidden = 2
activation = "solu"
[train]
steps = 400
batch = 16
snapshots = 3
[eval]
samples = 256
[grid]
"model.layer_norm" = [false, true]
"train.learning_rate" = [0.001, 1e6]
seed = { range = [0, 5] }
"""
"""twenty models of two structures, half of which diverge"""


@pytest.fixture(autouse=True)
def _packs_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs of three models, and one of one, of each structure; the fused engine in short slices."""
    monkeypatch.setattr(plans, "PACK_MODELS", 3)
    monkeypatch.setattr(crew, "CALL_SECONDS", 1e-4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The folder of a sweep whose packs were trained one by one."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with mock.patch.object(plans, "PACK_MODELS", 3):
        assert go(folder) == Outcome(models=20, trained=20, diverged=10)
    return listing(folder)


def plan() -> Plan:
    return make_plan(parse(SWEEP, "tiny", "tiny.toml"))


def go(folder: Path, on_progress: Callable[[float], None] = lambda _: None, notes: list[str] | None = None) -> Outcome:
    said = [] if notes is None else notes
    with mock.patch.object(checkpoints, "SECONDS", 0.001):
        return run(plan(), folder, "fused", "cpu", Reporter(said.append, on_progress))


@pytest.fixture
def wanting(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Has the fused engine want so many models at once; the list tells how many each batch of them had."""
    sizes: list[int] = []
    begin = crew.Crew._begin

    def counted(self: Any, number: int, experiments: Sequence[Experiment], keep: Keep | None) -> None:
        sizes.append(len(experiments))
        begin(self, number, experiments, keep)

    def want(models: int) -> list[int]:
        monkeypatch.setattr(FusedEngine, "models_at_once", lambda *_: models)
        monkeypatch.setattr(crew.Crew, "_begin", counted)
        return sizes

    return want


@pytest.mark.parametrize("models, sizes", [(1, [3, 3, 3, 1, 3, 3, 3, 1]), (5, [6, 4, 6, 4]), (1000, [10, 10])])
def test_packs_trained_together_are_the_bytes_of_packs_trained_alone(
    models: int, sizes: list[int], whole: dict[str, bytes], wanting: Callable[[int], list[int]], tmp_path: Path
) -> None:
    found = wanting(models)
    go(tmp_path)
    assert found == sizes
    assert listing(tmp_path) == whole


@pytest.mark.parametrize("models", [1.0, 4.0, 9.0, 13.0])
def test_killed_in_the_middle_of_a_launch_every_pack_goes_on_where_it_was(
    models: float, whole: dict[str, bytes], wanting: Callable[[int], list[int]], tmp_path: Path
) -> None:
    wanting(1000)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, After(models))
    kept = sorted(path.name for path in (tmp_path / "unfinished").glob("*.safetensors"))
    assert kept
    assert all(name.endswith(("-0-3.safetensors", "-0-1.safetensors")) for name in kept)
    trained: list[float] = []
    notes: list[str] = []
    stored = len([name for name in listing(tmp_path) if name.startswith("packs/")])
    go(tmp_path, trained.append, notes)
    assert listing(tmp_path) == whole
    assert not (tmp_path / "unfinished").exists()
    assert sum("goes on where it was interrupted" in note for note in notes) == len(kept)
    if not stored:
        assert sum(trained) == pytest.approx(20)


def test_the_checkpoints_of_a_launch_are_those_of_its_packs(
    whole: dict[str, bytes], wanting: Callable[[int], list[int]], tmp_path: Path
) -> None:
    """Begun together, they go on one by one, and the other way round; one whose checkpoint is gone begins anew."""
    sizes = wanting(1000)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, After(6.0))
    wanting(1)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, After(2.0))
    wanting(1000)
    left = sorted((tmp_path / "unfinished").glob("*.safetensors"))
    assert len(left) > 1
    left[1].unlink()
    sizes.clear()
    notes: list[str] = []
    go(tmp_path, notes=notes)
    assert listing(tmp_path) == whole
    assert len(sizes) > 2  # what was begun is not mixed with what was not
    assert sum("goes on where it was interrupted" in note for note in notes) == len(left) - 1


def test_a_damaged_checkpoint_costs_its_launch_and_no_byte(
    whole: dict[str, bytes], wanting: Callable[[int], list[int]], tmp_path: Path
) -> None:
    wanting(1000)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, After(6.0))
    damaged = min((tmp_path / "unfinished").glob("*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-5])
    notes: list[str] = []
    go(tmp_path, notes=notes)
    after = {name: content for name, content in listing(tmp_path).items() if "damaged" not in name}
    assert {name: after[name] for name in whole} == whole
    assert any("begins at the start" in note for note in notes)


def test_a_launch_that_does_not_fit_is_smaller_and_a_pack_that_does_not_is_halved(
    whole: dict[str, bytes], wanting: Callable[[int], list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, some = wanting(1000), plan().experiments(plan().settings(plan().packs[4].models))
    needed = ENGINES["fused"].bytes_needed
    monkeypatch.setattr(local, "memory_budget", lambda _: needed([some[0]] * 7))
    go(tmp_path / "smaller")
    assert max(sizes) in (6, 7)
    assert listing(tmp_path / "smaller") == whole
    monkeypatch.setattr(local, "memory_budget", lambda _: needed([some[0]] * 2))
    notes: list[str] = []
    assert go(tmp_path / "halved", notes=notes).failed == {}
    assert any("did not fit in memory at once: trained as 2 + 1 models" in note for note in notes)


def test_a_launch_that_is_refused_is_trained_pack_by_pack(
    whole: dict[str, bytes], wanting: Callable[[int], list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, make = wanting(1000), crew.Batch.of

    def small_only(experiments: Sequence[Experiment]) -> Any:
        if len(experiments) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return make(experiments)

    monkeypatch.setattr(crew.Batch, "of", small_only)
    assert go(tmp_path).failed == {}
    assert sizes[0] == 10
    assert listing(tmp_path) == whole


def test_an_engine_that_depends_on_the_batch_trains_every_pack_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ENGINES["autograd"]
    monkeypatch.setattr(type(engine), "models_at_once", lambda *_: 1000)
    assert not engine.independent
    jobs = [mock.Mock(keys="abc"), mock.Mock(keys="a")]
    found = launches(iter(jobs), engine, "cuda", lambda: None, lambda _: False)
    assert [launch.jobs for launch in found] == [[jobs[0]], [jobs[1]]]


def test_how_far_a_pack_is_is_read_once_of_each_and_of_the_first_of_a_launch() -> None:
    """As whole checkpoints are read for it."""
    engine = mock.Mock(independent=True, models_at_once=lambda *_: 1000, bytes_needed=lambda _: 0)
    like = mock.Mock(structure=lambda: "one")
    jobs = [mock.Mock(keys="a", like=like, experiments=[], step=3 if number < 4 else 7) for number in range(6)]
    asked: list[int] = []

    def begun(job: Any) -> int:
        asked.append(jobs.index(job))
        return job.step

    found = launches(iter(jobs), engine, "cuda", lambda: None, begun)
    assert [launch.jobs for launch in found] == [jobs[:4], jobs[4:]]
    assert asked == [0, 1, 2, 3, 4, 4, 5]


class InMemory(Keep):
    """Keeps one state."""

    def __init__(self, state: dict[str, torch.Tensor] | None = None) -> None:
        self.state, self.models, self.seconds = state, 0.0, 5.0

    def load(self) -> Any:
        return self.state

    def save(self, state: Any) -> None:
        self.state = state

    def part(self, first: int, last: int) -> InMemory:
        inside = InMemory(None if self.state is None else {name: t[first:last] for name, t in self.state.items()})
        inside.span = (first, last)  # type: ignore[attr-defined]
        return inside

    def resumed(self, models: float) -> None:
        self.models += models


def test_a_keep_of_several_is_cut_where_they_are_and_where_it_is_asked_to_be() -> None:
    parts = [InMemory(), InMemory(), InMemory()]
    keep = KeptTogether(parts, [0, 3, 5, 9])
    assert keep.load() is None
    rows = {"step": torch.arange(9), "theta": torch.arange(18.0).view(9, 2)}
    keep.save(rows)
    assert [part.state["step"].tolist() for part in parts if part.state] == [[0, 1, 2], [3, 4], [5, 6, 7, 8]]
    loaded = keep.load()
    assert loaded is not None
    assert all(torch.equal(loaded[name], tensor) for name, tensor in rows.items())
    keep.resumed(18.0)
    assert [part.models for part in parts] == [1.5, 3.5, 13.0]
    inside = keep.part(2, 6)
    assert isinstance(inside, KeptTogether)
    assert inside.edges == [0, 1, 3, 4]
    assert [part.span for part in inside.parts] == [(2, 3), (0, 2), (0, 1)]  # type: ignore[attr-defined]
    parts[1].state = {"step": torch.zeros(2)}
    assert keep.load() is None


def test_parts_that_do_not_go_together_are_none() -> None:
    """Each engine would refuse its own; no checkpoint that was written here is like that."""
    fits = {"step": torch.tensor([7]), "theta": torch.zeros(1)}
    for other in ({"step": fits["step"]}, {**fits, "theta": torch.zeros(1, 2)}, None):
        assert KeptTogether([InMemory(fits), InMemory(other)], [0, 1, 2]).load() is None
    assert KeptTogether([InMemory({"theta": fits["theta"]})] * 2, [0, 1, 2]).load() is None


IN_STEP = """
question = "Do packs of one model go on together?"
[features]
n = 4
density = 0.3
[model]
hidden = 2
[train]
steps = 6
batch = 16
[eval]
samples = 64
[grid]
seed = { range = [0, 3] }
"""
"""three models, interpreted"""


@pytest.mark.parametrize("engine", ["gpu", "gpu_split"])
def test_packs_of_one_model_go_on_together_on_an_engine_whose_models_are_in_step(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are those that a shard, or a kill, left at the same step; one that was left at another goes on by itself."""
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    from toymodels.engines import gpu

    sizes: list[int] = []
    train, at_once = gpu.run.train, [1000]

    def counted(of: gpu.run.GpuRun, *rest: Any) -> Any:
        sizes.append(len(of.batch))
        return train(of, *rest)

    monkeypatch.setattr(plans, "PACK_MODELS", 1)
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(gpu.run, "MOST_AT_ONCE", 2)
    monkeypatch.setattr(gpu.run, "train", counted)
    monkeypatch.setattr(type(ENGINES[engine]), "models_at_once", lambda *_: at_once[0])

    def go(folder: Path, on_progress: Callable[[float], None] = lambda _: None) -> list[str]:
        notes: list[str] = []
        sizes.clear()
        run(make_plan(parse(IN_STEP, "tiny", "tiny.toml")), folder, engine, "cpu", Reporter(notes.append, on_progress))
        return notes

    at_once[0] = 1
    go(tmp_path / "alone")
    assert sizes == [1, 1, 1]
    at_once[0] = 1000
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "run", After(0.9))
    assert sizes == [3]
    kept = {path: path.read_bytes() for path in (tmp_path / "run" / "unfinished").iterdir()}
    assert len(kept) == 3
    assert sum("goes on where it was interrupted" in note for note in go(tmp_path / "run")) == 3
    assert sizes == [3]
    assert listing(tmp_path / "run") == listing(tmp_path / "alone")

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "again", After(1.9))
    for path in sorted(kept)[1:]:  # the first is further
        (tmp_path / "again" / "unfinished" / path.name).write_bytes(kept[path])
    assert sum("goes on where it was interrupted" in note for note in go(tmp_path / "again")) == 3
    assert sizes == [1, 2]
    assert listing(tmp_path / "again") == listing(tmp_path / "alone")


def test_a_gpu_is_given_so_many_models_that_every_multiprocessor_has_some(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, es = ENGINES["gpu"], [mock.Mock()] * 3
    assert engine.independent
    assert engine.models_at_once(es, "cpu") == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: mock.Mock(multi_processor_count=132))
    assert engine.models_at_once(es, "cuda:1") == 32 * 132


def test_in_process_is_who_asks() -> None:
    assert InProcess("fused", "cpu")._memory() is not None
    assert InProcess("fused", "cuda")._memory() is None
    assert InProcess("fused", "cuda", most_bytes=5)._memory() == 5
