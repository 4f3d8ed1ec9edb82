"""The manifest: what a run folder is, in one JSON file.

It is written once, and replaced by ``--extend`` alone: which is what makes an extension happen at one moment. Of a
folder that was extended, ``sweeps`` says how many sweeps it is of, the first and one an extension.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from toymodels.kernels.vector import processor
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.store import regular
from toymodels.sweeps.store.rights import unreadable
from toymodels.sweeps.store.tensorfile import SCHEMA

NUMERICS = 3
"""Raised when the same plan on the same machine would give other bytes."""
MEASURES = 2
"""Raised when the same pack would be measured otherwise: what older versions measured is measured again."""
FIELDS = {"schema": int, "numerics": int, "plan": str, "models": int, "packs": int, "engine": str, "device": str}
MOST_BYTES = 2**20
MAX_SWEEPS = 1000
"""of which one folder may be"""


def versions() -> dict[str, str]:
    """The versions on which the bytes of a pack depend."""
    names = ("toymodels", "torch", "numpy", "numba", "safetensors")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def of_bytes() -> dict[str, str]:
    """All that the bytes of a pack depend on beside its plan and engine."""
    return versions() | {"processor": processor()}


def begun(plan: Plan, engine: str, device: str) -> dict[str, Any]:
    """The manifest of a new folder."""
    said = {"schema": SCHEMA, "numerics": NUMERICS, "engine": engine, "device": device, "versions": of_bytes()}
    return said | _of_plan(plan)


def extended(manifest: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The manifest of the folder when it has become that of ``plan``."""
    return {**manifest, **_of_plan(plan), "sweeps": len(plan.starts)}


def _of_plan(plan: Plan) -> dict[str, Any]:
    return {"plan": plan.hash, "models": len(plan), "packs": len(plan.packs)}


def sweep_files(manifest: Mapping[str, Any]) -> list[str]:
    """The names of the files that hold the folder's sweeps, oldest first."""
    return [f"sweep-{number:04d}.toml" for number in range(manifest.get("sweeps", 0))] or ["sweep.toml"]


def as_bytes(manifest: Mapping[str, Any]) -> bytes:
    """What the file holds."""
    return json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n"


def read(path: Path) -> dict[str, Any]:
    """The manifest in this file. Raises `FolderError` where there is none, or a newer, damaged or unreadable one."""
    try:
        manifest = json.loads(regular.read(path, MOST_BYTES))
        schema = int(manifest["schema"])
        whole = all(type(manifest.get(name)) is kind for name, kind in FIELDS.items())
        if "sweeps" in manifest:
            whole = whole and type(manifest["sweeps"]) is int and 2 <= manifest["sweeps"] <= MAX_SWEEPS
    except FileNotFoundError:
        raise FolderError(f"{path.parent}: not a run folder (it has no manifest.json)") from None
    except NotADirectoryError:
        raise FolderError(f"{path.parent}: not a run folder") from None
    except (regular.Irregular, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        schema, whole, manifest = 0, False, {}
    except OSError as error:
        raise unreadable(path, error) from None
    if schema > SCHEMA:
        raise FolderError(f"{path.parent}: written by a newer toymodels (schema {schema}, this one reads {SCHEMA})")
    if not whole:
        raise FolderError(f"{path}: damaged: move the folder away and run the sweep again")
    return manifest
