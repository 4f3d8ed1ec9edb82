"""The speed: how fast models are trained, from the first report on, with which training has begun.

Compiling, and reading what is stored, are none of it.
"""

from __future__ import annotations

import time


class Speed:
    """Counts models, in parts of one, and the seconds that they took."""

    def __init__(self) -> None:
        self.trained, self.seconds = 0.0, 0.0
        self._begun: float | None = None
        """the clock when training had begun; None before"""

    def advance(self, models: float) -> None:
        """So many models' worth of training is done; of the first report nobody knows how long it took."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = now
        else:
            self.trained += models
            self.seconds = now - self._begun

    @property
    def rate(self) -> float:
        """Models a second; 0 where nothing is known yet."""
        return self.trained / self.seconds if self.seconds > 0 else 0.0
