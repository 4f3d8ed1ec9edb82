"""The heartbeat: while a run trains, now and then, its pulse in the lock file (`toymodels.sweeps.store.pulse`)."""

from __future__ import annotations

import time
from dataclasses import replace

from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.speed import Speed
from toymodels.sweeps.store.pulse import Pulse
from toymodels.sweeps.store.store import Store

SECONDS = 2.0
"""between one beat and the next: far more than one takes"""


class Heartbeat:
    """Hears what a reporter hears of training, and has the lock of its store say how far that is."""

    def __init__(self, store: Store) -> None:
        self.store, self.speed = store, Speed()
        self._unstored = 0.0
        self._last = time.monotonic()

    def beside(self, reporter: Reporter) -> Reporter:
        """A reporter that tells this heartbeat and the other one of training."""

        def trained(models: float) -> None:
            self._unstored += models
            self.speed.advance(models)
            if time.monotonic() - self._last >= SECONDS:
                self._beat()
            reporter.trained(models)

        return replace(reporter, trained=trained)

    def ended(self, models: float) -> None:
        """A pack is stored, or given up: what was heard of it, so many models' worth, is on its way no more."""
        self._unstored = max(0.0, self._unstored - models)
        self._beat()

    def _beat(self) -> None:
        self._last = time.monotonic()
        self.store.say(Pulse(self.speed.trained, self.speed.seconds, self._unstored))
