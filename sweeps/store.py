"""The store: a run folder on disk.

    sweep.toml                  the sweep as resolved, readable as a sweep file
    manifest.json               written once: schema, plan, engine, device, versions
    packs/%08d.safetensors      the trained models: the truth
    measures/%08d.safetensors   derived from the pack of that number
    unfinished/                 where the packs in training stand (`sweeps.checkpoints`)
    failed/%08d.json            how often the pack of that number could not be trained, and why
    *.parquet, figures, report  derived

Damaged files are moved aside and named, never deleted.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from sweeps import atomic, locks
from sweeps.errors import FolderError, SpecError
from sweeps.locks import Lock, Shard, moment
from sweeps.packing import pack_shapes
from sweeps.plan import Pack, Plan, make_plan
from sweeps.resolved import changed_keys, resolved_toml
from sweeps.sweep import Sweep, parse
from sweeps.tensorfile import SCHEMA, Damaged, StoredFile, deserialise, sealed, serialise
from toymodels.training.experiment import Experiment

NUMERICS = 3
"""Raised when the same plan on the same machine would give other bytes."""
OWN = {"packs", "measures", "sweep.toml"}
"""What a folder may hold before it has a manifest."""
BYTES_A_ROW = 1024
"""more than the measures of a model, a feature or a neuron take"""
MANIFEST = {"schema": int, "numerics": int, "plan": str, "models": int, "packs": int, "engine": str, "device": str}


def recorded_choice(path: Path) -> dict[str, str]:
    """The engine and device that a run folder was begun with; empty where there is no such folder."""
    store = Store(path)
    return {name: store.manifest()[name] for name in ("engine", "device")} if store.manifest_path.exists() else {}


def versions() -> dict[str, str]:
    """The versions on which the bytes of a pack depend."""
    names = ("toymodels", "torch", "numpy", "numba", "safetensors")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _is_own(name: str) -> bool:
    """Whether a sweep that was killed before its manifest was written may have left this."""
    return name in OWN or name.startswith((atomic.PREFIX, locks.PREFIX))


@dataclass(frozen=True)
class Failure:
    """How often a pack could not be trained, and why the last time."""

    attempts: int
    reason: str


class Store:
    """A run folder. `create_or_open` is how a sweep gets one, `open_existing` how a reader does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Lock | None = None

    # ------------------------------------------------------------------------------------------- opening

    @staticmethod
    def create_or_open(path: Path, plan: Plan, engine: str, device: str, shard: Shard | None = None) -> Store:
        """The folder of this plan, locked: made, or found and checked to be this plan's. Raises `FolderError`."""
        store = Store(path)
        try:
            store._open_for(plan, engine, device, shard)
        except BaseException as error:
            store.release()
            if isinstance(error, FileExistsError | NotADirectoryError):
                reason = "a file stands where the run folder should be"
            elif isinstance(error, OSError):
                reason = f"cannot be written ({error.strerror})"
            else:
                raise
            raise FolderError(f"{path}: {reason}: choose another --out") from None
        return store

    @staticmethod
    def open_existing(path: Path) -> Store:
        """A run folder to read. Raises `FolderError` if it is none."""
        store = Store(path)
        if not path.is_dir():
            raise FolderError(f"{path}: no such run folder")
        store.manifest()
        return store

    def _open_for(self, plan: Plan, engine: str, device: str, shard: Shard | None) -> None:
        begun = self.manifest_path.exists()
        if self.path.is_dir() and not begun and any(not _is_own(p.name) for p in self.path.iterdir()):
            raise FolderError(f"{self.path}: holds other files and no manifest.json: choose another --out")
        folders = (self.path, self.packs, self.measures)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        self.lock(shard)
        with moment(self.path):
            if shard is None:  # others may be writing beside a shard
                for folder in (*folders, self.unfinished):
                    atomic.sweep_temporaries(folder)
            if self.manifest_path.exists():
                self._check_is(plan, engine, device)
            else:
                self._begin(plan, engine, device)

    def lock(self, shard: Shard | None = None) -> None:
        """Hold the folder, or a shard of it, until this process ends. Raises `FolderError` naming who holds it."""
        lock = Lock(self.path, shard)
        lock.take()
        self._lock = lock

    def release(self) -> None:
        """Let the folder go."""
        if self._lock is not None:
            self._lock.release()
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
    def unfinished(self) -> Path:
        """The folder of what is kept of packs in training."""
        return self.path / "unfinished"

    @property
    def manifest_path(self) -> Path:
        """The manifest's file."""
        return self.path / "manifest.json"

    def manifest(self) -> dict[str, Any]:
        """The manifest. Raises `FolderError` where there is none, or a newer one."""
        linked = next(
            (folder for folder in (self.packs, self.measures, self.failed, self.unfinished) if folder.is_symlink()),
            None,
        )
        if linked:
            raise FolderError(f"{linked}: is a link: put the folder itself there, or link the whole run folder")
        try:
            manifest = json.loads(self.manifest_path.read_text(encoding="utf-8"))
            schema = int(manifest["schema"])
            whole = all(type(manifest.get(name)) is kind for name, kind in MANIFEST.items())
        except FileNotFoundError:
            raise FolderError(f"{self.path}: not a run folder (it has no manifest.json)") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            schema, whole, manifest = 0, False, {}
        if schema > SCHEMA:
            raise FolderError(f"{self.path}: written by a newer toymodels (schema {schema}, this one reads {SCHEMA})")
        if not whole:
            raise FolderError(f"{self.manifest_path}: damaged: move the folder away and run the sweep again")
        return manifest

    def sweep(self) -> Sweep:
        """The sweep that this folder holds. Raises `FolderError` where its file is damaged."""
        path = self.path / "sweep.toml"
        try:
            sweep = parse(path.read_text(encoding="utf-8"), self.path.name, str(path))
            sweep.settings(0)
            return sweep
        except (OSError, UnicodeDecodeError, SpecError) as error:
            raise FolderError(f"{path}: damaged: put it back, or move the folder away ({error})") from None

    def plan(self) -> Plan:
        """The plan that this folder holds. Raises `FolderError` where ``sweep.toml`` is not what made the folder."""
        sweep = self.sweep()
        try:
            plan = make_plan(sweep)
        except SpecError as error:
            raise FolderError(f"{sweep.where}: damaged: put it back, or move the folder away ({error})") from None
        if plan.hash != self.manifest()["plan"]:
            raise FolderError(
                f"{sweep.where}: not the sweep that made this folder: put it back, or move the folder away"
            )
        return plan

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
            "versions": versions(),
        }
        atomic.write(self.manifest_path, json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n")

    def version_changes(self) -> list[str]:
        """A sentence for every version that is not what the folder was begun with: packs may differ in rounding."""
        begun, now = self.manifest().get("versions"), versions()
        begun = begun if isinstance(begun, dict) else {}
        return [
            f"{self.path}: begun with {name} {begun.get(name)}, now {now[name]}: packs may differ in rounding"
            for name in now
            if begun.get(name) != now[name]
        ]

    def _check_is(self, plan: Plan, engine: str, device: str) -> None:
        manifest, mine = self.manifest(), self.plan()
        if mine.hash != plan.hash:
            changed = changed_keys(mine.sweep, plan.sweep)
            raise FolderError(
                f"{self.path}: holds another sweep (changed: {', '.join(changed) or 'its models'}): "
                "give --out another folder"
            )
        for name, now in (("engine", engine), ("device", device), ("numerics", NUMERICS)):
            if manifest[name] != now:
                raise FolderError(
                    f"{self.path}: was made with {name} {manifest[name]}, now {now}: its packs would not be "
                    "comparable; give --out another folder"
                )

    # ------------------------------------------------------------------------------------------- failures

    def failure(self, pack: Pack) -> Failure | None:
        """What is known of a pack that could not be trained; None of one that could, or was not tried."""
        try:
            said = json.loads(self._failure_path(pack).read_text(encoding="utf-8"))
            return Failure(int(said["attempts"]), str(said["reason"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def failures(self) -> list[int]:
        """The numbers of the packs that could not be trained."""
        return sorted(int(path.stem) for path in self.failed.glob("*.json") if path.stem.isdecimal())

    def record_failure(self, pack: Pack, reason: str, attempts: int = 1) -> Failure:
        """More attempts that failed."""
        before = self.failure(pack)
        failure = Failure(attempts + (before.attempts if before else 0), reason)
        self.failed.mkdir(exist_ok=True)
        said = json.dumps({"attempts": failure.attempts, "reason": reason}, sort_keys=True)
        self.write_bytes(self._failure_path(pack), said.encode() + b"\n")
        return failure

    def forget_failure(self, pack: Pack) -> None:
        """It was trained after all, or is to be tried as if it were new."""
        self._failure_path(pack).unlink(missing_ok=True)

    @property
    def failed(self) -> Path:
        """The folder of what could not be trained."""
        return self.path / "failed"

    def _failure_path(self, pack: Pack) -> Path:
        return self.failed / f"{pack.index:08d}.json"

    # ------------------------------------------------------------------------------------------- packs

    def packs_done(self) -> int:
        """How many packs are there, not verified."""
        return sum(path.suffix == ".safetensors" for path in self.packs.iterdir()) if self.packs.is_dir() else 0

    def packs_a_minute(self) -> float | None:
        """How fast packs came, by the times of their files; None of fewer than three."""
        times = sorted(path.stat().st_mtime for path in self.packs.glob("*.safetensors"))
        span = times[-1] - times[0] if len(times) > 2 else 0.0
        return 60 * (len(times) - 1) / span if span > 0 else None

    @property
    def tables_digest(self) -> Path:
        """Which packs and measures the tables were built from."""
        return self.measures / "tables.digest"

    def pack_path(self, pack: Pack) -> Path:
        """The file of a pack."""
        return self.packs / f"{pack.index:08d}.safetensors"

    def measures_path(self, pack: Pack) -> Path:
        """The file of what was measured of a pack."""
        return self.measures / f"{pack.index:08d}.safetensors"

    def read_pack(self, pack: Pack, keys: Sequence[str], like: Experiment) -> StoredFile | None:
        """The pack, verified to hold the models of these keys, of the structure of ``like``; None if absent.

        Raises `Damaged`.
        """
        path, shapes = self.pack_path(pack), pack_shapes(like, len(keys))
        try:
            stored = deserialise(path, _most_bytes(shapes, len(keys)))
        except FileNotFoundError:
            return None
        if stored.metadata.get("keys") != list(keys):
            raise Damaged(f"{path}: holds other models than the plan says")
        if {name: tuple(tensor.shape) for name, tensor in stored.tensors.items()} != shapes:
            raise Damaged(f"{path}: its tensors are not those of the plan's models")
        return stored

    def read_measures(self, pack: Pack, stored: StoredFile) -> StoredFile | None:
        """The measures derived from this pack; None if absent, damaged, or of another pack."""
        k, m, n = stored.tensors["W_in"].shape
        try:
            measured = deserialise(self.measures_path(pack), BYTES_A_ROW * k * (1 + m + n) + 2**20)
        except (FileNotFoundError, Damaged):
            return None
        shapes = {"models": [k], "features": [k, n], "neurons": [k, m]}
        fits = all(list(t.shape) == shapes.get(name.partition(".")[0]) for name, t in measured.tensors.items())
        return measured if fits and measured.metadata.get("pack") == stored.metadata["digest"] else None

    def set_aside(self, path: Path) -> Path:
        """Move a damaged file out of the way, keeping it; returns where it is now."""
        number = 0
        while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
            number += 1
        os.replace(path, aside)
        return aside

    def write(self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> StoredFile:
        """Write a tensor file of this store; returns it as it would be read back."""
        metadata = {"numerics": NUMERICS, **metadata}
        self.write_bytes(path, serialise(tensors, metadata))
        return StoredFile(dict(sorted(tensors.items())), sealed(tensors, metadata))

    def write_bytes(self, path: Path, data: bytes) -> None:
        """Write a file of this store, as `writing` does."""
        with self.writing(path) as file:
            file.write(data)

    @contextmanager
    def writing(self, path: Path) -> Iterator[IO[bytes]]:
        """A file of this store that is there when the block ends well, or as it was before.

        A full or read-only disk is a `FolderError` that says what is safe.
        """
        try:
            with atomic.writing(path) as file:
                yield file
        except OSError as error:
            failure = FolderError(
                f"{path}: cannot be written ({error.strerror}): everything finished is safe; make room and run the "
                "same command again"
            )
            failure.exit_code = 1
            raise failure from None


def _most_bytes(shapes: Mapping[str, tuple[int, ...]], models: int) -> int:
    """More than a pack of these tensors can take, whatever it says of its models: listed laws are numbers in words."""
    return 64 * sum(math.prod(shape) for shape in shapes.values()) + 2**14 * models + 2**20
