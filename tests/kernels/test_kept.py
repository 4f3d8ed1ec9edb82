"""Compiled kernels on disk: read where they can be read, written where they can be written, and never in the way."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from numba.core import caching, compiler, config, dispatcher

from toymodels.engines import ENGINES
from toymodels.engines.fused import preparing
from toymodels.kernels import compiled, draw, kept

ROOT = Path(__file__).parents[2]
READER = "+dac_read_search"
ANOTHER = f"setpriv --reuid=12345 --regid=12345 --clear-groups --inh-caps={READER} --ambient-caps={READER}"
"""Somebody without a home and without an entry among the users, who may read everything, and write only their own."""
PROGRAM = """
import numpy as np
from toymodels.kernels import compiled, draw, kept
out = np.zeros((1, 1, draw.whole_tiles(1)), np.uint32)
draw.fill_words(out, np.zeros(1, np.uint64), 0, 0, 0)
print(out[0, 0, 0], sum(draw.fill_words.stats.cache_hits.values()), compiled.why_not_kept(), sep="|")
"""
WORD = str(0x6627E8D5)
"""Philox of all zeros (Salmon et al. 2011)."""


def words(cache: Path | None, by: str = "", **settings: str) -> list[str]:
    """In a new process: the first word of the stream, how many kernels it found, and why it could not keep its own."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}
    environment |= {"NUMBA_CACHE_DIR": str(cache)} if cache else {}
    command = [*by.split(), sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split("|")


@pytest.fixture
def another() -> str:
    """What a command begins with that another user gives; no test where only one user can be."""
    if subprocess.run([*ANOTHER.split(), "true"], capture_output=True, check=False).returncode:
        pytest.skip("this process may not become another user")
    return ANOTHER


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system without room for a kernel, or no test where none may be mounted."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_the_parts_of_numba_that_are_used_are_there() -> None:
    # The upper bound in pyproject.toml says where this was last looked at.
    arguments = inspect.signature(caching.IndexDataCacheFile).parameters
    assert [*arguments] == ["cache_path", "filename_base", "source_stamp"]
    for method in ("save", "load", "_load_index", "_open_for_write"):
        assert method in vars(caching.IndexDataCacheFile)
    assert caching._Cache.__abstractmethods__ <= set(dir(kept.Kept))
    assert all(callable(getattr(compiler.CompileResult, name)) for name in ("_reduce", "_rebuild"))
    assert "DISABLE_JIT" in vars(config)
    assert set(kept.MAKES_OTHER_CODE) <= set(vars(config))
    source = inspect.getsource(dispatcher.Dispatcher)
    for used in ("self._cache.load_overload(sig, self.targetctx)", "self._cache.save_overload(sig, cres)"):
        assert used in source
    assert isinstance(draw.fill_words._cache, kept.Kept)


def test_what_cannot_be_written_can_still_be_read(tmp_path: Path, another: str) -> None:
    tmp_path.chmod(0o755)
    cache = tmp_path / "cache"
    assert words(cache) == [WORD, "0", "None"]
    assert words(cache, another) == [WORD, "1", "None"]


def test_a_folder_that_cannot_be_written_costs_the_keeping(tmp_path: Path, another: str) -> None:
    word, found, why = words(tmp_path / "cache", another)
    assert (word, found) == (WORD, "0")
    assert why.startswith("compiled kernels cannot be kept (")
    assert "Permission denied" in why
    assert not [*tmp_path.iterdir()]


def test_a_full_folder_costs_the_keeping_and_leaves_nothing_half_written(full: Path) -> None:
    for _ in range(2):
        word, found, why = words(full)
        assert (word, found) == (WORD, "0")
        assert why.endswith("No space left on device): every process compiles its own")
        assert not [*full.rglob("*.nbc"), *full.rglob("*.tmp.*")]


def test_without_a_home_nothing_is_kept_and_everything_works(another: str) -> None:
    word, found, why = words(None, another)
    assert (word, found) == (WORD, "0")
    assert "there is no home folder" in why


def test_importing_writes_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    program = "import toymodels as tm; tm.train, tm.measure"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not [*tmp_path.iterdir()]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("damage", [cut, lambda _: b"", lambda content: bytes(len(content))])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_file_that_is_not_whole_is_not_used_and_is_written_again(
    tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    words(tmp_path)
    (file,) = tmp_path.rglob(f"*.{suffix}")
    file.write_bytes(damage(file.read_bytes()))
    assert words(tmp_path) == [WORD, "0", "None"]
    assert words(tmp_path) == [WORD, "1", "None"]


@pytest.mark.parametrize("stopped_in", ["fsync", "replace"])
def test_stopped_while_writing_there_is_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stopped_in: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, stopped_in, stop)
    file = kept._File(str(tmp_path), "kernel", source_stamp="")
    with pytest.raises(KeyboardInterrupt):
        file.save("key", b"code")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "setting", ["DISABLE_JIT=1", "OPT=0", "BOUNDSCHECK=1", "DEBUGINFO=1", "FULL_TRACEBACKS=1", "NUM_THREADS=1"]
)
def test_numbas_settings_change_no_word_and_no_code_that_others_find(tmp_path: Path, setting: str) -> None:
    name, _, value = setting.partition("=")
    assert words(tmp_path, **{f"NUMBA_{name}": value})[:2] == [WORD, "0"]
    same_code = setting in ("DISABLE_JIT=1", "FULL_TRACEBACKS=1", "NUM_THREADS=1")
    assert words(tmp_path) == [WORD, "1" if same_code else "0", "None"]


def test_whoever_compiles_is_told_once_that_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, notes = [False], []
    monkeypatch.setattr(compiled, "FOLDER", None)
    monkeypatch.setattr(preparing, "prepared", lambda: prepared[0])
    monkeypatch.setattr(preparing, "prepare", lambda: prepared.__setitem__(0, True))
    for _ in range(2):
        ENGINES["fused"].prepare(notes.append)
    assert [note.partition(" ")[0] for note in notes] == ["compiling", "compiled"]


def test_the_doctor_says_where_kernels_are_or_why_they_cannot_be_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiled, "FOLDER", tmp_path / "cache" / "kernels")
    assert compiled.whereabouts() == f"none yet; they will be kept in {tmp_path}/cache/kernels"
    (tmp_path / "cache").write_text("not a folder")
    assert "Not a directory" in compiled.whereabouts()
    monkeypatch.setattr(compiled, "FOLDER", None)
    assert compiled.whereabouts().startswith("none: compiled kernels cannot be kept (there is no home folder")
