"""Checkpoints: where the models of a pack stand while it is trained, so that a kill costs at most a minute.

    unfinished/%08d-FIRST-LAST.safetensors   of the pack of that number, its models FIRST to LAST - 1

Written over and over while the pack is trained, gone when the pack is there. A pack that lack of memory divides is kept
in parts. What is damaged, or of other models, another engine, version, processor or GPU, is moved aside and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from toymodels.engines import Keep
from toymodels.sweeps.errors import Unreadable
from toymodels.sweeps.execution.job import Job
from toymodels.sweeps.execution.machines import on_gpu
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.plan.plan import Pack
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.contents import most_bytes
from toymodels.sweeps.store.manifest import NUMERICS, of_bytes
from toymodels.sweeps.store.rights import make_inner_folder
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import Damaged, deserialise, serialise
from toymodels.training.keep import KEEP_SECONDS

SECONDS = KEEP_SECONDS
"""between one checkpoint of a pack and the next"""


def forget(store: Store, pack: Pack) -> None:
    """Remove the checkpoints of a pack that is stored."""
    for path in store.unfinished.glob(f"{pack.index:08d}-*.safetensors"):
        path.unlink(missing_ok=True)


def tidy(store: Store) -> None:
    """Remove the folder of checkpoints where it is empty, as it is when nobody is at work."""
    with suppress(OSError):
        store.unfinished.rmdir()


class Unfit(Exception):
    """A checkpoint from which its models cannot go on, and why."""


class Checkpoints:
    """The checkpoints of a run, made by one engine on one device; a pack's own is asked for by whoever trains it."""

    def __init__(self, engine: str, device: str, reporter: Reporter) -> None:
        self.reporter = reporter
        self.made_by = {"engine": engine, "numerics": NUMERICS, "versions": of_bytes(), **on_gpu(engine, device)}

    def of(self, job: Job) -> Checkpoint:
        """What keeps the models of a job while they are trained."""
        return Checkpoint(self, job, 0, len(job.keys))

    def begun(self, job: Job) -> int | None:
        """How far the job's pack is: the step at which its models were kept, 0 where that is not the same of all; None
        if nothing can be gone on from."""
        try:
            step = self.of(job).read()["step"]
        except (OSError, Unfit, KeyError):
            return None  # said when it is loaded
        if step.ndim != 1 or not len(step) or step.is_floating_point():
            return None  # every engine refuses it
        return int(step[0]) if (step == step[0]).all() else 0

    def say_unwritable(self, folder: Path, reason: object) -> None:
        """Once a run: it costs safety, and no training."""
        sentence = f"{folder}: cannot be written ({reason}): if the sweep is killed, a pack begins again"
        self.reporter.note_once(sentence)


class Checkpoint(Keep):
    """The file of some models of a pack."""

    def __init__(self, all_: Checkpoints, job: Job, first: int, last: int) -> None:
        self.all, self.job, self.first, self.last = all_, job, first, last
        self.seconds = SECONDS

    @property
    def path(self) -> Path:
        """The checkpoint's file, whose name says of which pack and which of its models it is."""
        return self.job.store.unfinished / f"{self.job.pack.index:08d}-{self.first}-{self.last}.safetensors"

    @property
    def _metadata(self) -> dict[str, object]:
        return {**self.all.made_by, "keys": list(self.job.keys[self.first : self.last])}

    def load(self) -> dict[str, Tensor] | None:
        """What was written last, if that was of these models, this engine and this version."""
        try:
            return self.read()
        except FileNotFoundError:
            return None
        except Unfit as refusal:
            self.refused(str(refusal))
            return None

    def read(self) -> dict[str, Tensor]:
        """The same. Raises `Unfit` for what is damaged or foreign, `FileNotFoundError` where there is nothing."""
        try:
            stored = deserialise(self.path, most_bytes(self.job.like, self.last - self.first))
        except (Damaged, Unreadable) as damage:
            raise Unfit(str(damage).removeprefix(f"{self.path}: ")) from None
        foreign = [name for name, value in self._metadata.items() if stored.metadata.get(name) != value]
        if foreign:
            raise Unfit(f"it has other {', '.join(foreign)}")
        return stored.tensors

    def save(self, state: Mapping[str, Tensor]) -> None:
        """Write it; where that fails, training goes on."""
        try:
            make_inner_folder(self.path.parent)
            atomic.write(self.path, serialise(state, self._metadata))
        except (OSError, MemoryError) as error:
            self.all.say_unwritable(self.path.parent, getattr(error, "strerror", None) or type(error).__name__)

    def part(self, first: int, last: int) -> Checkpoint:
        """The file of some of these models."""
        return Checkpoint(self.all, self.job, self.first + first, self.first + last)

    def refused(self, reason: str) -> None:
        """Move a checkpoint aside that cannot be gone on from, and say why."""
        kept = ""
        with suppress(OSError):
            kept = f"; kept as {self.job.store.set_aside(self.path).name}"
        self.all.reporter.note(f"{self.path}: {reason}{kept}: pack {self.job.pack.index} begins at the start")

    def resumed(self, models: float) -> None:
        """Count what was trained before, and say so."""
        self.all.reporter.trained(models)
        share = models / (self.last - self.first)
        self.all.reporter.note(f"pack {self.job.pack.index} goes on where it was interrupted, {share:.0%} trained")
