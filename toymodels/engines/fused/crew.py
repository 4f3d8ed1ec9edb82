"""The crew: threads that train, each model by itself, so that no thread waits while there is a model to train."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import heappop, heappush
from threading import Condition, Thread, local, main_thread

import numpy as np
import torch
from torch import Tensor

from toymodels.engines.engine import OnProgress, Unsupported
from toymodels.engines.fused.batch import Batch, bytes_needed
from toymodels.engines.fused.codes import KNOWN
from toymodels.engines.fused.keeping import Keeping, bytes_of_copy
from toymodels.engines.fused.preparing import prepare
from toymodels.engines.fused.tasks import Task, UnderWay, tasks_of
from toymodels.kernels import steps
from toymodels.kernels.bottleneck import PART
from toymodels.kernels.shape import Shape
from toymodels.kernels.workspace import Work, workspace
from toymodels.training.experiment import Experiment
from toymodels.training.keep import Keep
from toymodels.training.memory import OutOfMemory, is_out_of_memory
from toymodels.training.trained import Trained

CALL_SECONDS = 0.1
"""About how long a kernel runs before Python is asked whether to go on: Ctrl-C is heard within a second."""
TASKS_A_THREAD = 8
MOST_FLOP = 2e9
"""Work of a step of a task's models: some 20 milliseconds, below which a call cannot be cut."""
WIDE_FLOP = 1e8
"""Work of a step from which its parts are worth waking other threads for: a millisecond, a hundred times the waking."""


class Crew:
    """Threads that train: each takes the neediest task for a slice of time, so that all of a batch end together."""

    def __init__(self, threads: int, budget: int | None = None) -> None:
        self.threads, self.budget = threads, budget
        self.tasks: list[Task] = []
        self.under_way: dict[int, UnderWay] = {}
        self.changed = Condition()
        self.stop, self.own = False, local()
        self.unsaved: BaseException | None = None
        self.progress: deque[float] = deque()
        self.helpers = ThreadPoolExecutor(threads)
        """those that help with the parts of a step; its threads begin when they are first needed"""

    def train_each(
        self,
        batches: Iterator[Sequence[Experiment]],
        on_progress: OnProgress | None,
        keep: Callable[[int], Keep | None],
    ) -> Generator[Trained | OutOfMemory]:
        """Train batches, each of one structure, in their order; the next one begins before a thread is idle.

        A batch that does not fit is returned as the reason why. ``keep`` gives what keeps the batch of a number, right
        after that batch was asked for.
        """
        begun, returned, more = 0, 0, True
        threads = [*(Thread(target=self._work) for _ in range(self.threads)), Thread(target=self._save)]
        try:
            for thread in threads:
                thread.start()
            while more or returned < begun:
                while more and self._room():
                    experiments = next(batches, None)
                    more = experiments is not None
                    if experiments is not None:
                        self._begin(begun, experiments, keep(begun))
                        begun += 1
                if returned < begun and self._wait(returned, more, on_progress):
                    if keeping := self.under_way[returned].keeping:
                        keeping.end()
                    yield self.under_way[returned].result()
                    del self.under_way[returned]  # until it is asked for the next, nobody may have stored this one
                    returned += 1
        finally:
            with self.changed:
                self.stop = True
                self.changed.notify_all()
            for thread in threads:
                if thread.is_alive():
                    thread.join()
            self.helpers.shutdown()
            self._save_unfinished()

    def newest_losses(self, number: int) -> Tensor:
        """The loss at the last curve point that each model of a batch under way has reached; NaN before: [model]."""
        batch = self.under_way[number].batch
        assert isinstance(batch, Batch)
        curve = torch.from_numpy(batch.state.curve.copy())
        reached = (~curve.isnan()).sum(1, keepdim=True)
        return curve.gather(1, (reached - 1).clamp(min=0))[:, 0]

    def _room(self) -> bool:
        """Whether the next batch should begin.

        It should where a thread may soon find no task, unless batches that have ended wait to be taken, a thread each.
        """
        tasks = [each.open_tasks for each in self.under_way.values()]
        return sum(tasks) <= self.threads and tasks.count(0) <= self.threads

    def _begin(self, number: int, experiments: Sequence[Experiment], keep: Keep | None) -> None:
        """Hand a batch to the threads."""
        if reason := KNOWN.unsupported(experiments):
            raise Unsupported(reason)
        prepare()
        under_way = UnderWay(self._batch_of(experiments))
        tasks: list[Task] = []
        if isinstance(under_way.batch, Batch):
            count, flop = len(experiments), under_way.batch.step_flop()
            under_way.wide = count < self.threads and flop > WIDE_FLOP
            if under_way.wide:
                prepare(wide=True)
            done = np.zeros(count, np.int64)
            # A batch for which this does not fit is trained all the same, and not kept.
            if keep is not None and self._fits(bytes_needed(experiments) + bytes_of_copy(experiments)):
                under_way.keeping = Keeping(keep, under_way.batch)
                done = under_way.keeping.resume()
            at_once = min(-(-count // (TASKS_A_THREAD * self.threads)), max(1, int(MOST_FLOP / flop)))
            tasks = tasks_of(number, done, 1 if under_way.wide else at_once, under_way.batch.rule.steps)
        with self.changed:
            self.under_way[number] = under_way
            under_way.open_tasks = len(tasks)
            for task in tasks:
                heappush(self.tasks, task)
            self.changed.notify_all()

    def _fits(self, needed: int) -> bool:
        return self.budget is None or needed <= self.budget

    def _batch_of(self, experiments: Sequence[Experiment]) -> Batch | OutOfMemory:
        needed = bytes_needed(experiments)
        if self.budget is not None and not self._fits(needed):
            reason = f"it needs about {needed / 2**20:,.0f} MiB, the budget is {self.budget / 2**20:,.0f} MiB"
            return OutOfMemory(f"a batch of {len(experiments)} does not fit in memory: {reason}")
        try:
            return Batch.of(experiments)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return OutOfMemory(f"a batch of {len(experiments)} does not fit in memory: {error}")

    def _wait(self, number: int, more: bool, on_progress: OnProgress | None) -> bool:
        """Until a batch is done (true), or the next one should begin (false).

        Says how far all are, here on the caller's thread, which alone hears signals.
        """
        while True:
            with self.changed:
                done = not self.under_way[number].open_tasks
                room = more and self._room()
                if not done and not room:
                    self.changed.wait(CALL_SECONDS)
            advanced = sum(self.progress.popleft() for _ in range(len(self.progress)))
            if on_progress and advanced:
                on_progress(advanced)
            if self.unsaved:
                raise self.unsaved
            if done or room:
                return not room  # whoever takes a batch stores it first: let the threads have the next meanwhile

    def _work(self) -> None:
        """What a thread does: slices of the neediest task, until there is nothing more to come."""
        while True:
            with self.changed:
                while not self.tasks and not self._over():
                    self.changed.wait(CALL_SECONDS)
                if self._over():
                    return
                task = heappop(self.tasks)
                under_way = self.under_way[task.number]
            try:
                assert isinstance(under_way.batch, Batch)
                (self._wide_slice if under_way.wide else self._slice)(under_way.batch, task)
                open_still = task.t < under_way.batch.rule.steps + 2
                if under_way.keeping:
                    under_way.keeping.glance(task.first, task.last, task.t - 1)
            except BaseException as error:
                under_way.failure, open_still = error, False
            with self.changed:
                if open_still and not under_way.failure:
                    heappush(self.tasks, task)
                else:
                    under_way.open_tasks -= 1
                    self.changed.notify_all()

    def _save(self) -> None:
        """What one more thread does: save what is due, whatever whoever takes the batches is doing."""
        while not self._over():
            with self.changed:
                kept = [each.keeping for each in self.under_way.values() if each.keeping and not each.failure]
            try:
                for keeping in kept:
                    keeping.save_if_due()
            except BaseException as error:
                self.unsaved = error  # raised where the caller is
                return
            with self.changed:
                if not self.stop:
                    self.changed.wait(CALL_SECONDS)

    def _save_unfinished(self) -> None:
        """What was not returned, as it is now that the threads have ended."""
        for number, under_way in self.under_way.items():
            keeping = under_way.keeping
            if keeping and not under_way.failure and keeping.worth_saving():
                for task in self.tasks:
                    if task.number == number:
                        keeping.copy(task.first, task.last, task.t - 1)
                keeping.save()

    def _over(self) -> bool:
        """Also where whoever began forgot an unfinished iterator, and the program is to end."""
        return self.stop or not main_thread().is_alive()

    def _slice(self, batch: Batch, task: Task) -> None:
        """Some steps of some models, in one short kernel call."""
        until = min(batch.rule.steps + 2, task.t + task.at_once)
        begin = time.perf_counter()
        steps.train(*batch.arguments(self._workspace(batch.shape)), task.first, task.last, task.t, until)
        taken = time.perf_counter() - begin
        self._advance(batch, task, until)
        task.at_once = max(1, min(4 * task.at_once, int(task.at_once * CALL_SECONDS / max(taken, 1e-6))))

    def _wide_slice(self, batch: Batch, task: Task) -> None:
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

    def _advance(self, batch: Batch, task: Task, until: int) -> None:
        steps_done = min(until, batch.rule.steps + 1) - task.t
        self.progress.append((task.last - task.first) * steps_done / batch.rule.steps)
        task.t = until
