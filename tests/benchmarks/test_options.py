"""What is asked of a benchmark and cannot be: exit code 2 and a sentence, nothing timed and no record."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toymodels.kernels.on_gpu.availability import SWITCH

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # benchmarks are in no wheel

from benchmarks import device, tuning  # noqa: E402
from benchmarks.workload import WORKLOADS  # noqa: E402

EVERY = "'W1', 'W2', 'W3', 'W4', 'W5', 'W6', 'W7', 'W8', 'W9' or 'W10'"
CPU = ("--device", "cpu", "--tiny")


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """What a program says in its last line before it ends."""

    def timed(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was timed")

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for module, name in ((device, "measure_peaks"), (device, "same_learning"), (tuning, "Tuned")):
        monkeypatch.setattr(module, name, timed)

    def said(main: Callable[[list[str]], None], *arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--out", str(tmp_path / "records")])
        assert ended.value.code == 2
        assert not (tmp_path / "records").exists()
        return capsys.readouterr().err.splitlines()[-1].partition("error: ")[2]

    return said


@pytest.mark.parametrize("main", [device.main, tuning.main])
def test_a_workload_that_is_none_is_refused_with_the_choices(main: Any, refused: Any) -> None:
    assert refused(main, *CPU, "--only", "W1,W99") == f"--only: expected {EVERY}, got 'W99'"


def test_a_part_or_an_engine_that_is_none_is_refused_with_the_choices(refused: Any) -> None:
    assert refused(device.main, *CPU, "--parts", "foo") == (
        "--parts: expected 'learning', 'peers' or 'scale', got 'foo'"
    )
    said = refused(device.main, *CPU, "--engines", "gpuu")
    assert said.startswith("--engines: expected 'autograd', ")
    assert said.endswith(", got 'gpuu'")
    assert refused(device.main, "--device", "cpu", "--parts", "scale,peer").endswith("got 'peer'")


def test_an_engine_that_this_machine_or_device_has_not_is_refused(
    refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    lacks = "the gpu engine runs on a CUDA device, and this machine has none that torch can use"
    said = f"--device cpu: {lacks}: set TRITON_INTERPRET=1 to interpret it"
    assert refused(device.main, *CPU, "--engines", "autograd,gpu") == said
    assert refused(tuning.main, *CPU) == said
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    said = refused(device.main, "--engines", "fused")
    assert said.startswith("--device cuda: the fused engine trains on a cpu, not on cuda")


@pytest.mark.parametrize("main", [device.main, tuning.main])
def test_a_gpu_that_is_not_there_is_told_in_a_sentence(main: Any, refused: Any) -> None:
    said = "--device cuda: this machine has no GPU that torch can use: give --device cpu"
    assert refused(main) == refused(main, "--tiny", "--only", "W1") == said


def test_the_choices_are_what_there_is() -> None:
    assert [name.strip("'") for name in EVERY.replace(" or ", ", ").split(", ")] == list(
        dict.fromkeys(w.name.split()[0] for w in WORKLOADS)
    )
