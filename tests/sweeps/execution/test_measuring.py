"""Where the models of a run folder are measured: on the kind of device that trained them, if it is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import TINIER
from tests.elsewhere import LOST, Elsewhere
from toymodels.parameters import Parameters
from toymodels.sweeps.errors import DeviceLost
from toymodels.sweeps.execution import measuring
from toymodels.sweeps.execution.run import run as run_sweep
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.manifest import Manifest
from toymodels.training.experiment import Experiment


@pytest.mark.parametrize(
    ("trained_on", "there_is_one", "device"),
    [("cuda", True, "cuda"), ("cuda", False, "cpu"), ("cpu", True, "cpu"), ("cpu", False, "cpu")],
)
def test_models_are_measured_on_the_kind_of_device_that_trained_them_if_it_is_here(
    trained_on: str, there_is_one: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there_is_one)
    manifest = Manifest.begun(make_plan(parse(TINIER, "tiny", "tiny.toml")), "fused", "cpu")
    assert measuring.device_of(replace(manifest, device=trained_on)) == device


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
    ],
)
def test_what_does_not_fit_is_measured_on_the_cpu_and_said(error: RuntimeError) -> None:
    asked, said = list[str](), list[str]()

    def work(device: str) -> str:
        asked.append(device)
        if device == "cuda":
            raise error
        return device

    assert measuring.where_it_fits("cuda", work, "it", said.append) == "cpu"
    assert asked == ["cuda", "cpu"]
    assert said == ["it did not fit in the memory of cuda: measured on the CPU"]


def test_other_errors_stay_what_they_are() -> None:
    def work(device: str) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    def full(device: str) -> None:
        raise torch.OutOfMemoryError("not enough memory")

    with pytest.raises(RuntimeError, match="mat1"):
        measuring.where_it_fits("cuda", work)
    with pytest.raises(torch.OutOfMemoryError):
        measuring.where_it_fits("cpu", full)
    with pytest.raises(RuntimeError, match="mat1"), measuring.naming_the_lost("cuda"):
        work("cuda")
    with pytest.raises(DeviceLost, match="cuda no longer answers"), measuring.naming_the_lost("cuda"):
        raise torch.AcceleratorError(LOST)


def test_models_of_a_run_are_there_with_their_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_sweep(make_plan(parse(TINIER, "tiny", "tiny.toml")), tmp_path, "autograd", "cpu")
    run, said = load(tmp_path), list[str]()

    def work(experiments: Sequence[Experiment], parameters: Parameters) -> tuple[str, list[int], float]:
        x = torch.ones_like(parameters.W_in[:, :1])
        device, seeds = parameters.W_in.device.type, [e.seed for e in experiments]
        return device, seeds, float((parameters.W_in * x).sum().cpu())

    here = measuring.where_trained(run, [0, 1], work)
    with Elsewhere() as elsewhere:
        monkeypatch.setattr(measuring, "device_of", lambda manifest: "meta")
        assert measuring.where_trained(run, [0, 1], work, said.append) == ("meta", *here[1:])
        elsewhere.most = 2
        assert measuring.where_trained(run, [0, 1], work, said.append) == here == ("cpu", [0, 1], here[2])
    assert said == ["models 0 to 1 did not fit in the memory of meta: measured on the CPU"]
