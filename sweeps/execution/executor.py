"""An executor: who trains the packs that are not there yet. In this process, or on the workers of a cluster.

Whoever it is, a pack is the same bytes: which models are in it is the plan's, and an executor only chooses who runs it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import psutil

from toymodels.engines import ENGINES
from toymodels.engines.engine import OnProgress
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.execution.checkpoints import Checkpoint, Checkpoints, forget
from toymodels.sweeps.execution.cores import on_threads
from toymodels.sweeps.execution.job import Finished, Job, OnNote
from toymodels.sweeps.store.locks import Shard
from toymodels.training.experiment import Experiment
from toymodels.training.memory import OutOfMemory

MEMORY_SHARE = 0.7


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
    ) -> Generator[tuple[Job, Finished | Failed]]:
        """Every job with what became of it, as they end. Jobs are asked for as there is room for them."""
        ...


@dataclass(frozen=True)
class InProcess:
    """This process, one pack after another; the fused engine begins the next while the last models are trained."""

    engine: str
    device: str
    most_bytes: int | None = None
    """that a batch may take, if less than there is"""
    threads: int | None = None
    """that it trains on, if not as many as torch is set to; never more than the cores that this process may use"""

    def finish(
        self, jobs: Iterator[Job], on_progress: OnProgress, on_note: OnNote
    ) -> Generator[tuple[Job, Finished | Failed]]:
        """See `Executor`."""
        waiting: deque[Job] = deque()
        checkpoints = Checkpoints(self.engine, on_progress, on_note)

        def batches() -> Iterator[Sequence[Experiment]]:
            for job in jobs:
                prepare(self.engine, on_note)
                waiting.append(job)
                yield job.experiments

        def keep(_: int) -> Checkpoint:
            """Of the job that was asked for last."""
            return checkpoints.of(waiting[-1])

        def memory() -> int | None:
            there = memory_budget(self.device)
            return min((each for each in (there, self.most_bytes) if each is not None), default=None)

        with (
            on_threads(self.threads),
            closing(ENGINES[self.engine].train_each(batches(), self.device, on_progress, memory, keep)) as each,
        ):
            for trained in each:
                job = waiting.popleft()
                if isinstance(trained, OutOfMemory):
                    yield job, Failed(job.pack.index, str(trained))
                else:
                    if len(trained.sub_batches) > 1:
                        parts = " + ".join(str(size) for size in trained.sub_batches)
                        on_note(f"pack {job.pack.index} did not fit in memory at once: trained as {parts} models")
                    finished = job.finish(trained)
                    forget(job.store, job.pack)
                    yield job, finished


def choose_executor(
    engine: str, device: str, workers: int | None = None, scheduler: str | None = None, shard: Shard | None = None
) -> Executor:
    """Who trains: this process, so many ``workers`` on this machine, or those of the ``scheduler`` at an address.

    Raises `SpecError` for options that do not go together, and where Dask is not installed.
    """
    given = {"--shard": shard, "--workers": workers, "--scheduler": scheduler}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise SpecError(f"{' and '.join(named)}: choose one of them")
    if workers is None and scheduler is None:
        return InProcess(engine, device)
    if ":" in device:
        raise SpecError(f"--device: {device} is one device, and {named[0]} is for several: choose cuda")
    if workers is not None and workers < 1:
        raise SpecError(f"--workers: expected 1 or more, got {workers}")
    if find_spec("distributed") is None:
        raise SpecError(f"{named[0]}: needs Dask: pip install 'toymodels[cluster]'")
    from toymodels.sweeps.execution.cluster import Cluster  # Dask is an optional part, and slow to import

    return Cluster(engine, device, scheduler, workers or 0)


def prepare(engine: str, on_note: OnNote) -> None:
    """Make ready what the engine needs, and say what takes long."""
    ENGINES[engine].prepare(on_note)


def memory_budget(device: str) -> int | None:
    """Bytes that a batch may take on this device; None where the device itself says when it is full."""
    return int(MEMORY_SHARE * psutil.virtual_memory().available) if device == "cpu" else None
