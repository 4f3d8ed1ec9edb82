"""The pulse of a process that trains: how far it is, in a line of the lock file that names it.

So whoever looks at the run folder, from any machine that sees it, knows of progress inside a pack; and nothing is left
when the process ends, however it ends, since what a lock file says means something only while it is locked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PATTERN = re.compile(
    r"trained (?P<trained>\d{1,12}\.\d\d) models in (?P<seconds>\d{1,12}\.\d\d) seconds, "
    r"(?P<unstored>\d{1,12}\.\d\d) of them in packs that are not stored yet"
)


@dataclass(frozen=True)
class Pulse:
    """How far a process has come since it began to train."""

    trained: float = 0.0
    """models' worth of training that it did"""
    seconds: float = 0.0
    """that this took it"""
    unstored: float = 0.0
    """models' worth of training in packs that are not stored yet, and what earlier processes did of it"""

    def __str__(self) -> str:
        return (
            f"trained {self.trained:.2f} models in {self.seconds:.2f} seconds, {self.unstored:.2f} of them in packs "
            "that are not stored yet"
        )

    @staticmethod
    def parse(text: str) -> Pulse | None:
        """What a line says; None where it is no pulse."""
        found = PATTERN.fullmatch(text.strip())
        return Pulse(**{name: float(value) for name, value in found.groupdict().items()}) if found else None

    @property
    def rate(self) -> float:
        """Models a second; 0 where nothing is known yet."""
        return self.trained / self.seconds if self.seconds > 0 else 0.0
