"""Devices: which one ``auto`` means, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import TINIER, door
from toymodels.engines import ENGINES
from toymodels.sweeps.execution import devices
from toymodels.sweeps.execution.choosing import resolve_device
from toymodels.sweeps.execution.devices import automatic, best_here
from toymodels.sweeps.execution.machines import Machine


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of NVIDIA's driver, on a machine whose PyTorch cannot use a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "gpus")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "gpus"


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """GPUs by name."""
    names = ["NVIDIA H100 80GB HBM3"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=0: names[index])
    return names


def test_a_gpu_is_chosen_and_named(gpus: list[str]) -> None:
    assert str(best_here()) == "device cuda: NVIDIA H100 80GB HBM3"
    gpus.append("NVIDIA H100 80GB HBM3")
    assert str(best_here()) == "device cuda: NVIDIA H100 80GB HBM3, one of 2: --workers 2 trains on all of them"
    assert resolve_device("auto", {}) == "cuda"


@pytest.mark.usefixtures("gpus")
def test_auto_follows_an_engine_that_is_for_a_cpu_alone(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINIER)
    answer = door("sweep", path, "--out", tmp_path / "run", "--engine", "fused")
    assert answer.code == 0, answer.err
    assert "device cpu: the fused engine trains on no other" in answer.err
    assert "engine fused, cpu" in answer.err
    answer = door("sweep", path, "--out", tmp_path / "named", "--engine", "fused", "--device", "cuda")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    how = 'choose device="cpu" (--device cpu), or engine gpu or autograd'
    assert f"--engine: the fused engine trains on a cpu, not on cuda: {how}" in answer.err
    assert {name: resolve_device("auto", {}, engine=name) for name in ENGINES if name != "fused"} == dict.fromkeys(
        ("autograd", "gpu", "gpu_tf32", "gpu_split"), "cuda"
    )
    with_gpu, without = Machine(1, {}, "tcp://gpu:1"), Machine(0, {}, "tcp://cpu:3")
    some, none = automatic({}, [with_gpu], "fused"), automatic({}, [with_gpu, without], "fused")
    assert (some.device, some.expected, none.device, none.expected) == ("cpu", False, "cpu", True)
    assert resolve_device("auto", {"device": "cuda"}, engine="fused") == "cuda"


def test_a_folder_that_was_begun_elsewhere_is_followed_and_that_is_said(gpus: list[str]) -> None:
    assert str(automatic({"device": "cpu"}, [Machine.here()])) == "device cpu: this run folder was begun on it"
    assert not automatic({"device": "cpu"}, [Machine.here()]).expected
    assert automatic({"device": "cuda"}, [Machine.here()]).expected
    assert resolve_device("auto", {"device": "cpu"}) == "cpu"


@pytest.mark.usefixtures("driver")
def test_a_machine_without_a_gpu_is_no_news() -> None:
    assert best_here().expected
    assert str(best_here()) == "device cpu: there is no NVIDIA GPU"
    assert automatic({"device": "cpu"}, [Machine.here()]).expected


def test_a_gpu_that_cannot_be_used_is_said_with_the_reason(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (driver / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert str(best_here()).endswith(f"there is an NVIDIA GPU, but PyTorch {torch.__version__} is built without CUDA")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert str(best_here()).endswith("PyTorch cannot use it: it needs a driver for CUDA 13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert str(best_here()).endswith("but CUDA_VISIBLE_DEVICES is ''")
    assert not best_here().expected


def test_the_command_and_the_doctor_say_it(driver: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINIER)
    quiet = door("sweep", "tiny.toml", "--dry-run").err
    assert "device" not in quiet
    (driver / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "device cpu: there is an NVIDIA GPU, but" in door("sweep", "tiny.toml", "--dry-run").err
    assert "device" not in door("sweep", "tiny.toml", "--dry-run", "--device", "cpu").err
    assert door("doctor", "--json").json()["device auto"].startswith("cpu: there is an NVIDIA GPU, but")
