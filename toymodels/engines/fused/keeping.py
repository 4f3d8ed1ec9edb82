"""Keeping an unfinished batch: threads copy where their models stand, one more thread saves the copy.

Models are independent and their data is counted by step, so the rows of a copy may be of different steps: no thread
waits for another, and none for the file. A row is half an interval old at most when it is saved.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from threading import Lock

import numpy as np
import torch

from toymodels.engines.fused.batch import Batch
from toymodels.engines.fused.layout import shape_of
from toymodels.training.experiment import Experiment
from toymodels.training.keep import Keep, resume

ROWS = ("theta", "mean", "square", "before", "ceiling", "diverged_step", "curve", "snapshots")
"""What of `State` a step changes, [model, ...]."""


def bytes_of_copy(experiments: Sequence[Experiment]) -> int:
    """What keeping these models takes beside training them: the copy, and what is written of it, twice over."""
    a_model = shape_of(experiments[0]).size * (4 + experiments[0].training.snapshots)
    return 3 * 4 * len(experiments) * a_model


class Keeping:
    """Saves where the models of one unfinished batch stand into its `Keep`, and puts them back."""

    def __init__(self, keep: Keep, batch: Batch) -> None:
        self.keep, self.batch = keep, batch
        self._copied = np.full(len(batch), time.monotonic())
        """when each model's row was"""
        self._saved = time.monotonic()
        self._finished: deque[tuple[int, int]] = deque()
        self._copy: dict[str, np.ndarray] | None = None
        """made when it is first due: most batches are done before"""
        self._changed = False
        """since it was saved"""
        self._ended = False
        self._lock = Lock()

    def resume(self) -> np.ndarray:
        """Put the models back where they were kept; returns how many steps each has done."""
        start, steps = self._start(), self.batch.rule.steps
        state = resume(self.keep, {name: torch.from_numpy(rows) for name, rows in start.items()}, steps, steps + 1)
        if state is not None:
            self._copy = {name: state[name].numpy().copy() for name in start}
            known = self._copy["step"] > 0
            for name in ROWS:
                getattr(self.batch.state, name)[known] = self._copy[name][known]
        return start["step"] if self._copy is None else self._copy["step"].copy()

    def glance(self, first: int, last: int, done: int) -> None:
        """Copy the rows of a task after ``done`` steps, if it is due; called by the thread that has the task."""
        if done > self.batch.rule.steps:
            self._finished.append((first, last))  # its rows change no more: they are copied when there is need
        elif time.monotonic() - self._copied[first] >= self.keep.seconds / 2 and self._lock.acquire(blocking=False):
            try:
                self.copy(first, last, done)
            except MemoryError:
                self._copied[:] = time.monotonic()  # training goes on, and is not kept
            finally:
                self._lock.release()

    def copy(self, first: int, last: int, done: int) -> None:
        """Copy rows; by whoever has the lock, or is alone."""
        if self._copy is None:
            self._copy = {name: np.zeros_like(rows) for name, rows in self._start().items()}
        for name in ROWS:
            self._copy[name][first:last] = getattr(self.batch.state, name)[first:last]
        self._copy["step"][first:last] = done
        self._copied[first:last] = time.monotonic()
        self._changed = True

    def save_if_due(self, share: float = 1.0) -> None:
        """Save the copy once an interval, or once a share of one, if it changed."""
        with self._lock:
            since = time.monotonic() - self._saved
            if (self._changed or self._finished) and not self._ended and since >= share * self.keep.seconds:
                self.save()

    def end(self) -> None:
        """Every model is trained: from here on whoever takes them stores them."""
        self.save_if_due(0.5)
        with self._lock:
            self._ended = True

    def worth_saving(self) -> bool:
        """Whether what was trained since the last time would be missed."""
        return time.monotonic() - self._saved >= self.keep.worth_seconds

    def save(self) -> None:
        """Save the copy, with what was finished meanwhile; by whoever has the lock, or is alone."""
        while self._finished:
            self.copy(*self._finished[0], self.batch.rule.steps + 1)
            self._finished.popleft()
        if self._copy is not None:
            self.keep.save({name: torch.from_numpy(rows) for name, rows in self._copy.items()})
            self._saved, self._changed = time.monotonic(), False

    def _start(self) -> dict[str, np.ndarray]:
        """Like the copy: the state's own arrays, and no steps done."""
        return {"step": np.zeros(len(self.batch), np.int64), **{n: getattr(self.batch.state, n) for n in ROWS}}
