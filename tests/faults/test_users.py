"""Several users, one run folder: files with the rights of the umask, and nothing private taken for damaged."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import DOOR, TINIER
from toymodels.kernels import compiled

ADA, BEN = 12345, 12346
"""numbers that need no name"""
GROUP = 12350


@pytest.fixture(scope="module")
def kernels() -> Iterator[Path]:
    """A folder of compiled kernels that every user may use, so that not each of them compiles; and that they can run.

    Pytest's own folders are private.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, who may become other users, and setpriv")
    tried = subprocess.run([*become(ADA), "-c", "import toymodels.cli"], cwd="/", capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("other users may not read this Python")
    with tempfile.TemporaryDirectory() as name:
        if compiled.FOLDER and compiled.FOLDER.is_dir():
            shutil.copytree(compiled.FOLDER, Path(name) / "toymodels" / compiled.FOLDER.name)
        (Path(name) / "toymodels").mkdir(exist_ok=True)
        subprocess.run(["chmod", "-R", "a+rwX", name], check=True)
        yield Path(name)


def become(user: int) -> list[str]:
    """The beginning of a command that runs Python as another user, in the group that shares the folder."""
    return ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={GROUP}", sys.executable]


@pytest.fixture
def shared(kernels: Path) -> Iterator[Path]:
    """Where every user may pass, with a run folder that all of the group may write into."""
    with place_in(kernels) as place:
        yield place


@contextmanager
def place_in(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "tiny.toml").write_text(TINIER)
        (place / "tiny.toml").chmod(0o644)
        (place / "run").mkdir()
        os.chown(place / "run", ADA, GROUP)
        (place / "run").chmod(0o2775)
        yield place


def door(place: Path, user: int, *arguments: str, umask: int = 0o002) -> tuple[int, str, str]:
    done = subprocess.run(
        [*become(user), "-c", DOOR, *arguments],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(place.parent)},
        umask=umask,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
    return done.returncode, done.stdout, done.stderr


SWEEP = ("sweep", "tiny.toml", "--out", "run", "--engine", "autograd")


def shard(place: Path, user: int, which: str, umask: int = 0o002) -> tuple[int, str, str]:
    return door(place, user, *SWEEP, "--shard", which, umask=umask)


def rights(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def test_two_users_with_an_open_umask_share_a_folder(shared: Path) -> None:
    for user, which in ((ADA, "0/2"), (BEN, "1/2")):
        code, _, err = shard(shared, user, which)
        assert code == 0, err
    run = shared / "run"
    assert rights(run / "packs") == (0o2775, ADA, GROUP)
    assert rights(run / "manifest.json") == (0o664, ADA, GROUP)
    assert rights(run / "packs" / "00000000.safetensors") == (0o664, ADA, GROUP)
    assert rights(run / "packs" / "00000001.safetensors") == (0o664, BEN, GROUP)
    assert rights(run / "models.parquet") == (0o664, BEN, GROUP)
    assert rights(run / ".lock") == (0o664, ADA, GROUP)


def test_a_shard_that_cannot_read_the_others_packs_ends_well_and_says_who_builds_the_tables(shared: Path) -> None:
    assert shard(shared, ADA, "0/2")[0] == 0
    run, secret = shared / "run", shared / "run" / "packs" / "00000001.safetensors"
    assert shard(shared, BEN, "1/2", umask=0o077)[0] == 0
    assert rights(secret) == (0o600, BEN, GROUP)
    assert rights(run / "models.parquet") == (0o600, BEN, GROUP)
    before = secret.read_bytes()
    for table in run.glob("*.parquet"):
        table.unlink()
    code, out, err = shard(shared, ADA, "0/2")
    assert code == 0
    assert "shard 0/2 is finished" in out
    assert "Next:" not in out
    assert "the tables are not built: run/packs/00000001.safetensors: cannot be read (Permission denied)" in err
    assert f"it is user {BEN}'s" in err
    assert "'toymodels tables run' builds them for whoever can read every pack" in err
    assert secret.read_bytes() == before
    assert [path.name for path in sorted((run / "packs").iterdir())] == ["00000000.safetensors", secret.name]
    assert door(shared, BEN, "tables", "run")[0] == 0
    assert rights(run / "models.parquet") == (0o664, BEN, GROUP)


@pytest.fixture(scope="module")
def of_ben(kernels: Path) -> Iterator[Path]:
    """A finished run of one user, where another one may write; not to be changed."""
    with place_in(kernels) as place:
        code, _, err = door(place, BEN, *SWEEP)
        assert code == 0, err
        yield place


@pytest.mark.parametrize(
    "name, command",
    [
        ("packs/00000001.safetensors", SWEEP),
        ("packs/00000001.safetensors", ("tables", "run")),
        ("manifest.json", SWEEP),
        ("manifest.json", ("status", "run")),
        ("sweep.toml", ("tables", "run")),
        ("models.parquet", ("show", "run")),
        ("packs", ("status", "run")),
    ],
)
def test_a_file_that_is_private_is_not_damaged(shared: Path, of_ben: Path, name: str, command: tuple[str, ...]) -> None:
    subprocess.run(["cp", "-a", of_ben / "run", shared], check=True)
    (shared / "run" / name).chmod(0o600)
    files = {path: path.read_bytes() for path in (shared / "run").rglob("*") if path.is_file() and path.suffix}
    code, _, err = door(shared, ADA, *command)
    assert code == 4, err
    assert f"run/{name}: cannot be read (Permission denied): it is user {BEN}'s" in err
    assert "damaged" not in err
    assert files.items() <= {path: path.read_bytes() for path in files}.items()
    assert not list((shared / "run").rglob("*.damaged-*"))


def test_private_measures_are_made_again(shared: Path, of_ben: Path) -> None:
    subprocess.run(["cp", "-a", of_ben / "run", shared], check=True)
    path = shared / "run" / "measures" / "00000001.safetensors"
    before = path.read_bytes()
    path.chmod(0o600)
    code, _, err = door(shared, ADA, *SWEEP)
    assert code == 0, err
    assert (path.read_bytes(), rights(path)) == (before, (0o664, ADA, GROUP))


def test_a_folder_that_its_owner_does_not_share_is_read_and_refused_before_training(shared: Path, of_ben: Path) -> None:
    subprocess.run(["cp", "-a", of_ben / "run", shared], check=True)
    (shared / "run").chmod(0o755)
    (shared / "run" / "packs" / "00000001.safetensors").unlink()
    os.chown(shared / "run", BEN, GROUP)
    for command in (SWEEP, ("tables", "run")):
        code, _, err = door(shared, ADA, *command)
        assert (code, f"run: cannot be written (Permission denied): it is user {BEN}'s" in err) == (4, True), err
    code, _, err = door(shared, ADA, "report", "run")
    assert (code, "report.html: cannot be written (Permission denied)" in err) == (4, True), err
