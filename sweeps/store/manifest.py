"""The manifest: what a run folder is, in one JSON file.

It is written once, and replaced by ``--extend`` alone: which is what makes an extension happen at one moment. Of a
folder that was extended, ``sweeps`` says how many sweeps it is of, the first and one an extension.
"""

from __future__ import annotations

import json
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from toymodels.kernels.vector import processor
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.spec.code import Code
from toymodels.sweeps.spec.sweep import Sweep
from toymodels.sweeps.spec.tune import MOST_LETTERS, Chosen
from toymodels.sweeps.spec.wording import short
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unreadable
from toymodels.sweeps.store.tensorfile import SCHEMA

NUMERICS = 3
"""Raised when the same plan on the same machine would give other bytes."""
MEASURES = 4
"""Raised when the same pack would be measured otherwise: what older versions measured is measured again."""
FIELDS = {"schema": int, "numerics": int, "plan": str, "models": int, "packs": int, "engine": str, "device": str}
"""what every manifest says, and of which type"""
WHERE_THERE = ("versions", "sweeps", "tuned", "code", "targets")
"""what else it may say"""
MOST_BYTES = 2**26
"""of a manifest: what was chosen for a hundred thousand arms"""
BESIDE_CHOICES = 2**20
"""more than the rest of it takes"""
MAX_SWEEPS = 1000
"""of which one folder may be"""
MadeWith = Mapping[str, str] | None
"""what the bytes of packs depend on beside their plan and engine, by name; None for `of_bytes` of this process"""


def versions() -> dict[str, str]:
    """The versions on which the bytes of a pack depend."""
    names = ("toymodels", "torch", "numpy", "numba", "safetensors")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def of_bytes() -> dict[str, str]:
    """All that the bytes of a pack depend on beside its plan and engine, where this process makes it on a CPU."""
    return versions() | {"processor": processor()}


@dataclass(frozen=True)
class Manifest:
    """What a run folder is: of which plan, made by which engine, on which kind of device, with which versions."""

    schema: int
    numerics: int
    plan: str
    """the plan's hash"""
    models: int
    packs: int
    engine: str
    device: str
    versions: Mapping[str, Any] = field(default_factory=dict)
    """with what its first packs were made: `of_bytes` of whoever trains, and what is more on a GPU
    (`toymodels.sweeps.execution.machines.made_with`)"""
    sweeps: int = 0
    """of how many sweeps an extended folder is; 0 for one that was never extended"""
    tuned: Sequence[Any] = ()
    """what was chosen for each arm of a sweep that is tuned, as its file has it; empty for any other"""
    code: Mapping[str, Any] = field(default_factory=dict)
    """the SHA-256 of the source of every module of one's own that the sweep names (`toymodels.sweeps.spec.code`)"""
    targets: Mapping[str, Any] = field(default_factory=dict)
    """of a target of one's own that is not of features, how many numbers it has, by how many features there are"""
    others: Mapping[str, Any] = field(default_factory=dict)
    """what else the file says, which this version keeps and does not read"""

    @staticmethod
    def begun(plan: Plan, engine: str, device: str, made_with: MadeWith = None) -> Manifest:
        """The manifest of a new folder."""
        made_with = of_bytes() if made_with is None else made_with
        size = len(plan), len(plan.packs)
        own = {"code": dict(plan.sweep.code.sources), "targets": _own_targets(plan)}
        return Manifest(SCHEMA, NUMERICS, plan.hash, *size, engine, device, made_with, tuned=_tuned(plan), **own)

    def extended(self, plan: Plan) -> Manifest:
        """The manifest of the folder when it has become that of ``plan``."""
        size = {"models": len(plan), "packs": len(plan.packs), "sweeps": len(plan.starts)}
        own = {"code": {**self.code, **plan.sweep.code.sources}, "targets": {**self.targets, **_own_targets(plan)}}
        return replace(self, plan=plan.hash, **size, tuned=_tuned(plan), **own)

    def other_source(self, code: Code) -> dict[str, tuple[str, str]]:
        """The modules of which the sweep now has other source: the SHA-256 that is said here, and that it has now."""
        return {
            module: (str(self.code.get(module)), digest)
            for module, digest in sorted(code.sources.items())
            if self.code.get(module) != digest
        }

    @property
    def sweep_files(self) -> list[str]:
        """The names of the files that hold the folder's sweeps, oldest first."""
        return [f"sweep-{number:04d}.toml" for number in range(self.sweeps)] or ["sweep.toml"]

    def document(self) -> dict[str, Any]:
        """All that the file says, as JSON has it, in the order of the names."""
        said = {name: getattr(self, name) for name in FIELDS} | dict(self.others)
        said |= {name: value for name in WHERE_THERE if (value := getattr(self, name))}
        return dict(sorted(said.items()))

    def to_bytes(self) -> bytes:
        """The bytes of the file that holds this manifest: JSON, its keys sorted."""
        return json.dumps(self.document(), indent=2, sort_keys=True).encode() + b"\n"

    @staticmethod
    def read(path: Path) -> Manifest:
        """The manifest in this file. Raises `FolderError` for none, or a newer, damaged or unreadable one."""
        try:
            said = json.loads(atomic.read(path, MOST_BYTES))
            schema = int(said["schema"])
            whole = all(type(said.get(name)) is kind for name, kind in FIELDS.items())
            if "sweeps" in said:
                whole = whole and type(said["sweeps"]) is int and 2 <= said["sweeps"] <= MAX_SWEEPS
        except FileNotFoundError:
            raise FolderError(f"{path.parent}: not a run folder (it has no manifest.json)") from None
        except NotADirectoryError:
            raise FolderError(f"{path.parent}: not a run folder") from None
        except (atomic.Irregular, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            schema, whole, said = 0, False, {}
        except OSError as error:
            raise unreadable(path, error) from None
        if schema > SCHEMA:
            raise FolderError(f"{path.parent}: written by a newer toymodels (schema {schema}, this one reads {SCHEMA})")
        if not whole:
            raise FolderError(f"{path}: damaged: move the folder away and run the sweep again")
        known = {name: said.pop(name) for name in (*FIELDS, "sweeps") if name in said}
        known |= {name: said.pop(name) for name in ("versions", "code", "targets") if isinstance(said.get(name), dict)}
        if isinstance(said.get("tuned"), list):
            known["tuned"] = tuple(said.pop("tuned"))
        return Manifest(**known, others=said)


def check_choices_fit(sweep: Sweep) -> None:
    """Raise `SpecError` where what will be chosen for a tuned sweep's arms is more than a manifest may hold, so that
    the folder could not be read any more.
    """
    tuning = sweep.tuning
    if tuning is None:
        return
    # As text: what the values may be is not known yet.
    longest = {name: max((short(value, MOST_LETTERS) for value in of), key=len) for name, of in tuning.axes.items()}
    count = math.prod(map(len, tuning.axes.values()))
    largest = sys.float_info.max, count  # numbers of as many digits as there can be
    size = 0
    for arm in sweep.arms:
        text = json.dumps(Chosen(arm, longest, count, *largest).document(), indent=2)
        size += len(text) + 4 * (text.count("\n") + 1)  # indented as they are in the manifest
        if size > MOST_BYTES - BESIDE_CHOICES:
            raise SpecError(
                f"{sweep.where}: [tune]: what would be chosen for {len(sweep.arms):,} arms is more than the "
                f"{MOST_BYTES // 2**20} MiB that a manifest.json may have: share the arms out among several sweeps"
            )


def _own_targets(plan: Plan) -> dict[str, dict[str, int]]:
    """`Manifest.targets` of a plan: of one's own that are not of features."""
    found: dict[str, dict[str, int]] = {}
    if plan.sweep.code.of_models:
        _, firsts = np.unique(plan.groups, return_index=True)
        for settings in plan.settings(firsts.tolist()):
            word, built = settings["task.target"], settings.experiment(plan.sweep.where)
            if ":" in word and not built.target.of_features:
                found.setdefault(word, {})[str(built.features.n)] = built.n_targets
    return found


def _tuned(plan: Plan) -> tuple[dict[str, Any], ...]:
    """What was chosen for each arm of the plan's sweep, in plan order; nothing where it is not tuned."""
    tuning = plan.sweep.tuning
    return () if tuning is None else tuple(choice.document() for choice in tuning.chosen)
