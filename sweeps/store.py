"""The store: a run folder on disk.

    sweep.toml                  the sweep as resolved, readable as a sweep file
    manifest.json               written once: schema, plan, engine, device, versions
    packs/%08d.safetensors      the trained models: the truth
    measures/%08d.safetensors   derived from the pack of that number
    *.parquet, figures, report  derived

A pack carries one metadata key, ``toymodels``, canonical JSON with the digest of its tensors; nothing in it depends on
time. Nothing read back is ever executed. Damaged files are moved aside and named, never deleted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from sweeps import atomic
from sweeps.errors import FolderError, SpecError
from sweeps.plan import Pack, Plan
from sweeps.spec import canonical_json
from sweeps.sweep import Sweep, parse

SCHEMA = 1
NUMERICS = 1
"""Raised when the same plan on the same machine would give other bytes."""
METADATA_KEY = "toymodels"
LOCK = ".lock"


class Damaged(Exception):
    """A file of the folder that is not what it should be."""


@dataclass(frozen=True)
class StoredFile:
    """A safetensors file read back and verified: its tensors and the JSON beside them."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """One safetensors file with one metadata key; the digest of the tensors is added to ``metadata``."""
    whole = {"schema": SCHEMA, "numerics": NUMERICS, **metadata, "digest": digest(tensors)}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return save_tensors(contiguous, metadata={METADATA_KEY: canonical_json(whole)})


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    hashed = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name].numpy())
        hashed.update(canonical_json([name, str(array.dtype), list(array.shape)]).encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()


def deserialise(path: Path) -> StoredFile:
    """Read back what `serialise` wrote. Raises `Damaged` where it is anything else, ``FileNotFoundError`` if absent."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(f"{path}: cannot be opened ({error.strerror})") from None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read()
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"][METADATA_KEY])
        tensors = load_tensors(data)
        intact = metadata["digest"] == digest(tensors) and metadata["schema"] == SCHEMA
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{path}: not a file of this store ({type(error).__name__})") from None
    if not intact:
        raise Damaged(f"{path}: its tensors do not match its digest")
    return StoredFile(tensors, metadata)


class Store:
    """A run folder. `create_or_open` is how a sweep gets one, `open_existing` how a reader does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    # ------------------------------------------------------------------------------------------- opening

    @staticmethod
    def create_or_open(path: Path, plan: Plan, engine: str, device: str) -> Store:
        """The folder of this plan, locked: made, or found and checked to be this plan's. Raises `FolderError`."""
        store = Store(path)
        try:
            for folder in (path, store.packs, store.measures):
                folder.mkdir(parents=True, exist_ok=True)
            store.lock()
            for folder in (path, store.packs, store.measures):
                atomic.sweep_temporaries(folder)
            if store.manifest_path.exists():
                store._check_is(plan, engine, device)
            else:
                store._begin(plan, engine, device)
        except (FileExistsError, NotADirectoryError):
            raise FolderError(f"{path}: a file stands where the run folder should be: choose another --out") from None
        except OSError as error:
            raise FolderError(f"{path}: cannot be written ({error.strerror}): choose another --out") from None
        return store

    @staticmethod
    def open_existing(path: Path) -> Store:
        """A run folder to read. Raises `FolderError` if it is none."""
        store = Store(path)
        if not path.is_dir():
            raise FolderError(f"{path}: no such run folder")
        store.manifest()
        return store

    def lock(self) -> None:
        """Hold the folder until this process ends; the kernel releases it however that happens."""
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise FolderError(f"{self.path}: in use by {holder}: wait for it, or choose another --out") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
        self._lock = descriptor

    def release(self) -> None:
        """Let the folder go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ------------------------------------------------------------------------------------------- what it is

    @property
    def packs(self) -> Path:
        """The folder of the packs."""
        return self.path / "packs"

    @property
    def measures(self) -> Path:
        """The folder of what was measured of them."""
        return self.path / "measures"

    @property
    def manifest_path(self) -> Path:
        """The manifest's file."""
        return self.path / "manifest.json"

    def manifest(self) -> dict[str, Any]:
        """The manifest. Raises `FolderError` where there is none, or a newer one."""
        try:
            manifest = json.loads(self.manifest_path.read_text(encoding="utf-8"))
            schema = int(manifest["schema"])
        except FileNotFoundError:
            raise FolderError(f"{self.path}: not a run folder (it has no manifest.json)") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise FolderError(f"{self.manifest_path}: damaged: move the folder away and run the sweep again") from None
        if schema > SCHEMA:
            raise FolderError(f"{self.path}: written by a newer toymodels (schema {schema}, this one reads {SCHEMA})")
        return manifest

    def sweep(self) -> Sweep:
        """The sweep that this folder holds."""
        path = self.path / "sweep.toml"
        try:
            return parse(path.read_text(encoding="utf-8"), self.path.name, str(path))
        except (OSError, UnicodeDecodeError, SpecError) as error:
            raise FolderError(f"{path}: damaged ({error})") from None

    def _begin(self, plan: Plan, engine: str, device: str) -> None:
        if any(self.packs.iterdir()):
            raise FolderError(f"{self.path}: holds packs but no manifest.json: choose another --out")
        atomic.write(self.path / "sweep.toml", resolved_toml(plan.sweep).encode())
        manifest = {
            "schema": SCHEMA,
            "numerics": NUMERICS,
            "plan": plan.hash,
            "models": len(plan),
            "packs": len(plan.packs),
            "engine": engine,
            "device": device,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("toymodels", "torch", "numpy", "numba", "safetensors")},
            },
        }
        atomic.write(self.manifest_path, json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n")

    def _check_is(self, plan: Plan, engine: str, device: str) -> None:
        manifest = self.manifest()
        if manifest.get("plan") != plan.hash:
            changed = changed_keys(self.sweep(), plan.sweep)
            raise FolderError(
                f"{self.path}: holds another sweep (changed: {', '.join(changed) or 'its models'}): "
                "give --out another folder"
            )
        for name, now in (("engine", engine), ("device", device), ("numerics", NUMERICS)):
            if manifest.get(name) != now:
                raise FolderError(
                    f"{self.path}: was made with {name} {manifest.get(name)}, now {now}: its packs would not be "
                    "comparable; give --out another folder"
                )

    # ------------------------------------------------------------------------------------------- packs

    def pack_path(self, pack: Pack) -> Path:
        """The file of a pack."""
        return self.packs / f"{pack.index:08d}.safetensors"

    def measures_path(self, pack: Pack) -> Path:
        """The file of what was measured of a pack."""
        return self.measures / f"{pack.index:08d}.safetensors"

    def read_pack(self, pack: Pack, keys: Sequence[str]) -> StoredFile | None:
        """The pack, verified to hold the models of these keys; None if absent. Raises `Damaged`."""
        path = self.pack_path(pack)
        try:
            stored = deserialise(path)
        except FileNotFoundError:
            return None
        if stored.metadata.get("keys") != list(keys):
            raise Damaged(f"{path}: holds other models than the plan says")
        return stored

    def read_measures(self, pack: Pack, pack_digest: str) -> StoredFile | None:
        """The measures derived from the pack of this digest; None if absent, damaged, or of another pack."""
        try:
            stored = deserialise(self.measures_path(pack))
        except (FileNotFoundError, Damaged):
            return None
        return stored if stored.metadata.get("pack") == pack_digest else None

    def set_aside(self, path: Path) -> Path:
        """Move a damaged file out of the way, keeping it; returns where it is now."""
        number = 0
        while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
            number += 1
        os.replace(path, aside)
        return aside

    def write(self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> StoredFile:
        """Write a safetensors file of this store atomically."""
        self.write_bytes(path, serialise(tensors, metadata))
        return StoredFile(dict(tensors), {**metadata, "digest": digest(tensors)})

    def write_bytes(self, path: Path, data: bytes) -> None:
        """Write a file of this store atomically; a full or read-only disk is a `FolderError` that says what is safe."""
        self._guard(path, lambda: atomic.write(path, data))

    def _guard(self, path: Path, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            failure = FolderError(
                f"{path}: cannot be written ({error.strerror}): everything finished is safe; make room and run the "
                "same command again"
            )
            failure.exit_code = 1
            raise failure from None


def resolved_toml(sweep: Sweep) -> str:
    """The sweep with every setting of its first cell spelled out, the grid as lists: a sweep file again."""
    document: dict[str, Any] = {"question": sweep.question} if sweep.question else {}
    vary = {name for axis in sweep.axes() for name in axis.names}
    base = sweep.settings(0).model_dump(exclude_none=True)
    for name in sorted(vary):
        _drop(base, name.split("."))
    document.update(base)
    document["grid"] = {name: list(values) for name, values in sorted(sweep.grid.items())}
    if sweep.cases:
        document["case"] = [dict(case) for case in sweep.cases]
    return tomli_w.dumps(_without_tuples(document))


def _drop(table: dict[str, Any], path: list[str]) -> None:
    inside = table.get(path[0])
    if len(path) == 1:
        table.pop(path[0], None)
    elif isinstance(inside, dict):
        _drop(inside, path[1:])


def _without_tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_tuples(inside) for key, inside in value.items()}
    return [_without_tuples(inside) for inside in value] if isinstance(value, list | tuple) else value


def changed_keys(old: Sweep, new: Sweep) -> list[str]:
    """The settings and axes in which two sweeps differ."""
    was, now = old.settings(0).flat(), new.settings(0).flat()
    names = {name for name in was if was[name] != now.get(name)}
    names |= {name for name in {*old.grid, *new.grid} if old.grid.get(name) != new.grid.get(name)}
    return sorted(names | ({"case"} if old.cases != new.cases else set()))
