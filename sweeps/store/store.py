"""The store: what a run folder holds.

    manifest.json, sweep*.toml  what it is: see `toymodels.sweeps.store.folder`
    packs/%08d.safetensors      the trained models: the truth
    measures/%08d.safetensors   derived from the pack of that number
    unfinished/                 where the packs in training stand (`toymodels.sweeps.execution.checkpoints`)
    tuning/                     of a tuned sweep: the run folder of its tuning (`toymodels.sweeps.store.tuning`)
    failed/%08d.json            how often the pack of that number could not be trained, and why
    *.parquet, figures, report  derived

Damaged files are moved aside and named, never deleted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from toymodels.sweeps.errors import DiskFull, FolderError, Unreadable
from toymodels.sweeps.plan.plan import Pack, Plan
from toymodels.sweeps.spec.sweep import Sweep
from toymodels.sweeps.store import atomic, locks
from toymodels.sweeps.store.contents import most_bytes, tensors_of
from toymodels.sweeps.store.folder import TUNING, RunFolder
from toymodels.sweeps.store.locks import Lock, Shard, moment
from toymodels.sweeps.store.manifest import MEASURES, NUMERICS, MadeWith
from toymodels.sweeps.store.pulse import Pulse
from toymodels.sweeps.store.rights import make_inner_folder, owner, unreadable
from toymodels.sweeps.store.tensorfile import Damaged, StoredFile, deserialise, sealed, serialise
from toymodels.training.experiment import Experiment

OWN = {"packs", "measures", "sweep.toml"}
"""What a folder may hold before it has a manifest."""
BYTES_A_ROW = 1024
"""more than the measures of a model, a feature, a neuron or a target take"""


def recorded_choice(path: Path) -> dict[str, str]:
    """The engine and device that a run folder was begun with; empty where there is no such folder."""
    store = Store(path)
    return {"engine": store.manifest.engine, "device": store.manifest.device} if store.begun else {}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """While the block runs, what keeps a run folder from being made or opened is a `FolderError` that says why."""
    try:
        yield
    except OSError as error:
        written = f"cannot be written ({error.strerror})"
        if error.errno in atomic.NOT_WRITTEN:
            raise DiskFull(f"{path}: {written}: make room, or choose another --out") from None
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file stands where the run folder should be" if in_the_way else written
        raise FolderError(f"{path}: {reason}: choose another --out") from None


def has_only(folder: Path, own: Collection[str]) -> bool:
    """Whether nothing is there but what a sweep may have left that was killed before its manifest was written."""
    known = (atomic.PREFIX, locks.PREFIX)
    return not folder.is_dir() or all(p.name in own or p.name.startswith(known) for p in folder.iterdir())


@dataclass(frozen=True)
class Failure:
    """How often a pack could not be trained, and why the last time."""

    attempts: int
    reason: str


class Store(RunFolder):
    """A run folder. `create_or_open` is how a sweep gets one, `open_existing` how a reader does."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._lock: Lock | None = None

    @staticmethod
    def create_or_open(
        path: Path, plan: Plan, engine: str, device: str, shard: Shard | None = None, made_with: MadeWith = None
    ) -> Store:
        """The folder of this plan, locked: made, or found and checked to be this plan's. Raises `FolderError`."""
        store = Store(path)
        try:
            with explained(path):
                store._open_for(plan, engine, device, shard, made_with)
        except BaseException:
            store.release()
            raise
        return store

    @staticmethod
    def open_existing(path: Path) -> Store:
        """A run folder to read. Raises `FolderError` if it is none."""
        store = Store(path)
        if not store.begun and not path.is_dir():
            raise FolderError(f"{path}: no such run folder")
        if not store.begun and (path / TUNING / "manifest.json").is_file():
            raise FolderError(f"{path}: its sweep is still being tuned: 'toymodels status {path}' says how far that is")
        _ = store.manifest
        return store

    def _open_for(self, plan: Plan, engine: str, device: str, shard: Shard | None, made_with: MadeWith) -> None:
        self.check_may_begin(plan.sweep)
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in (self.packs, self.measures):
            make_inner_folder(folder)
        self.lock(shard)
        with moment(self.path):
            if shard is None:  # others may be writing beside a shard
                for folder in (self.path, self.packs, self.measures, self.unfinished, self.failed):
                    atomic.sweep_temporaries(folder)
            if self.begun:
                self.check_is(plan, engine, device, shard is None)
            else:
                self.begin(plan, engine, device, made_with)

    def check_may_begin(self, sweep: Sweep) -> None:
        """Raise `FolderError` for a folder without a manifest that holds what is no beginning of this sweep."""
        if not self.begun and not has_only(self.path, OWN | ({TUNING} if sweep.tuning is not None else set())):
            raise FolderError(f"{self.path}: holds other files and no manifest.json: choose another --out")

    def lock(self, shard: Shard | None = None) -> None:
        """Hold the folder, or a shard of it, until this process ends.

        Raises `FolderError` naming who holds it, or whose it is where this process may not write into it.
        """
        for folder in (self.path, self.packs, self.measures):
            if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
                raise FolderError(
                    f"{folder}: cannot be written (Permission denied): it is {owner(folder)}'s, who can share it; or "
                    "choose another --out"
                )
        lock = Lock(self.path, shard)
        lock.take()
        self._lock = lock
        self._manifest = None  # of before: whoever held the folder may have extended it

    def release(self) -> None:
        """Let the folder go, so that another process may hold it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def say(self, pulse: Pulse) -> None:
        """Say to whoever looks at the folder how far this process is, while it holds it."""
        if self._lock is not None:
            self._lock.say(pulse)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder while the block runs. Raises as `lock`."""
        self.lock()
        try:
            yield
        finally:
            self.release()

    @property
    def packs(self) -> Path:
        """The folder inside the run folder that holds the packs."""
        return self.path / "packs"

    @property
    def measures(self) -> Path:
        """The folder of what was measured of them."""
        return self.path / "measures"

    @property
    def unfinished(self) -> Path:
        """The folder of what is kept of packs in training."""
        return self.path / "unfinished"

    # ------------------------------------------------------------------------------------------- failures

    def failure(self, pack: Pack) -> Failure | None:
        """What is known of a pack that could not be trained; None of one that could, or was not tried."""
        try:
            said = json.loads(atomic.read(self._failure_path(pack), 2**20))
            return Failure(int(said["attempts"]), str(said["reason"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None

    def failures(self) -> list[int]:
        """The numbers of the packs that could not be trained."""
        return sorted(int(path.stem) for path in self.failed.glob("*.json") if path.stem.isdecimal())

    def record_failure(self, pack: Pack, reason: str, attempts: int = 1) -> Failure:
        """Write down that so many more attempts at a pack failed, and why the last did."""
        before = self.failure(pack)
        failure = Failure(attempts + (before.attempts if before else 0), reason)
        said = json.dumps({"attempts": failure.attempts, "reason": reason}, sort_keys=True)
        self.write_bytes(self._failure_path(pack), said.encode() + b"\n")
        return failure

    def forget_failure(self, pack: Pack) -> None:
        """Forget that a pack failed: it was trained after all, or is to be tried as if it were new."""
        self._failure_path(pack).unlink(missing_ok=True)

    @property
    def failed(self) -> Path:
        """The folder of what could not be trained."""
        return self.path / "failed"

    def _failure_path(self, pack: Pack) -> Path:
        return self.failed / f"{pack.index:08d}.json"

    # ------------------------------------------------------------------------------------------- packs

    def packs_there(self) -> set[int]:
        """The numbers of the planned packs that have a file, whatever is in it."""
        planned = self.manifest.packs
        try:
            found = [p.stem for p in self.packs.iterdir() if re.fullmatch(r"\d{8}\.safetensors", p.name)]
        except FileNotFoundError:
            found = []
        except OSError as error:
            raise unreadable(self.packs, error) from None
        return {int(name) for name in found if int(name) < planned}

    def packs_a_minute(self) -> float | None:
        """How fast packs came, by the times of their files; None of fewer than three."""
        times: list[float] = []
        for path in self.packs.glob("*.safetensors"):
            with suppress(FileNotFoundError):  # moved aside just now
                times.append(path.lstat().st_mtime)
        times.sort()
        span = times[-1] - times[0] if len(times) > 2 else 0.0
        return 60 * (len(times) - 1) / span if span > 0 else None

    @property
    def tables_digest(self) -> Path:
        """Which packs and measures the tables were built from."""
        return self.measures / "tables.digest"

    def pack_path(self, pack: Pack) -> Path:
        """The path of the file that holds this pack, whether or not it is there."""
        return self.packs / f"{pack.index:08d}.safetensors"

    def measures_path(self, pack: Pack) -> Path:
        """The file of what was measured of a pack."""
        return self.measures / f"{pack.index:08d}.safetensors"

    def read_pack(self, pack: Pack, keys: Sequence[str], like: Experiment) -> StoredFile | None:
        """The pack, verified to hold the models of these keys, of the structure of ``like``; None if absent.

        It may be a link to such a file. Raises `Damaged`, or `Unreadable` where nobody can say whether it is.
        """
        path = self.pack_path(pack)
        shapes = {name: of.shape for name, of in tensors_of(like, len(keys)).items()}
        try:
            stored = deserialise(path, most_bytes(like, len(keys)), through_links=True)
        except FileNotFoundError:
            return None
        if stored.metadata.get("keys") != list(keys):
            raise Damaged(f"{path}: holds other models than the plan says")
        if {name: tuple(tensor.shape) for name, tensor in stored.tensors.items()} != shapes:
            raise Damaged(f"{path}: its tensors are not those of the plan's models")
        return stored

    def read_measures(self, pack: Pack, stored: StoredFile) -> StoredFile | None:
        """The measures derived from this pack, whatever metrics of one's own they have; None if absent, damaged,
        unreadable, of another pack, or measured by a version that measures otherwise."""
        tensors = stored.tensors
        k, m, n = *tensors["W_in"].shape[:2], tensors["E" if "E" in tensors else "W_in"].shape[2]
        said = tensors["W_out"].shape[1]
        try:
            largest = BYTES_A_ROW * k * (1 + m + n + said) + 2**20
            measured = deserialise(self.measures_path(pack), largest, through_links=True)
        except (FileNotFoundError, Damaged, Unreadable):
            return None
        shapes = {"models": [k], "features": [k, n], "neurons": [k, m], "targets": [k, said]}
        fits = all(list(t.shape) == shapes.get(name.partition(".")[0]) for name, t in measured.tensors.items())
        of = measured.metadata
        fits = fits and of.get("measures") == MEASURES and of.get("pack") == stored.metadata["digest"]
        fits = fits and all(isinstance(of.get(name, {}), dict) for name in ("own", "meanings"))
        return measured if fits else None

    def set_aside(self, path: Path) -> Path:
        """Move a damaged file, or a link to one, out of the way, keeping it; returns where it is now."""
        number = 0
        while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
            number += 1
        os.replace(path, aside)
        return aside

    def write(self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> StoredFile:
        """Write a tensor file of this store; returns it as it would be read back."""
        metadata = {"numerics": NUMERICS, **metadata}
        self.write_bytes(path, serialise(tensors, metadata))
        return StoredFile(dict(sorted(tensors.items())), sealed(tensors, metadata))
