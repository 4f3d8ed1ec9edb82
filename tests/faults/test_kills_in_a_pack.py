"""One pack that takes many seconds, killed again and again: what was trained before is not trained again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import listing
from toymodels.sweeps.store.tensorfile import deserialise

pytestmark = pytest.mark.kill

SWEEP = """
question = "Does it go on?"
[features]
n = 32
density = 0.1
[model]
hidden = 8
activation = "solu"
layer_norm = true
[train]
steps = {steps}
batch = 128
snapshots = 4
[eval]
samples = 4096
[grid]
"train.learning_rate" = [0.001, 1e6]
seed = {{ range = [0, 3] }}
"""
STEPS = {"fused": 150_000, "autograd": 8_000}
"""some ten seconds of six models"""
OFTEN = """
import signal
from toymodels.cli import app
from toymodels.sweeps.execution import checkpoints
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored, which is respected
checkpoints.SECONDS = 0.25
app()
"""
KILLS = 6


def begun(folder: Path, engine: str) -> subprocess.Popen[str]:
    (folder / "sweep.toml").write_text(SWEEP.format(steps=STEPS[engine]))
    return subprocess.Popen(
        [sys.executable, "-c", OFTEN, "sweep", "sweep.toml", "--out", "run", "--engine", engine],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def steps_done(folder: Path) -> float:
    """By the models of the pack on average, as the folder has it; 0 where it has nothing."""
    found = list((folder / "run" / "unfinished").glob("*.safetensors"))
    return sum(deserialise(path).tensors["step"].double().mean().item() for path in found)


@pytest.fixture(scope="module", params=list(STEPS))
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """The engine, and the folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    code, said = ended(begun(folder, request.param))
    assert code == 0, said
    return request.param, listing(folder / "run")


def grown(folder: Path, before: float, process: subprocess.Popen[str]) -> None:
    """Wait until the checkpoint says more than before, or the sweep has ended."""
    end = time.monotonic() + 120
    while steps_done(folder) <= before and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_killed_in_mid_pack_it_goes_on_from_there_to_the_same_bytes(
    whole: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    engine, expected = whole
    chance, done = random.Random(0), [0.0]
    for _ in range(KILLS):
        process = begun(tmp_path, engine)
        grown(tmp_path, done[-1], process)
        time.sleep(chance.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        if ended(process)[0] == 0 or list((tmp_path / "run" / "packs").glob("*.safetensors")):
            break
        done.append(steps_done(tmp_path))
    assert len(done) > 2
    assert done == sorted(set(done))
    code, said = ended(begun(tmp_path, engine))
    assert code == 0, said
    assert listing(tmp_path / "run") == expected


@pytest.mark.parametrize("stop, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_once_it_goes_on_to_the_same_bytes(
    whole: tuple[str, dict[str, bytes]], tmp_path: Path, stop: signal.Signals, code: int
) -> None:
    engine, expected = whole
    process = begun(tmp_path, engine)
    grown(tmp_path, 0.0, process)
    process.send_signal(stop)
    assert ended(process)[0] == code
    assert steps_done(tmp_path) > 0
    code, said = ended(begun(tmp_path, engine))
    assert code == 0, said
    assert "goes on where it was interrupted" in said
    assert listing(tmp_path / "run") == expected
