"""The executor of this process: one pack after another, on the threads that it may use."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

from toymodels.engines import ENGINES, Keep
from toymodels.sweeps.execution.checkpoints import Checkpoints, forget
from toymodels.sweeps.execution.cores import on_threads
from toymodels.sweeps.execution.executor import Executor, Failed
from toymodels.sweeps.execution.job import Finished, Job
from toymodels.sweeps.execution.launches import Launch, keep_of, launches
from toymodels.sweeps.execution.machines import Machine, check_here, made_with
from toymodels.sweeps.execution.measuring import naming_the_lost
from toymodels.sweeps.execution.memory import memory_budget
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.training.experiment import Experiment
from toymodels.training.memory import OutOfMemory
from toymodels.training.trained import Trained


@dataclass(frozen=True)
class InProcess(Executor):
    """This process, one pack after another; the fused engine begins the next while the last models are trained."""

    engine: str
    device: str
    most_bytes: int | None = None
    """that a batch may take, if less than there is"""
    threads: int | None = None
    """that it trains on, if not as many as torch is set to; never more than the cores that this process may use"""

    def made_with(self, reporter: Reporter, *, begun: bool) -> Mapping[str, str]:
        """See `Executor`; nothing of a folder that is ``begun`` on a device that is not here. Raises `DeviceLost`."""
        with naming_the_lost(self.device):
            if begun and Machine.here().without_device(self.device):
                return {}
            return made_with(self.engine, self.device)

    def finish(self, jobs: Iterator[Job], reporter: Reporter) -> Generator[tuple[Job, Finished | Failed]]:
        """Every job with what became of it, in the order of the jobs. Raises `SpecError` where this machine cannot
        train them, `DeviceLost` where the GPU is."""
        first = next(jobs, None)
        if first is None:
            return
        check_here(self.engine, self.device, first.store.path)
        with naming_the_lost(self.device):
            yield from self._finish(chain([first], jobs), reporter)

    def _finish(self, jobs: Iterator[Job], reporter: Reporter) -> Generator[tuple[Job, Finished | Failed]]:
        engine, waiting = ENGINES[self.engine], deque[Launch]()
        checkpoints = Checkpoints(self.engine, self.device, reporter)

        def batches() -> Iterator[Sequence[Experiment]]:
            for launch in launches(jobs, engine, self.device, self._memory, checkpoints.begun):
                engine.prepare(reporter.note)
                waiting.append(launch)
                yield launch.experiments

        def keep(_: int) -> Keep:
            """What keeps the models of the newest batch, for which the engine asks before it asks for the next."""
            return keep_of(waiting[-1], checkpoints.of)

        def by_itself(job: Job) -> Trained | OutOfMemory:
            """A pack of a launch that did not fit, in halves if it must be."""
            kept = checkpoints.of(job)
            return engine.in_halves(job.experiments, self.device, reporter.trained, self._memory(), kept)

        with (
            on_threads(self.threads),
            closing(engine.train_each(batches(), self.device, reporter.trained, self._memory, keep)) as each,
        ):
            for trained in each:
                launch = waiting.popleft()
                if not isinstance(trained, OutOfMemory):
                    ended = launch.cut(trained)
                elif len(launch.jobs) == 1:
                    ended = iter([(launch.jobs[0], trained)])
                else:
                    ended = ((job, by_itself(job)) for job in launch.jobs)
                for job, of_job in ended:
                    yield job, self._finished(job, of_job, reporter)

    def _memory(self) -> int | None:
        there = memory_budget(self.device)
        return min((each for each in (there, self.most_bytes) if each is not None), default=None)

    def _finished(self, job: Job, trained: Trained | OutOfMemory, reporter: Reporter) -> Finished | Failed:
        """What became of a job, stored and measured if it was trained."""
        if isinstance(trained, OutOfMemory):
            return Failed(job.pack.index, str(trained))
        if len(trained.sub_batches) > 1:
            parts = " + ".join(str(size) for size in trained.sub_batches)
            reporter.note(f"pack {job.pack.index} did not fit in memory at once: trained as {parts} models")
        finished = job.finish(trained, self.device)
        forget(job.store, job.pack)
        return finished
