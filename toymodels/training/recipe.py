"""The recipe: how a model learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from toymodels.checks import Number, Whole, expect, settle
from toymodels.training.optimizers import Adam, Optimizer
from toymodels.training.schedules import Constant, Schedule

CHECKS = {
    "steps": Whole(1, 10**9),
    "batch": Whole(1, 10**7),
    "learning_rate": Number(least=0),
    "weight_decay": Number(least=0),
    "curve_points": Whole(1, 10**5),
    "snapshots": Whole(0, 10**5),
    "hidden_bias_decay": Number(least=0),
}


@dataclass(frozen=True)
class Training:
    """Settings of a training run. The defaults are those of the notebook of Elhage et al. 2022, without weight decay.

    ``weight_decay`` acts on every trained parameter; ``hidden_bias_decay`` on b_in alone, on top of it, in the same
    manner: it draws a hidden bias that started elsewhere back to 0.
    The loss is kept at ``curve_points`` log-spaced steps, the weights at ``snapshots``.
    """

    steps: int = 10_000
    batch: int = 1024
    optimizer: Optimizer = field(default_factory=Adam)
    learning_rate: float = 1e-3
    schedule: Schedule = field(default_factory=Constant)
    weight_decay: float = 0.0
    curve_points: int = 50
    snapshots: int = 0
    hidden_bias_decay: float = 0.0

    def __post_init__(self) -> None:
        expect(Optimizer, "Adam()", optimizer=self.optimizer)
        expect(Schedule, "Cosine()", schedule=self.schedule)
        settle(self, CHECKS)

    @cached_property
    def structure(self) -> Hashable:
        """What must be equal for models to train together; all else is each model's own."""
        return dataclasses.replace(self, learning_rate=1.0, weight_decay=0.0, hidden_bias_decay=0.0)

    def curve_steps(self) -> np.ndarray:
        """The steps, counted from 1, whose batch loss is kept; the first and the last are among them."""
        return log_spaced(self.steps, self.curve_points)

    def snapshot_steps(self) -> np.ndarray:
        """The steps, counted from 1, after which the weights are kept."""
        return log_spaced(self.steps, self.snapshots)


def log_spaced(last: int, points: int) -> np.ndarray:
    """At most ``points`` distinct whole numbers from 1 to ``last``, evenly spaced in their logarithm; int64."""
    if points < 2:
        return np.full(points, last, dtype=np.int64)
    return np.unique(np.rint(np.geomspace(1, last, points)).astype(np.int64))
