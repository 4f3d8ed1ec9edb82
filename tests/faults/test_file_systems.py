"""File systems that lack something: a folder's fsync, as over SMB; locks, as over NFS and Lustre mounted without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DOOR, TINIER, listing

LACKING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Before the C library: where a variable of the environment holds an error number, that is the answer. */
static int refused(const char *what) {
    const char *number = getenv(what);
    if (number) errno = atoi(number);
    return number != NULL;
}

int fsync(int file) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    struct stat found;
    if (!fstat(file, &found) && S_ISDIR(found.st_mode) && refused("LACKS_FSYNC_OF_FOLDERS")) return -1;
    return real(file);
}

int flock(int file, int operation) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    return refused("LACKS_LOCKS") ? -1 : real(file, operation);
}
"""
IN_TURN = """
import json, sys, toymodels
from typer.testing import CliRunner
from toymodels.cli import app
for command in map(json.loads, sys.argv[1:]):
    print(command[0], CliRunner().invoke(app, command).exit_code)
print(len(toymodels.load("run").models), toymodels.load("run").model(3).diverged)
"""
EINVAL, ENOLCK, ENOSYS, EOPNOTSUPP = 22, 37, 38, 95


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that takes something from every file system."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    place = tmp_path_factory.mktemp("lacking")
    (place / "lacking.c").write_text(LACKING)
    command = [compiler, "-shared", "-fPIC", "-o", "lacking.so", "lacking.c", "-ldl"]
    subprocess.run(command, cwd=place, check=True)
    return place / "lacking.so"


def door(place: Path, *arguments: str, code: str = DOOR, **environment: object) -> tuple[int, str, str]:
    (place / "tiny.toml").write_text(TINIER)
    added = {"OMP_NUM_THREADS": "1", **{name: str(value) for name, value in environment.items()}}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=place,
        env={**os.environ, **added},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
    return done.returncode, done.stdout, done.stderr


SWEEP = ("sweep", "tiny.toml", "--out", "run", "--engine", "autograd")


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("usual")
    assert door(place, *SWEEP)[0] == 0
    return place / "run"


def test_without_fsync_of_folders_a_sweep_is_the_same_bytes(tmp_path: Path, usual: Path, lacking: Path) -> None:
    code, _, err = door(tmp_path, *SWEEP, LD_PRELOAD=lacking, LACKS_FSYNC_OF_FOLDERS=EINVAL)
    assert code == 0, err
    assert listing(tmp_path / "run") == listing(usual)


@pytest.mark.parametrize(
    "number, command",
    [
        (ENOLCK, SWEEP),
        (ENOSYS, ("sweep", "tiny.toml", "--out", "there", "--shard", "0/2")),
        (EOPNOTSUPP, ("tables", "there")),
    ],
)
def test_without_locks_what_writes_says_what_it_needs(
    tmp_path: Path, usual: Path, lacking: Path, number: int, command: tuple[str, ...]
) -> None:
    shutil.copytree(usual, tmp_path / "there")
    before = listing(tmp_path / "there")
    code, _, err = door(tmp_path, *command, LD_PRELOAD=lacking, LACKS_LOCKS=number)
    assert code == 4, err
    said = [line for line in err.splitlines() if line.startswith("toymodels: ")]
    assert len(said) == 1
    assert f"has no locks ({os.strerror(number)})" in said[0]
    assert "a folder on a local disk" in said[0]
    assert "flock" in said[0]
    assert listing(tmp_path / "there") == before
    assert not listing(tmp_path / "run")


def test_without_locks_what_reads_reads(tmp_path: Path, usual: Path, lacking: Path) -> None:
    shutil.copytree(usual, tmp_path / "run")
    reads = [["show", "run"], ["status", "run"], ["figure", "tms_intro", "run"], ["report", "run"], ["list"]]
    code, out, err = door(tmp_path, *map(json.dumps, reads), code=IN_TURN, LD_PRELOAD=lacking, LACKS_LOCKS=ENOLCK)
    assert code == 0, err
    assert out.splitlines() == [*(f"{command[0]} 0" for command in reads), "4 False"]
