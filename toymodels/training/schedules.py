"""Schedules: the learning rate over a run, as a factor of its setting. The period is the run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from toymodels.roles import by_name


class Schedule(ABC):
    """The learning rate over a run, as a factor of its setting."""

    name: str

    @abstractmethod
    def factor(self, progress: float) -> float:
        """The factor at ``progress`` = step / steps in [0, 1)."""


@dataclass(frozen=True)
class Constant(Schedule):
    """1."""

    name = "constant"

    def factor(self, progress: float) -> float:
        return 1.0


@dataclass(frozen=True)
class LinearDecay(Schedule):
    """1 - progress."""

    name = "linear"

    def factor(self, progress: float) -> float:
        return 1.0 - progress


@dataclass(frozen=True)
class Cosine(Schedule):
    """(1 + cos(pi progress)) / 2 (Loshchilov and Hutter 2017), without restarts."""

    name = "cosine"

    def factor(self, progress: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Schedule] = by_name(Constant(), LinearDecay(), Cosine())
