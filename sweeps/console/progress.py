"""Progress: how far a sweep is, on stderr. A bar on a terminal; elsewhere a heartbeat line now and then."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.speed import Speed

HEARTBEAT_SECONDS = 10.0


class Progress:
    """Counts models, in parts of one, from when it is entered; says which ``part`` of a sweep they are of, if any."""

    def __init__(self, total: int, part: str = "") -> None:
        self.total, self.done, self.part = total, 0.0, part and f"{part}: "
        self._speed = Speed()
        self._console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        self._bar: Bar | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Progress:
        self._last_beat = time.monotonic()
        if self._console.is_terminal:
            models = TextColumn(self.part + "{task.completed:,.0f}/{task.total:,.0f} models, {task.fields[rate]}")
            self._bar = Bar(BarColumn(), models, TimeRemainingColumn(), console=self._console)
            self._task = self._bar.add_task("", total=self.total, rate="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def reporter(self) -> Reporter:
        """What a run tells this progress."""
        return Reporter(note=self.note, trained=self.advance, stored=self.skip)

    def skip(self, models: float) -> None:
        """So many models were there already: they count, but not towards the rate."""
        self.done += models

    def advance(self, models: float) -> None:
        """So many models' worth of training is done."""
        self.done += models
        self._speed.advance(models)
        rate, now = self._speed.rate, time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=f"{rate:,.2f} models/s" if rate else "")
        elif now - self._last_beat > HEARTBEAT_SECONDS:
            self._last_beat = now
            speed = f", {rate:,.2f} models/s, about {(self.total - self.done) / rate:,.0f} s left" if rate else ""
            self.note(f"{self.part}{self.done:,.0f} of {self.total:,} models{speed}")

    def note(self, sentence: str) -> None:
        """Print a sentence on stderr without disturbing the bar."""
        self._console.print(sentence)
