"""An executor: who trains the packs that are not there yet. In this process, or on the workers of a cluster.

Whoever it is, a pack is the same bytes: which models are in it is the plan's, and an executor only chooses who runs it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import psutil

from sweeps.job import Finished, Job, OnNote
from toymodels.kernels import compiled
from toymodels.training import fused, train_each
from toymodels.training.experiment import Experiment
from toymodels.training.memory import OutOfMemory

MEMORY_SHARE = 0.7

OnProgress = Callable[[float], None]
"""Called with how many models' worth of training was done since the last call."""


@dataclass(frozen=True)
class Failed:
    """A pack that could not be trained, why, and in how many tries."""

    index: int
    reason: str
    tries: int = 1


class Executor(Protocol):
    """Trains, measures and writes packs."""

    def finish(
        self, jobs: Iterator[Job], on_progress: OnProgress, on_note: OnNote
    ) -> Iterator[tuple[Job, Finished | Failed]]:
        """Every job with what became of it, as they end. Jobs are asked for as there is room for them."""
        ...


@dataclass(frozen=True)
class InProcess:
    """This process, one pack after another; the fused engine begins the next while the last models are trained."""

    engine: str
    device: str

    def finish(
        self, jobs: Iterator[Job], on_progress: OnProgress, on_note: OnNote
    ) -> Iterator[tuple[Job, Finished | Failed]]:
        """See `Executor`."""
        waiting: deque[Job] = deque()

        def batches() -> Iterator[Sequence[Experiment]]:
            for job in jobs:
                prepare(self.engine, on_note)
                waiting.append(job)
                yield job.experiments

        for trained in train_each(batches(), self.engine, self.device, on_progress, lambda: memory_budget(self.device)):
            job = waiting.popleft()
            if isinstance(trained, OutOfMemory):
                yield job, Failed(job.pack.index, str(trained))
            else:
                yield job, job.finish(trained)


def prepare(engine: str, on_note: OnNote) -> None:
    """Compile what the engine needs, once a machine and version, and say so."""
    if engine == "fused":
        if not (fused.prepared() or compiled.compiled()):
            on_note("compiling the fused engine for this processor, once: about 20 seconds")
        fused.prepare()


def memory_budget(device: str) -> int | None:
    """Bytes that a batch may take on this device; None where the device itself says when it is full."""
    return int(MEMORY_SHARE * psutil.virtual_memory().available) if device == "cpu" else None
