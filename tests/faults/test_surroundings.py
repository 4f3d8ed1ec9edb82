"""What surrounds a sweep and must not matter: where it stands, what the clock says, who reads, on what terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DOOR, listing

TINY = """
question = "tiny ± ?"
[features]
n = 6
density = 0.3
frequency = { law = "zipf", exponent = 1.0 }
[model]
hidden = 2
[train]
steps = 30
batch = 16
[eval]
samples = 256
[grid]
"model.activation" = ["relu", "solu"]
seed = [0, 1]
"""
JUMPING = """
import random, time
time.time = lambda: random.uniform(0, 4e9)
time.time_ns = lambda: random.randrange(4 * 10**18)
"""
HEAD = f"{sys.executable} -c '{DOOR}' sweep tiny.toml --engine autograd | head -1"


def go(place: Path, *command: str, code: str = DOOR, **environment: str) -> subprocess.CompletedProcess[str]:
    place.mkdir(parents=True, exist_ok=True)
    (place / "tiny.toml").write_text(TINY)
    return subprocess.run(
        [sys.executable, "-c", code, *(command or ("sweep", "tiny.toml", "--engine", "autograd"))],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("usual")
    assert go(place, PYTHONHASHSEED="0").returncode == 0
    return listing(place / "runs" / "tiny")


@pytest.mark.parametrize(
    "place, code, environment",
    [
        ("plain", DOOR, {"PYTHONHASHSEED": "1"}),
        ("plain", DOOR, {"PYTHONHASHSEED": "4242", "TZ": "Asia/Kathmandu", "LANG": "tr_TR.UTF-8"}),
        ("with spaces/ünï ☃ '\"$HOME", DOOR, {}),
        ("plain", JUMPING + DOOR, {}),
    ],
    ids=["hash seed", "hash seed, zone, language", "spaces and unicode", "clock jumps"],
)
def test_the_same_bytes_wherever_and_whenever(
    tmp_path: Path, usual: dict[str, bytes], place: str, code: str, environment: dict[str, str]
) -> None:
    done = go(tmp_path / place, code=code, **environment)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert listing(tmp_path / place / "runs" / "tiny") == usual


def test_a_poor_terminal_gets_a_whole_sweep(tmp_path: Path, usual: dict[str, bytes]) -> None:
    poor = {"LANG": "C", "LC_ALL": "C", "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "40", "PYTHONIOENCODING": "ascii"}
    done = go(tmp_path, **poor)
    assert done.returncode == 0, done.stderr
    for said in (done.stdout, done.stderr):
        assert "\x1b" not in said
        assert "Traceback" not in said
    assert "Next: toymodels" in done.stdout
    assert listing(tmp_path / "runs" / "tiny") == usual


def test_a_reader_of_one_line_costs_the_sweep_nothing(tmp_path: Path, usual: dict[str, bytes]) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    read = subprocess.run(["bash", "-o", "pipefail", "-c", HEAD], cwd=tmp_path, capture_output=True, text=True)
    assert (read.returncode, len(read.stdout.splitlines())) == (0, 1)
    assert "Traceback" not in read.stderr
    assert listing(tmp_path / "runs" / "tiny") == usual


def test_a_closed_stdout_is_no_failure(tmp_path: Path, usual: dict[str, bytes]) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    command = HEAD.replace("| head -1", ">&-")
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert listing(tmp_path / "runs" / "tiny") == usual


@pytest.mark.parametrize(
    "locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["utf-8", "C"]
)
def test_names_that_are_no_text_are_names(tmp_path: Path, usual: dict[str, bytes], locale: dict[str, str]) -> None:
    file, folder = os.fsdecode(b"./gr\xc3\xb6\xff.toml"), os.fsdecode(b"run-\xff")
    (tmp_path / file).write_text(TINY, encoding="utf-8")
    swept = go(tmp_path, "sweep", file, "--out", folder, "--engine", "autograd", **locale)
    assert swept.returncode == 0, swept.stderr
    made = listing(tmp_path / folder)
    assert {name: made[name] for name in usual} == usual
    commands = [["show"], ["status"], ["tables"], ["report"], ["figure", "tms_intro"], ["show", "--json"]]
    for command in [*commands, ["figure", "two_tiers", "--json"]]:
        done = go(tmp_path, *command, folder, **locale)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    refused = go(tmp_path, "verdict", folder, **locale)
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1), refused.stderr
