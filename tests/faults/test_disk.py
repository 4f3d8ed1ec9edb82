"""A real disk that is full, and folders that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from toymodels.sweeps.store.tensorfile import deserialise

SWEEP = """
question = "Is there room?"
[features]
n = 100
density = 0.2
[model]
hidden = 40
[train]
steps = 5
batch = 16
[eval]
samples = 256
[grid]
"model.activation" = ["relu", "gelu", "solu", "silu"]
"model.layer_norm" = [false, true]
seed = { range = [0, 8] }
"""
"""64 models in eight packs of some 270 KiB"""


def sweep(folder: Path, out: Path) -> tuple[int, str]:
    command = [sys.executable, "-c", "from toymodels.cli import app; app()", "sweep", "sweep.toml", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the packs but not for their measures, or no test where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2600k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP)
    code, said = sweep(tmp_path, small_disk / "run")
    assert code == 1
    assert "No space left on device" in said
    assert "Traceback" not in said
    packs = sorted((small_disk / "run" / "packs").glob("*"))
    assert 1 <= len(packs) < 8
    assert [path.suffix for path in packs] == [".safetensors"] * len(packs)  # no temporary
    before = {path.name: path.read_bytes() for path in packs}
    for path in packs:
        deserialise(path)
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    code, said = sweep(tmp_path, small_disk / "run")
    assert code == 0, said
    assert before.items() <= {path.name: path.read_bytes() for path in (small_disk / "run" / "packs").glob("*")}.items()


def test_a_disk_on_which_the_packs_cannot_fit_is_refused_before_training(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP.replace("[0, 8]", "[0, 80]"))
    code, said = sweep(tmp_path, small_disk / "run")
    assert (code, "MiB are free: make room, or choose another --out" in said) == (1, True), said
    assert not list((small_disk / "run" / "packs").iterdir())
