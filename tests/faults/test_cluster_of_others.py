"""Workers that have what the client has not, or lack what the run takes: asked, followed, and refused in a sentence.

Triton's interpreter stands for a GPU: where it is on, the gpu engine trains on a CPU. It is on in some workers, and in
no client here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import DOOR, listing
from tests.faults.test_cluster import ENV, OUT_OF_DATE, dask, stored, until
from toymodels.sweeps.console import request
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.workers import public
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.manifest import versions

pytestmark = pytest.mark.dask

TEXT = """
question = "by whom?"
[features]
n = 4
density = 0.3
[model]
hidden = 2
[train]
steps = {steps}
batch = 16
[eval]
samples = 64
[grid]
"model.activation" = ["linear", "relu", "gelu", "silu", "elu", "xexp"]
"model.layer_norm" = [false, true]
"""
"""twelve packs of one model"""
HAS_A_GPU = """
import torch
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
"""
"""a worker that says so"""
INTERPRETED, PLAIN = {"TRITON_INTERPRET": "1"}, {"TRITON_INTERPRET": "0"}
BY_GPU = ("--engine", "gpu", "--device", "cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    place = tmp_path_factory.mktemp("others")
    (place / "short.toml").write_text(TEXT.format(steps=6))
    (place / "long.toml").write_text(TEXT.format(steps=150))
    (place / "gpu.py").write_text(HAS_A_GPU)
    return place


def began(place: Path, *options: str, env: dict[str, str] = PLAIN) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DOOR, "sweep", *options]
    return subprocess.Popen(
        command, cwd=place, env=ENV | env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def said(running: subprocess.Popen[str]) -> tuple[int | None, str]:
    """Exit code and stderr."""
    err = running.communicate(timeout=200)[1]
    assert "Traceback" not in err
    return running.returncode, err


def test_a_client_without_a_gpu_has_workers_train_by_the_gpu_engine(place: Path) -> None:
    """To the bytes that a machine makes which has what they have."""
    code, err = said(began(place, "short.toml", *BY_GPU, "--out", "client"))
    assert (code, "the gpu engine runs on a CUDA device, and this machine has none" in err) == (2, True)
    assert said(began(place, "short.toml", *BY_GPU, "--out", "alone", env=INTERPRETED))[0] == 0
    with dask(place, "there", 2, **INTERPRETED) as (address, _, _):
        code, err = said(began(place, "short.toml", *BY_GPU, "--out", "there", "--scheduler", address))
    assert code == 0, err
    assert "engine gpu, cpu" in err
    assert listing(place / "there") == listing(place / "alone")
    code, err = said(began(place, "short.toml", "--out", "there", "--scheduler", address))  # who is gone by now
    assert (code, "engine gpu, cpu" in err) == (0, True)


def test_what_workers_have_is_what_auto_takes(place: Path) -> None:
    with dask(place, "gpus", 1, "--preload", str(place / "gpu.py"), **PLAIN) as (address, _, _):
        notes: list[str] = []
        asked = request.resolve(
            parse(TEXT.format(steps=6), "short", "short.toml"),
            out=place / "gpus",
            device="auto",
            engine="auto",
            shard=None,
            workers=None,
            scheduler=address,
            extend=False,
            reporter=Reporter(note=notes.append),
        )
        assert (asked.engine, asked.device) == ("gpu", "cuda")
        assert notes[-1] == "device cuda: workers with a CUDA device: 1 of 1"
        with another(place, address):
            until(lambda: there(address) == 2)
            code, err = said(began(place, "short.toml", "--out", "both", "--scheduler", address))
            assert code == 0, err
            assert "device cpu: workers with a CUDA device: 1 of 2, not tcp://" in err
            assert "engine fused, cpu" in err
            code, err = said(began(place, "short.toml", "--out", "cuda", "--device", "cuda", "--scheduler", address))
            assert (code, len(err.splitlines())) == (2, 1)
            assert "--device: the worker at tcp://" in err
            assert not (place / "cuda").exists()


@contextmanager
def another(place: Path, address: str) -> Iterator[None]:
    """A worker more, with nothing."""
    command = [sys.executable, "-m", "dask", "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    worker = subprocess.Popen(command, cwd=place, env=ENV | PLAIN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


def there(address: str) -> int:
    """How many workers a scheduler has."""
    ask = f"from distributed import Client; c = Client({address!r}); print(len(c.nthreads()))"
    return int(subprocess.run([sys.executable, "-c", ask], env=ENV, check=True, capture_output=True).stdout)


def test_workers_may_have_another_build_of_a_version_than_the_client_and_not_than_each_other(place: Path) -> None:
    """A login node usually has PyTorch for CPUs; what the folder says is what trained."""
    theirs = f"{public(versions()['torch'])}+cu000"
    (place / "build.py").write_text(OUT_OF_DATE.replace("1.0.0", theirs))
    with dask(place, "build", 1, "--preload", str(place / "build.py"), **PLAIN) as (address, _, _):
        code, err = said(began(place, "short.toml", "--out", "build", "--scheduler", address))
        assert code == 0, err
        assert json.loads((place / "build" / "manifest.json").read_text())["versions"]["torch"] == theirs
        running = began(place, "long.toml", "--engine", "autograd", "--out", "later", "--scheduler", address)
        until(lambda: stored(place / "later"))
        with another(place, address):
            code, err = said(running)
            assert code == 2, err
            assert f"a worker that came later has torch {versions()['torch']} there and {theirs} on the others" in err
            code, err = said(began(place, "short.toml", "--out", "mixed", "--scheduler", address))
            assert code == 2, err
            assert "torch " in err
            assert " at tcp://" in err
            assert not (place / "mixed").exists()


def test_a_worker_that_comes_later_and_lacks_what_the_run_takes_is_refused(place: Path) -> None:
    with dask(place, "late", 1, **INTERPRETED) as (address, _, _):
        running = began(place, "long.toml", *BY_GPU, "--out", "late", "--scheduler", address)
        until(lambda: stored(place / "late"))
        with another(place, address):
            code, err = said(running)
        assert code == 2, err
        lacks = "the gpu engine runs on a CUDA device, and this machine has none that torch can use"
        assert f"{lacks}; every worker of this run must train by engine" in err
    assert json.loads((place / "late" / "manifest.json").read_text())["engine"] == "gpu"
