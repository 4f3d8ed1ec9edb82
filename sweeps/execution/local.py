"""The executor of this process: one pack after another, on the threads that it may use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from toymodels.engines import ENGINES
from toymodels.sweeps.execution.checkpoints import Checkpoint, Checkpoints, forget
from toymodels.sweeps.execution.cores import on_threads
from toymodels.sweeps.execution.executor import Executor, Failed
from toymodels.sweeps.execution.job import Finished, Job
from toymodels.sweeps.execution.memory import memory_budget
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.training.experiment import Experiment
from toymodels.training.memory import OutOfMemory


@dataclass(frozen=True)
class InProcess(Executor):
    """This process, one pack after another; the fused engine begins the next while the last models are trained."""

    engine: str
    device: str
    most_bytes: int | None = None
    """that a batch may take, if less than there is"""
    threads: int | None = None
    """that it trains on, if not as many as torch is set to; never more than the cores that this process may use"""

    def finish(self, jobs: Iterator[Job], reporter: Reporter) -> Generator[tuple[Job, Finished | Failed]]:
        """Every job with what became of it, in the order of the jobs."""
        engine, waiting = ENGINES[self.engine], deque[Job]()
        checkpoints = Checkpoints(self.engine, reporter)

        def batches() -> Iterator[Sequence[Experiment]]:
            for job in jobs:
                engine.prepare(reporter.note)
                waiting.append(job)
                yield job.experiments

        def keep(_: int) -> Checkpoint:
            """What keeps the models of the newest batch, for which the engine asks before it asks for the next."""
            return checkpoints.of(waiting[-1])

        def memory() -> int | None:
            there = memory_budget(self.device)
            return min((each for each in (there, self.most_bytes) if each is not None), default=None)

        with (
            on_threads(self.threads),
            closing(engine.train_each(batches(), self.device, reporter.trained, memory, keep)) as each,
        ):
            for trained in each:
                job = waiting.popleft()
                if isinstance(trained, OutOfMemory):
                    yield job, Failed(job.pack.index, str(trained))
                else:
                    if len(trained.sub_batches) > 1:
                        parts = " + ".join(str(size) for size in trained.sub_batches)
                        reporter.note(f"pack {job.pack.index} did not fit in memory at once: trained as {parts} models")
                    finished = job.finish(trained)
                    forget(job.store, job.pack)
                    yield job, finished
