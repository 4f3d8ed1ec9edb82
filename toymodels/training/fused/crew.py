"""The crew: threads that train, each model by itself, so that no thread waits while there is a model to train."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import heappop, heappush
from threading import Condition, Thread, local

import numpy as np

from toymodels.bottleneck import Bottleneck
from toymodels.features import Features
from toymodels.kernels import steps
from toymodels.kernels.bottleneck import PART, Shape, Work, workspace
from toymodels.training.contract import OnProgress, Unsupported
from toymodels.training.experiment import Experiment
from toymodels.training.fused.layout import Batch, bytes_needed, unsupported
from toymodels.training.memory import OutOfMemory
from toymodels.training.recipe import Training
from toymodels.training.trained import Trained

CALL_SECONDS = 0.1
"""About how long a kernel runs before Python is asked whether to go on: Ctrl-C is heard within a second."""
TASKS_A_THREAD = 8
WIDE_FLOP = 1e8
"""Work of a step from which its parts are worth waking other threads for: a millisecond, a hundred times the waking."""


def prepare(wide: bool = False) -> None:
    """Compile the kernels, or load them: those of few models on many threads if ``wide``, else those of many models.

    Interrupting this is heard at once.
    """
    tiny = Experiment(Features(1, 0.5), Bottleneck(1), Training(steps=1, batch=1))

    def compile_all() -> None:
        batch = Batch.of([tiny])
        arguments = batch.arguments(workspace(batch.shape))
        if wide:
            steps.part_gradient(*arguments, 0, 1, 0)
            steps.add_part(batch.shape, 0, arguments[-1], arguments[-1])
            steps.finish_step(*arguments, 0, 1, np.float32(0))
        else:
            steps.train(*arguments, 0, 1, 1, 2)

    if (steps.part_gradient if wide else steps.train).signatures:
        return
    thread = Thread(target=compile_all, daemon=True)  # abandoned, not waited for, where the program is to end
    thread.start()
    while thread.is_alive():
        thread.join(CALL_SECONDS)


@dataclass(order=True)
class _Task:
    """Some models of a batch on their way. The order is that of need: the earlier batch, then the fewest steps done."""

    number: int
    t: int
    first: int
    last: int
    at_once: int = field(default=1, compare=False)


@dataclass
class _UnderWay:
    """A batch that was handed to the threads, or why it was not."""

    batch: Batch | None
    refused: OutOfMemory | None = None
    open_tasks: int = 0
    wide: bool = False

    def result(self) -> Trained | OutOfMemory:
        """What became of it, once no task is open."""
        assert self.batch or self.refused
        return self.batch.trained() if self.batch else self.refused or OutOfMemory()


class Crew:
    """Threads that train: each takes the neediest task for a slice of time, so that all of a batch end together."""

    def __init__(self, threads: int, budget: int | None = None) -> None:
        self.threads, self.budget = threads, budget
        self.tasks: list[_Task] = []
        self.under_way: dict[int, _UnderWay] = {}
        self.changed = Condition()
        self.stop, self.own = False, local()
        self.progress: deque[float] = deque()
        self.failure: BaseException | None = None
        self.helpers = ThreadPoolExecutor(threads)
        """those that help with the parts of a step; its threads begin when they are first needed"""

    def train_each(
        self, batches: Iterator[Sequence[Experiment]], on_progress: OnProgress | None
    ) -> Iterator[Trained | OutOfMemory]:
        """See the function of this name."""
        begun, returned, more = 0, 0, True
        threads = [Thread(target=self._work) for _ in range(self.threads)]
        for thread in threads:
            thread.start()
        try:
            while True:
                while more and self._idle_soon():
                    experiments = next(batches, None)
                    more = experiments is not None
                    if experiments is not None:
                        self._begin(begun, experiments)
                        begun += 1
                if returned == begun:
                    return
                self._await(returned, on_progress)
                yield self.under_way.pop(returned).result()
                returned += 1
        finally:
            with self.changed:
                self.stop = True
                self.changed.notify_all()
            for thread in threads:
                thread.join()
            self.helpers.shutdown()

    def _idle_soon(self) -> bool:
        return sum(each.open_tasks for each in self.under_way.values()) < 2 * self.threads

    def _begin(self, number: int, experiments: Sequence[Experiment]) -> None:
        """Hand a batch to the threads."""
        if reason := unsupported(experiments[0]):
            raise Unsupported(reason)
        prepare()
        under_way = _UnderWay(None)
        needed = bytes_needed(experiments)
        if self.budget is not None and needed > self.budget:
            reason = f"it needs about {needed / 2**20:,.0f} MiB, the budget is {self.budget / 2**20:,.0f} MiB"
            under_way.refused = OutOfMemory(f"a batch of {len(experiments)} does not fit in memory: {reason}")
        else:
            try:
                under_way.batch = Batch.of(experiments)
            except MemoryError as error:
                under_way.refused = OutOfMemory(f"a batch of {len(experiments)} does not fit in memory: {error}")
        with self.changed:
            self.under_way[number] = under_way
            if under_way.batch:
                count = len(under_way.batch)
                under_way.wide = count < self.threads and under_way.batch.step_flop() > WIDE_FLOP
                at_once = 1 if under_way.wide else -(-count // (TASKS_A_THREAD * self.threads))
                for first in range(0, count, at_once):
                    heappush(self.tasks, _Task(number, 1, first, min(count, first + at_once)))
                    under_way.open_tasks += 1
            self.changed.notify_all()
        if under_way.wide:
            prepare(wide=True)

    def _await(self, number: int, on_progress: OnProgress | None) -> None:
        """Until a batch is done; says how far all are, here on the caller's thread, which alone hears signals."""
        while True:
            with self.changed:
                if self.under_way[number].open_tasks and not self.failure:
                    self.changed.wait(CALL_SECONDS)
                done = not self.under_way[number].open_tasks
            if self.failure:
                raise self.failure
            advanced = sum(self.progress.popleft() for _ in range(len(self.progress)))
            if on_progress and advanced:
                on_progress(advanced)
            if done:
                return

    def _work(self) -> None:
        """What a thread does: slices of the neediest task, until there is nothing more to come."""
        while True:
            with self.changed:
                while not self.tasks and not self.stop:
                    self.changed.wait()
                if self.stop:
                    return
                task = heappop(self.tasks)
                under_way = self.under_way[task.number]
            try:
                assert under_way.batch
                (self._wide_slice if under_way.wide else self._slice)(under_way.batch, task)
                open_still = task.t < under_way.batch.rule.steps + 2
            except BaseException as error:
                self.failure, open_still = error, False
            with self.changed:
                if open_still:
                    heappush(self.tasks, task)
                else:
                    under_way.open_tasks -= 1
                    self.changed.notify_all()

    def _slice(self, batch: Batch, task: _Task) -> None:
        """Some steps of some models, in one short kernel call."""
        until = min(batch.rule.steps + 2, task.t + task.at_once)
        begin = time.perf_counter()
        steps.train(*batch.arguments(self._workspace(batch.shape)), task.first, task.last, task.t, until)
        taken = time.perf_counter() - begin
        self._advance(batch, task, until)
        task.at_once = max(1, min(4 * task.at_once, int(task.at_once * CALL_SECONDS / max(taken, 1e-6))))

    def _wide_slice(self, batch: Batch, task: _Task) -> None:
        """A step of one model, its parts on all threads; added up in order, so nothing differs."""
        model, t = task.first, task.t
        works = self._wide_workspaces(batch.shape)
        if t > batch.rule.steps or batch.state.diverged_step[model]:
            steps.train(*batch.arguments(works[0]), model, model + 1, t, t + 1)
        else:
            loss, parts = np.float32(0), range(0, batch.shape.batch, PART)
            for begin in range(0, len(parts), len(works)):
                wave = list(zip(parts[begin : begin + len(works)], works, strict=False))
                sums = [
                    self.helpers.submit(steps.part_gradient, *batch.arguments(work), model, t, first)
                    for first, work in wave
                ]
                for (first, work), part in zip(wave, sums, strict=True):
                    loss += np.float32(part.result())
                    steps.add_part(batch.shape, first, works[0], work)
            steps.finish_step(*batch.arguments(works[0]), model, t, loss)
        self._advance(batch, task, t + 1)

    def _workspace(self, shape: Shape) -> Work:
        """This thread's room for models of this shape, made once."""
        if getattr(self.own, "shape", None) != shape:
            self.own.shape, self.own.work = shape, workspace(shape)
        return self.own.work

    def _wide_workspaces(self, shape: Shape) -> list[Work]:
        """This thread's room for parts at once."""
        if getattr(self.own, "wide_shape", None) != shape:
            self.own.wide_shape, self.own.works = shape, [workspace(shape) for _ in range(self.threads)]
        return self.own.works

    def _advance(self, batch: Batch, task: _Task, until: int) -> None:
        steps_done = min(until, batch.rule.steps + 1) - task.t
        self.progress.append((task.last - task.first) * steps_done / batch.rule.steps)
        task.t = until
