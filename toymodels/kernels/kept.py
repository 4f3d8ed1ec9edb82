"""What was compiled, kept on disk: read where it can be read, written where it can be written, never in the way.

Numba's own cache asks for a folder that it can write to, even to read from it, and lets a write that fails stop the
program. It has one index for all signatures of a function, so that two kinds of processor that share a home may read
each other's code. Here a kernel has a file for each signature, processor and Python, in a folder that is named by the
digest of all kernel sources: so nothing in a file is ever stale.

Of Numba's internals this uses what a dispatcher asks of its cache, `IndexDataCacheFile` (how code is written and read)
and `CompileResult._reduce` and `_rebuild` (how code becomes a value that can be written).
"""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from typing import Any

from numba.core import config
from numba.core.caching import IndexDataCacheFile
from numba.core.compiler import CompileResult

MAKES_OTHER_CODE = (
    "OPT",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "EXTEND_VARIABLE_LIFETIMES",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "LLVM_REFPRUNE_PASS",
    "LLVM_REFPRUNE_FLAGS",
    "ENABLE_PROFILING",
    "DEBUG_NRT",
)
"""Settings of Numba, NUMBA_OPT and so on, under which the same source is other machine code of the same results."""

_refused: list[OSError] = []


def refusal() -> OSError | None:
    """Why what this process compiled could not be kept; None where it was, or where nothing was compiled."""
    return _refused[-1] if _refused else None


class Kept:
    """The compiled code of the function ``body``, in ``folder``: what Numba's dispatcher looks into and adds to."""

    def __init__(self, body: Callable[..., Any], folder: Path) -> None:
        self.name, self.folder = f"{body.__module__.rpartition('.')[2]}.{body.__qualname__}", folder

    @property
    def cache_path(self) -> str:
        """The folder in which Numba keeps what it compiled."""
        return str(self.folder)

    def enable(self) -> None:
        """Nothing: what can be kept is kept."""

    def disable(self) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing: what is kept is never stale."""

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """The code for these argument types; None where there is none that can be read."""
        target_context.refresh()
        try:
            file, key = self._place(sig, target_context.codegen())
            found = file.load(key)
            return None if found is None else CompileResult._rebuild(target_context, *found)
        except Exception:  # whatever is wrong with the file, compiling is right
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code for these argument types, where that is possible."""
        if data.library.has_dynamic_globals:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file, key = self._place(sig, data.codegen)
            file.save(key, data._reduce())
        except OSError as error:
            _refused.append(error)

    def _place(self, sig: Any, codegen: Any) -> tuple[IndexDataCacheFile, Any]:
        settings = [str(getattr(config, name, None)) for name in MAKES_OTHER_CODE]
        key = (sig, codegen.magic_tuple(), tuple(settings))
        digest = hashlib.sha256(f"{sys.implementation.cache_tag} {key}".encode()).hexdigest()[:16]
        return _File(str(self.folder), f"{self.name}-{digest}", source_stamp=""), key


class _File(IndexDataCacheFile):
    """Numba's file, whole or absent after a power cut too, and no obstacle where what lies there cannot be read."""

    def _load_index(self) -> dict[Any, str]:
        try:
            return super()._load_index()
        except Exception:
            return {}

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[BufferedWriter]:
        temporary = Path(f"{filepath}.tmp.{uuid.uuid4().hex[:16]}")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, filepath)
        finally:
            with suppress(OSError):
                temporary.unlink()
