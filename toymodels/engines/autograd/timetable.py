"""The timetable: what changes from step to step and is known beforehand, as numbers on the device.

A row a step: the schedule's factor of the learning rate, then the numbers of every direction. They are worked out in
float64 for a stretch of steps at once; a step finds its row by how many steps are done, which is a tensor too. So a
step is a function of tensors alone, and nothing in it waits for the device.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from toymodels.training.optimizers import Direction, Timed
from toymodels.training.schedules import Schedule

STRETCH = 1024
"""steps whose rows are on the device at once"""


class Timetable:
    """The numbers of each step of a run of so many ``steps``, like a tensor's device and precision."""

    def __init__(self, schedule: Schedule, steps: int, directions: Mapping[str, Direction], like: Tensor) -> None:
        self.schedule, self.steps = schedule, steps
        self.timed = {name: each for name, each in directions.items() if isinstance(each, Timed)}
        self.places: dict[str, slice] = {}
        width = 1
        for name, direction in self.timed.items():
            count = len(direction.numbers(1))
            self.places[name] = slice(width, width + count)
            width += count
        # Filled anew and never replaced: what was recorded reads them where they are.
        self.rows = like.new_zeros(min(STRETCH, steps), width)
        self.first = torch.zeros((), dtype=torch.int64, device=like.device)
        """how many steps are done where the first row applies"""
        self._first: int | None = None

    def reach(self, done: int) -> None:
        """Have the row of the step after ``done`` steps on the device, which is not waited for."""
        if self._first is not None and self._first <= done < self._first + len(self.rows):
            return
        rows = torch.zeros(self.rows.shape, dtype=self.rows.dtype, pin_memory=self.rows.device.type == "cuda")
        last = min(done + len(rows), self.steps)
        rows[: last - done] = torch.tensor([self._row(t) for t in range(done + 1, last + 1)], dtype=rows.dtype)
        self.rows.copy_(rows, non_blocking=True)
        self.first.fill_(done)
        self._first = done

    def _row(self, t: int) -> list[float]:
        row = [self.schedule.factor((t - 1) / self.steps)]
        for direction in self.timed.values():
            row += direction.numbers(t)
        return row

    def row(self, done: Tensor) -> Tensor:
        """The numbers of the step after ``done`` steps, int64 []: [number]."""
        return self.rows.index_select(0, done - self.first)[0]
