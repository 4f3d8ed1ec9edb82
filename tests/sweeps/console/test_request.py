"""The request: what a machine lacks matters to who trains on it, and not to who asks for what is finished."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import toymodels as tm
from tests.conftest import TINIER, door, listing
from toymodels.engines import ENGINES
from toymodels.kernels.on_gpu import availability

NO_GPU = "this machine has no CUDA device that torch can use"
TUNED = """
[tune]
seeds = { range = [1000, 1002] }
steps = 0.5
"train.learning_rate" = [1e-4, 1e-2]
"""
CHOICES = [("gpu", "cuda"), ("autograd", "cuda"), ("gpu", "cpu")]
"""what a run may be made with that a laptop cannot; the last by workers that interpret kernels"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs, tuned and not, not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    for name, text in (("tiny", TINIER), ("tuned", TINIER + TUNED)):
        (folder / f"{name}.toml").write_text(text)
        assert door("sweep", folder / f"{name}.toml", "--out", folder / name, "--engine", "autograd").code == 0
    return folder


@pytest.fixture(autouse=True)
def _laptop(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test in a folder of its own, with the runs in it, on a machine without a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv(availability.SWITCH, raising=False)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def as_made_with(engine: str, device: str, run: str = "tiny") -> Path:
    """Let a run be one that was made elsewhere."""
    for path in Path(run).rglob("manifest.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"engine": engine, "device": device}))
    return Path(run)


def again(*options: str, run: str = "tiny") -> Any:
    return door("sweep", f"{run}.toml", "--out", run, *options)


@pytest.mark.parametrize("engine, device", CHOICES)
@pytest.mark.parametrize("run", ["tiny", "tuned"])
def test_a_finished_run_returns_at_once_wherever_it_was_made(engine: str, device: str, run: str) -> None:
    before = listing(as_made_with(engine, device, run))
    options = [(), ("--workers", "2"), ("--scheduler", "tcp://nobody:1"), ("--extend",), ("--device", device)]
    for given in options if run == "tiny" else [()]:
        answer = again(*given, "--json", run=run)
        assert (answer.code, answer.json()["trained"]) == (0, 0), answer.err
    for number in ("0/2", "1/2", "2/3"):
        assert again("--shard", number, run=run).code == 0
    assert tm.sweep(f"{run}.toml", out=run, progress=False).models is not None
    assert listing(Path(run)) == before


def test_a_numbered_device_is_one_of_that_kind() -> None:
    as_made_with("gpu", "cuda")
    assert again("--device", "cuda:3").code == 0


def test_another_engine_or_device_is_refused_without_a_line_before() -> None:
    as_made_with("gpu", "cuda")
    for options, made in (
        (("--device", "cpu"), "device cuda, now cpu"),
        (("--engine", "autograd"), "engine gpu, now autograd"),
        (("--engine", "fused", "--device", "cpu"), "engine gpu, now fused"),
    ):
        answer = again(*options)
        assert (answer.code, len(answer.err.splitlines())) == (4, 1)
        assert f"tiny: was made with {made}: its packs would not be comparable" in answer.err


@pytest.mark.parametrize("engine, device", CHOICES)
def test_a_pack_that_turns_out_damaged_is_trained_by_a_machine_that_can(engine: str, device: str) -> None:
    as_made_with(engine, device)
    pack = Path("tiny/packs/00000001.safetensors")
    whole, other = pack.read_bytes(), Path("tiny/packs/00000000.safetensors").read_bytes()
    for options in ((), ("--workers", "2"), ("--shard", "1/2")):
        pack.write_bytes(whole[:-7])
        answer = again(*options)
        (said,) = [line for line in answer.err.splitlines() if line.startswith("toymodels: ")]
        lacks = NO_GPU if device == "cuda" else ENGINES[engine].lacks(device)
        assert (answer.code, said) == (
            2,
            f"toymodels: {lacks}; packs of tiny must be trained by engine {engine} on {device}: run the same command "
            "on a machine that can",
        )
        assert "its 2 models must be trained again" in answer.err
    assert Path("tiny/packs/00000000.safetensors").read_bytes() == other


def test_measures_that_are_missing_are_made_on_the_cpu() -> None:
    before = listing(as_made_with("gpu", "cuda"))
    for path in Path("tiny/measures").iterdir():
        path.unlink()
    answer = again()
    assert answer.code == 0
    assert "are measured anew" in answer.err
    assert listing(Path("tiny")) == before


def test_what_is_to_be_trained_is_still_refused_beforehand() -> None:
    as_made_with("gpu", "cuda")
    Path("tiny/packs/00000001.safetensors").unlink()
    before = listing(Path("tiny"))
    for options in ((), ("--shard", "1/2"), ("--device", "cuda"), ("--set", "train.steps=31")):
        answer = again(*options)
        assert (answer.code, f"toymodels: --device: {NO_GPU}" in answer.err) == (2, True)
    assert listing(Path("tiny")) == before
    assert again("--shard", "0/2").code == 0  # its pack is there


def test_a_run_that_is_to_be_extended_is_none_that_is_finished() -> None:
    before = listing(as_made_with("gpu", "cuda"))
    answer = again("--grid", "seed=0,1,2", "--extend")
    assert (answer.code, f"--device: {NO_GPU}" in answer.err) == (2, True)
    assert listing(Path("tiny")) == before
