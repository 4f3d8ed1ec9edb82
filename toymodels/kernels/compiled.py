"""Compiling: a kernel is compiled once a machine and kept, and never outlives its source.

Numba's own on-disk cache looks at the file a kernel stands in, not at the files of what it calls, and so keeps stale
kernels. Here the cache folder is named by a digest of every file in this package: an edit anywhere is another folder.
`kept` reads and writes what is in it. Of Numba's internals this uses a dispatcher's ``compile`` and ``_cache``, the
setting ``DISABLE_JIT`` and the lock under which Numba compiles.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock

from toymodels.kernels.kept import Kept, refusal

NUMBA_SETTINGS: Any = config
SOURCES = sorted(Path(__file__).parent.glob("*.py"))
ROOM = 4 * 2**20
"""Bytes that a version's kernels take, and half as many again."""


def _base() -> Path | None:
    """Where compiled kernels are kept: under Numba's own setting, the user's cache folder, or ~/.cache.

    None for a user without a home. What lies there is run, so it is never a folder that others could make first.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(chosen).absolute() if chosen else Path.home() / ".cache") / "toymodels"
    except (RuntimeError, OSError):  # neither HOME nor an entry for this user; or a working folder that is gone
        return None


def digest() -> str:
    """Of the sources of all kernels and the versions of what compiles them: 16 hexadecimal digits."""
    parts = [path.name.encode() + b"\0" + path.read_bytes() for path in SOURCES]
    parts.append(f"{numba.__version__} {llvmlite.__version__}".encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _folder() -> Path | None:
    base = _base()
    return base / f"kernels-{digest()}" if base else None


FOLDER = _folder()
"""The cache folder of this version of the kernels; None where nothing can be kept."""


@contextmanager
def _compiling() -> Iterator[None]:
    """Compiling is possible meanwhile, also where NUMBA_DISABLE_JIT is set: interpreted, a kernel is no program."""
    with global_compiler_lock:
        before = NUMBA_SETTINGS.DISABLE_JIT
        try:
            NUMBA_SETTINGS.DISABLE_JIT = 0
            yield
        finally:
            NUMBA_SETTINGS.DISABLE_JIT = before


def _dispatcher(body: Callable[..., Any], **options: Any) -> Any:
    with _compiling():
        return numba.njit(error_model="numpy", **options)(body)


def inner(body: Callable[..., Any]) -> Any:
    """A function that kernels call: compiled into each of them."""
    return _dispatcher(body, forceinline=True)


def function(body: Callable[..., Any]) -> Any:
    """A function that several kernels call, compiled once."""
    return _dispatcher(body)


def kernel(body: Callable[..., Any]) -> Any:
    """A function that Python calls, on any number of threads at once; kept in `FOLDER` where that can be written."""
    dispatcher = _dispatcher(body, nogil=True)
    if FOLDER:
        dispatcher._cache = Kept(body, FOLDER)
    dispatcher.compile = _compiling()(dispatcher.compile)
    return dispatcher


def compiled() -> bool:
    """Whether this version's kernels were compiled before, and can be read here."""
    found = (
        [*FOLDER.glob(f"{name}-*.nbc")] if FOLDER else []
        for name in ("steps.train", "moments.collect", "rotated.rotate")
    )
    return all(any(_can_be_read(path) for path in paths) for paths in found)


def _can_be_read(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


def why_not_kept() -> str | None:
    """Why what this process compiled could not be kept, in a sentence; None where it was."""
    if FOLDER is None:
        return _unkept("there is no home folder; NUMBA_CACHE_DIR can name another")
    error = refusal()
    return _unkept(f"{FOLDER}: {error.strerror or error}") if error else None


def whereabouts() -> str:
    """Where compiled kernels are, or will be, or why they cannot be kept there."""
    if FOLDER is None:
        return f"none: {why_not_kept()}"
    if compiled():
        return str(FOLDER)
    try:
        there = next(folder for folder in (FOLDER, *FOLDER.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(ROOM))
    except OSError as error:
        return f"none: {_unkept(f'{FOLDER}: {error.strerror or error}')}"
    return f"none yet; they will be kept in {FOLDER}"


def _unkept(why: str) -> str:
    return f"compiled kernels cannot be kept ({why}): every process compiles its own"


def clear() -> list[Path]:
    """Remove every version's compiled kernels; returns the folders that were there."""
    base = _base()
    folders = sorted(base.glob("kernels-*")) if base else []
    for folder in folders:
        shutil.rmtree(folder)
    return folders
