"""Compiling: a kernel is compiled once a machine and kept, and never outlives its source.

Numba's own on-disk cache looks at the file a kernel stands in, not at the files of what it calls, and so keeps stale
kernels. Here the cache folder is named by a digest of every file in this package: an edit anywhere is another folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config

SETTINGS: Any = config
SOURCES = sorted(Path(__file__).parent.glob("*.py"))


def _base() -> Path:
    """Where compiled kernels are kept: under Numba's own setting, the user's cache folder, or ~/.cache."""
    chosen = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else Path.home() / ".cache") / "toymodels"


def _digest() -> str:
    parts = [path.name.encode() + b"\0" + path.read_bytes() for path in SOURCES]
    parts.append(f"{numba.__version__} {llvmlite.__version__}".encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


FOLDER = _base() / f"kernels-{_digest()}"
"""The cache folder of this version of the kernels."""


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def inner(body: Callable[..., Any]) -> Any:
    """A function that kernels call: compiled into each of them."""
    return numba.njit(error_model="numpy", forceinline=True)(body)


def function(body: Callable[..., Any]) -> Any:
    """A function that several kernels call, compiled once."""
    return numba.njit(error_model="numpy")(body)


def kernel(body: Callable[..., Any]) -> Any:
    """A function that Python calls, on any number of threads at once; kept in `FOLDER` where that can be written."""
    before = SETTINGS.CACHE_DIR
    cache = _writable(FOLDER)
    try:
        SETTINGS.CACHE_DIR = str(FOLDER) if cache else before
        return numba.njit(error_model="numpy", nogil=True, cache=cache)(body)
    finally:
        SETTINGS.CACHE_DIR = before


def compiled() -> bool:
    """Whether this version's kernels were compiled here before."""
    return all(any(FOLDER.rglob(name)) for name in ("steps.train*.nbi", "moments.collect*.nbi"))


def clear() -> list[Path]:
    """Remove every version's compiled kernels; returns the folders that were there."""
    folders = sorted(_base().glob("kernels-*"))
    for folder in folders:
        shutil.rmtree(folder)
    return folders
