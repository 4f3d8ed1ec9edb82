"""Where a run stands: how much of it is finished, how fast it goes, what failed, and who is at work."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.machines import Machine
from toymodels.sweeps.store.locks import Holder, Lock
from toymodels.sweeps.store.manifest import Manifest
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tuning import tuning_folder


@dataclass(frozen=True)
class Standing:
    """What ``toymodels status`` says of a run folder."""

    folder: Path
    manifest: Manifest
    packs_done: int
    packs_failed: list[int]
    """numbers of the packs that could not be trained"""
    packs_a_minute: float | None
    at_work: list[Holder]
    """the processes that hold the folder, or shards of it, or its tuning"""
    part: str = ""
    """``tuning`` where the sweep, or what is added to it, is still being tuned, of which the rest then speaks"""
    extending: bool = False
    """whether what is being tuned is added to a run that was begun before"""

    @staticmethod
    def of(folder: Path) -> Standing:
        """Where the run in this folder stands now. Raises `FolderError` where it is none."""
        inside = tuning_folder(folder)
        begun, trials = Store(folder).begun, Store(inside)
        # A run that is begun needs its tuning no more: what it lacks is of an extension.
        tuned = not trials.begun or (begun and not _lacks_packs(trials))
        store = Store.open_existing(folder if tuned else inside)
        return Standing(
            folder=folder,
            part="" if tuned else "tuning",
            extending=begun and not tuned,
            manifest=store.manifest,
            packs_done=len(store.packs_there()),
            packs_failed=store.failures(),
            at_work=[*Lock(folder).holders(), *Lock(inside).holders()],
            packs_a_minute=store.packs_a_minute(),
        )

    @property
    def in_use_by(self) -> list[str]:
        """The names of who is at work."""
        return [holder.name for holder in self.at_work]

    @property
    def store(self) -> Store:
        """The run folder of the part that this speaks of."""
        return Store(tuning_folder(self.folder) if self.part else self.folder)

    @property
    def finished(self) -> bool:
        """Whether every planned pack is there."""
        return self.packs_done == self.manifest.packs and not self.part

    @property
    def following(self) -> str:
        """The command that goes on with this run, or shows it if it is finished.

        For an extension that is being tuned it is words: only who gave that command has it.
        """
        folder = shlex.quote(str(self.folder))
        if self.extending:  # the folder has not got the sweep that extends it yet
            return "the same command as before, with --extend"
        allowing = " --allow-code" if self.manifest.code else ""
        goes_on = f"toymodels sweep {folder}/sweep.toml --out {folder}{allowing}"
        return f"toymodels show {folder}" if self.finished else goes_on

    @property
    def to_continue(self) -> str:
        """How to go on, in a line that ends with the command; where this machine cannot, which can, and why it not."""
        lacks = Machine.here().cannot(self.manifest.engine, self.manifest.device)
        where = f", on a machine that can or with --scheduler ADDRESS ({lacks})" if lacks else ""
        return f"To continue{where}: {self.following}"

    def print(self) -> None:
        """Print how the run stands on stdout, one fact a line."""
        manifest = self.manifest
        speed = f", {self.packs_a_minute:,.1f} packs a minute" if self.packs_a_minute else ""
        models = f"{manifest.models:,} models, engine {manifest.engine}, {manifest.device}"
        to_come = "what --extend adds" if self.extending else "the sweep"
        part = f" {self.part}: {to_come} begins when it is complete:" if self.part else ""
        print(f"{self.folder}:{part} {self.packs_done:,} of {manifest.packs:,} packs ({models}){speed}")
        for holder in self.in_use_by:
            print(f"in use by {holder}")
        if self.packs_failed:
            failed = ", ".join(map(str, self.packs_failed))
            print(f"failed packs: {failed}; those that failed twice need --retry-failed")
        if not (self.finished or self.in_use_by):
            print(self.to_continue)


def _lacks_packs(store: Store) -> bool:
    """Whether planned packs of a run folder have no file; not of one that cannot be read, or was emptied."""
    try:
        return store.packs.is_dir() and len(store.packs_there()) < store.manifest.packs
    except FolderError:
        return False
