"""Tasks: some models of a batch on their way; and a batch under way, which is done when no task of it is open."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from toymodels.engines.fused.batch import Batch
from toymodels.engines.fused.keeping import Keeping
from toymodels.training.memory import OutOfMemory
from toymodels.training.trained import Trained


@dataclass(order=True)
class Task:
    """Some models of a batch on their way. The order is that of need: the earlier batch, then the fewest steps done."""

    number: int
    t: int
    first: int
    last: int
    at_once: int = field(default=1, compare=False)


def tasks_of(number: int, done: np.ndarray, at_once: int, steps: int) -> list[Task]:
    """The tasks of models that have ``done`` so many steps each: at most ``at_once`` neighbours of equal step."""
    edges = [0, *(np.flatnonzero(np.diff(done)) + 1).tolist(), len(done)]
    return [
        Task(number, int(done[first]) + 1, first, min(last, first + at_once))
        for begin, last in pairwise(edges)
        for first in range(begin, last, at_once)
        if done[first] <= steps
    ]


@dataclass
class UnderWay:
    """A batch that was handed to the threads, or why it could not be."""

    batch: Batch | OutOfMemory
    keeping: Keeping | None = None
    wide: bool = False
    open_tasks: int = 0
    failure: BaseException | None = None

    def result(self) -> Trained | OutOfMemory:
        """What became of it, once no task is open."""
        if isinstance(self.failure, MemoryError):
            return OutOfMemory(f"a batch does not fit in memory: {self.failure}")
        if self.failure:
            raise self.failure
        return self.batch if isinstance(self.batch, OutOfMemory) else self.batch.trained()
