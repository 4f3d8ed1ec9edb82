"""Progress: how far a sweep is, as it is told to whoever watches it (`toymodels.sweeps.console.audience`)."""

from __future__ import annotations

import time

from toymodels.sweeps.console.audience import Audience, Standard
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.speed import Speed

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts models, in parts of one, from when it is entered; says which ``part`` of a sweep they are of, if any."""

    def __init__(self, total: int, part: str = "", audience: Audience | None = None) -> None:
        self.total, self.done, self.part = total, 0.0, part and f"{part}: "
        self._speed = Speed()
        self._audience = audience or Standard()

    def __enter__(self) -> Progress:
        self._last_beat = time.monotonic()
        self._bar = self._audience.bar(self.total, self.part)
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
            self._bar.show(self.done, rate)
        elif now - self._last_beat > SECONDS_BETWEEN_LINES:
            self._last_beat = now
            speed = f", {rate:,.2f} models/s, about {(self.total - self.done) / rate:,.0f} s left" if rate else ""
            self.note(f"{self.part}{self.done:,.0f} of {self.total:,} models{speed}")

    def note(self, sentence: str) -> None:
        """Say a sentence without disturbing the bar."""
        self._audience.say(sentence)
