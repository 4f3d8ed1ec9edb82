"""Numba's internals: which of them this package uses, so that a version without one says so in a sentence."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core import types
from numba.core.registry import cpu_target

from toymodels.kernels import compiled
from toymodels.kernels.compiled import kernel
from toymodels.kernels.kept import MAKES_OTHER_CODE

KERNELS = Path(compiled.__file__).parent
IMPORTED = {
    "numba.core": ("cgutils", "config"),
    "numba.core.caching": ("IndexDataCacheFile",),
    "numba.core.compiler": ("CompileResult",),
    "numba.core.compiler_lock": ("global_compiler_lock",),
    "numba.core.imputils": ("lower_builtin",),
    "numba.core.typing.templates": ("AbstractTemplate", "infer_global", "signature"),
}
"""by module, what kernels import that is no part of Numba's documented interface"""
PUBLIC = {"numba", "numba.extending"}
ATTRIBUTES = {
    "numba.core.caching.IndexDataCacheFile": ("load", "save", "_load_index", "_open_for_write"),
    "numba.core.compiler.CompileResult": ("_reduce", "_rebuild"),
    "numba.core.cgutils": ("get_or_insert_function",),
    "numba.core.config": ("CPU_NAME", "CPU_FEATURES", "DISABLE_JIT", *MAKES_OTHER_CODE),
}
"""by what has them, the names that are used of it"""
OF_THE_TARGET = ("refresh", "codegen", "make_array", "cast", "get_dummy_value")
NEEDED = [(module, name) for table in (IMPORTED, ATTRIBUTES) for module, names in table.items() for name in names]


def found(dotted: str) -> Any:
    """A module, or what a module holds."""
    try:
        return importlib.import_module(dotted)
    except ImportError:
        module, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(module), name)


def gone(what: str) -> str:
    return f"Numba {numba.__version__} has no {what}, which toymodels/kernels uses: bound numba in pyproject.toml"


@pytest.mark.parametrize("where, name", NEEDED)
def test_what_is_used_of_numba_is_there(where: str, name: str) -> None:
    assert hasattr(found(where), name), gone(f"{where}.{name}")


def test_what_is_used_of_a_dispatcher_and_its_target_is_there() -> None:
    @kernel
    def nothing(x):
        return x

    for name in ("compile", "_cache", "signatures"):
        assert hasattr(nothing, name), gone(f"dispatcher.{name}")
    context: Any = cpu_target.target_context
    for name in OF_THE_TARGET:
        assert hasattr(context, name), gone(f"target context's {name}")
    assert hasattr(context.codegen(), "magic_tuple"), gone("code generator's magic_tuple")
    one = numba.njit((types.int64,))(lambda x: x)
    (result,) = one.overloads.values()
    assert hasattr(result.library, "has_dynamic_globals"), gone("code library's has_dynamic_globals")


def test_nothing_else_of_numba_is_imported_by_kernels() -> None:
    imported: dict[str, set[str]] = {}
    for path in KERNELS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "numba":
                imported.setdefault(node.module or "", set()).update(alias.name for alias in node.names)
    assert {module: names for module, names in imported.items() if module not in PUBLIC} == {
        module: set(names) for module, names in IMPORTED.items()
    }
