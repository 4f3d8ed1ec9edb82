"""A sweep on a device that is not there (`tests.elsewhere`): the bytes of the CPU, full memory, a GPU that is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import toymodels as tm
from tests.conftest import BODY, TINIER, TINY, door, listing
from tests.elsewhere import DEVICE, LOST, Elsewhere
from toymodels.engines import ENGINES
from toymodels.engines.autograd import AutogradEngine, run
from toymodels.hosts import Models
from toymodels.metrics import measure, register, unregister
from toymodels.metrics.own import Measured
from toymodels.sweeps.errors import DeviceLost
from toymodels.sweeps.execution import checkpoints, job
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import Outcome
from toymodels.sweeps.execution.run import run as run_sweep
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.tensorfile import deserialise
from toymodels.training.memory import is_lost, is_of_device

LAYER = tm.Bottleneck(6, tm.SoLU(), tm.LayerNorm(), hidden_bias=True, tied=False)
HOSTS = {
    "bottleneck": (tm.Features(12, 0.2), tm.Bottleneck(5, tm.GeLU()), {}),
    "signed": (tm.Features(12, 0.2, signed=True), LAYER, {"target": tm.AbsoluteValue()}),
    "pairs": (tm.Features(12, 0.2, values=tm.Binary()), LAYER, {"target": tm.And(5)}),
    "decoder": (
        tm.Features(12, 0.2, values=tm.Binary()),
        tm.Bottleneck(6, tm.ReLU(), output=tm.Linear(), tied=False, embedding=tm.Embedding(4), top_k=3),
        {"loss": tm.CrossEntropy()},
    ),
    "experts": (tm.Features(12, 0.2), tm.Bottleneck(6, tm.ReLU(), tied=False, experts=2, gated=True), {}),
}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    monkeypatch.setattr(Models, "engine", property(lambda _: ENGINES["autograd"]))  # here too, so that bits are equal
    with Elsewhere() as device:
        monkeypatch.setattr(run, "recorder_for", lambda on: device if on.type == DEVICE.type else None)
        yield device


def tiny(text: str = TINIER) -> Any:
    return make_plan(parse(text, "tiny", "tiny.toml"))


def go(folder: Path, device: str = "meta", notes: list[str] | None = None, plan: Any = None) -> Outcome:
    said = [] if notes is None else notes
    return run_sweep(plan or tiny(), folder, "autograd", device, Reporter(said.append))


def without_manifest(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in listing(folder).items() if name != "manifest.json"}


@pytest.mark.parametrize("name", HOSTS)
def test_what_is_measured_where_the_parameters_are_is_what_is_measured_on_the_cpu(
    name: str, elsewhere: Elsewhere
) -> None:
    features, bottleneck, objective = HOSTS[name]
    recipe = tm.Training(steps=20, batch=32, learning_rate=0.01)
    es = [tm.Experiment(features, bottleneck, recipe, seed=seed, **objective) for seed in range(2)]
    parameters = tm.train(es, engine="autograd").parameters
    here = measure(es, parameters, 512)
    kernels = elsewhere.kernels
    there = measure(es, parameters.to("meta", torch.float32), 512)
    assert elsewhere.kernels > kernels + 500
    assert there.failed == here.failed == {}
    for level in ("models", "features", "neurons", "targets"):
        mine, theirs = getattr(there, level), getattr(here, level)
        assert mine.keys() == theirs.keys()
        for column, values in mine.items():
            assert type(values) is torch.Tensor
            assert torch.equal(values.nan_to_num(-7.0), theirs[column].nan_to_num(-7.0)), column


def test_a_metric_of_ones_own_gets_what_numpy_can_read(elsewhere: Elsewhere) -> None:
    @register("on_the_cpu", table="models")
    def _(of: Measured) -> Any:
        x, taps = of.forward(8)
        read_out = of.column("features.norm").numpy().sum(1) + taps.out.numpy().sum((1, 2)) + x.numpy().sum((1, 2))
        return read_out + of.parameters.W_in.numpy().sum((1, 2))

    try:
        es = [tm.Experiment(tm.Features(4, 0.5), tm.Bottleneck(2), tm.Training(steps=2, batch=4))]
        parameters = tm.train(es).parameters
        there = measure(es, parameters.to("meta", torch.float32), 256)
        assert "models.on_the_cpu" not in there.failed
        assert there.models["on_the_cpu"].isfinite().all()
    finally:
        unregister("on_the_cpu", "models")


def test_a_sweep_elsewhere_is_the_packs_and_tables_of_the_cpu(elsewhere: Elsewhere, tmp_path: Path) -> None:
    assert go(tmp_path / "there") == go(tmp_path / "here", "cpu") == Outcome(models=4, trained=4)
    assert elsewhere.kernels > 1000
    assert without_manifest(tmp_path / "there") == without_manifest(tmp_path / "here")
    assert json.loads((tmp_path / "there" / "manifest.json").read_text())["device"] == "meta"


def test_full_memory_halves_the_pack_which_records_it_and_the_sweep_goes_on(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    plan = tiny(BODY + "[grid]\nseed = { range = [0, 6] }\n")
    elsewhere.most = 3 * 16 * 6  # x of three models
    notes: list[str] = []
    assert go(tmp_path, notes=notes, plan=plan) == Outcome(models=6, trained=6)
    assert "pack 0 did not fit in memory at once: trained as 3 + 3 models" in notes
    assert deserialise(tmp_path / "packs" / "00000000.safetensors").metadata["sub_batches"] == [3, 3]
    elsewhere.most = 8
    failed = go(tmp_path / "none", plan=plan).failed
    assert failed[0].startswith("one model does not fit in memory: CUDA out of memory.")


def test_what_does_not_fit_to_be_measured_is_measured_on_the_cpu(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def full(experiments: Any, parameters: Any, *rest: Any) -> Any:
        asked.append(parameters.W_in.device.type)
        if asked[-1] == "meta":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return measure(experiments, parameters, *rest)

    monkeypatch.setattr(job, "measure", full)
    assert go(tmp_path) == Outcome(models=4, trained=4)
    assert asked == ["meta", "cpu"] * 2


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_gpu_that_is_lost_ends_the_sweep_in_a_sentence_and_the_same_command_goes_on(
    share: float, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    """Wherever it is: in training, while a step is recorded, or while models are measured."""
    go(tmp_path / "whole")
    elsewhere.lost_after = elsewhere.kernels + int(share * elsewhere.kernels)
    with mock.patch.object(checkpoints, "SECONDS", 0.0), pytest.raises(DeviceLost) as lost:
        go(tmp_path / "run")
    assert str(lost.value) == (
        "meta no longer answers (CUDA error: unspecified launch failure); what is finished is safe: run the same "
        "command again to continue"
    )
    elsewhere.lost_after = None
    assert go(tmp_path / "run").failed == {}
    assert listing(tmp_path / "run") == listing(tmp_path / "whole")


def test_by_the_command_it_is_exit_code_1_and_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    train, calls = AutogradEngine.train, 0

    def lost_in_the_third(self: Any, experiments: Sequence[tm.Experiment], *rest: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise torch.AcceleratorError(LOST)
        return train(self, experiments, *rest, **named)

    monkeypatch.setattr(AutogradEngine, "train", lost_in_the_third)
    answer = door("sweep", "tiny.toml", "--engine", "autograd")
    assert answer.code == 1
    assert answer.err.splitlines()[-1].endswith(
        "cpu no longer answers (CUDA error: unspecified launch failure); what is finished is safe: run the same "
        "command again to continue"
    )
    assert len(list(Path("runs/tiny/packs").iterdir())) == 2
    assert door("sweep", "tiny.toml", "--engine", "autograd").code == 0
    assert calls == 5


def test_which_errors_are_of_a_lost_gpu() -> None:
    assert is_lost(torch.AcceleratorError(LOST))
    assert is_lost(RuntimeError("CUDA error: device-side assert triggered"))
    for other in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        torch.AcceleratorError("CUDA error: operation not permitted when stream is capturing"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("CUDA error: no"),
    ):
        assert not is_lost(other)
    assert is_of_device(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_of_device(MemoryError("CUDA error: no"))
