"""A sweep killed again and again at random moments, then left alone: the same bytes as one that nobody touched."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import DOOR, listing
from toymodels.sweeps.store.tensorfile import deserialise

pytestmark = pytest.mark.kill

KILLS = 20
SWEEP = """
question = "Does it survive?"
[features]
n = 24
density = 0.2
[model]
hidden = 6
[train]
steps = 1500
batch = 64
[eval]
samples = 4096
[grid]
"model.activation" = ["relu", "gelu", "solu", "silu"]
"model.layer_norm" = [false, true]
"features.values" = ["uniform", "binary"]
seed = { range = [0, 6] }
"""
"""96 models in 16 packs, a second or so each"""
TUNED = (
    SWEEP.replace("range = [0, 6]", "range = [0, 2]")
    + """
[tune]
seeds = [1000, 1001]
steps = 0.5
"train.learning_rate" = [1e-3, 1e-2]
"""
)
"""32 models in 16 packs, after 64 of half their length that tune them"""
COMMAND = [sys.executable, "-c", DOOR, "sweep", "sweep.toml", "--out", "run"]


def begun(folder: Path, *more: str) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *more],
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """The folder of an undisturbed run, and the seconds it took."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "sweep.toml").write_text(SWEEP)
    start = time.monotonic()
    code, said = ended(begun(folder))
    assert code == 0, said
    return listing(folder / "run"), time.monotonic() - start


@pytest.mark.parametrize("shards", [1, 2])
def test_killed_twenty_times_it_is_the_same_in_the_end(
    whole: tuple[dict[str, bytes], float], tmp_path: Path, shards: int
) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP)
    chance, (expected, seconds) = random.Random(shards), whole
    options = [["--shard", f"{index}/{shards}"] if shards > 1 else [] for index in range(shards)]
    kept: dict[str, bytes] = {}
    for _ in range(KILLS // shards):
        started = [begun(tmp_path, *option) for option in options]
        time.sleep(chance.uniform(0, 0.4 * seconds))
        for process in started:
            process.send_signal(signal.SIGKILL)
        codes = [ended(process)[0] for process in started]
        assert set(codes) <= {-signal.SIGKILL, 0}
        now = {path.name: path.read_bytes() for path in (tmp_path / "run" / "packs").glob("*.safetensors")}
        assert kept.items() <= now.items()  # nothing that was finished is lost, or trained again to other bytes
        kept = now
    for path in (tmp_path / "run" / "packs").glob("*.safetensors"):
        deserialise(path)  # whole
    for option in options:
        code, said = ended(begun(tmp_path, *option))
        assert code == 0, said
    code, said = ended(begun(tmp_path))
    assert code == 0, said
    assert listing(tmp_path / "run") == expected


def test_a_tuned_sweep_killed_in_either_part_is_the_same_in_the_end(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
        (folder / "sweep.toml").write_text(TUNED)
    start = time.monotonic()
    code, said = ended(begun(folders[0]))
    assert code == 0, said
    chance, seconds = random.Random(0), time.monotonic() - start
    for _ in range(KILLS):
        process = begun(folders[1])
        time.sleep(chance.uniform(0, 0.4 * seconds))
        process.send_signal(signal.SIGKILL)
        assert ended(process)[0] in (-signal.SIGKILL, 0)
        for path in (folders[1] / "run").glob("**/packs/*.safetensors"):
            deserialise(path)  # whole
    code, said = ended(begun(folders[1]))
    assert code == 0, said
    assert listing(folders[1] / "run") == listing(folders[0] / "run")


def test_nothing_of_a_killed_sweep_goes_on(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP)
    process = begun(tmp_path)
    while not list((tmp_path / "run").glob("packs/*.safetensors")):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    ended(process)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert ended(begun(tmp_path))[0] == 0  # and nobody holds the folder
