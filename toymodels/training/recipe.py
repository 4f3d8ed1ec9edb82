"""The recipe: how a model learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from toymodels.checks import Number, Whole, setting, settle
from toymodels.roles import OneOf
from toymodels.training.optimizers import OPTIMIZERS, Adam, Optimizer, RotatedAdam
from toymodels.training.schedules import SCHEDULES, Constant, Schedule


@dataclass(frozen=True)
class Training:
    """Settings of a training run. The defaults are those of the notebook of Elhage et al. 2022, without weight decay.

    ``weight_decay`` acts on every trained parameter; ``hidden_bias_decay`` on b_in alone, on top of it, in the same
    manner: it draws a hidden bias that started elsewhere back to 0. ``weight_growth`` g is decay of the other sign, of
    the columns W_i of W_in: with the rate r, |W_i| moves by r g (1 - |W_i|), from either side to 1 (Liu, Liu and Gore
    2025). A decay below 0 would let columns grow without end that the loss does not hold. ``weights_kept`` below 1 is
    weight-sparse training (`toymodels.training.pruning`).

    To what is minimised, and to nothing that is reported, ``activation_l1`` l adds l times
    `toymodels.objectives.contributions`, and ``load_balance`` alpha adds alpha L_0 imbalance of a routed layer
    (`toymodels.gains`), L_0 the loss of the best constant predictor.

    The loss is kept at ``curve_points`` log-spaced steps, the weights at ``snapshots``.
    """

    steps: int = field(default=10_000, metadata=setting(Whole(1, 10**9), "how many steps a model is trained"))
    batch: int = field(default=1024, metadata=setting(Whole(1, 10**7), "samples a step"))
    optimizer: Optimizer = field(
        default_factory=Adam,
        metadata=setting(
            OneOf(Optimizer, "Adam()", names=OPTIMIZERS),
            "adam with weight decay is AdamW; sgd has momentum .9; rotated_adam is Adam in a random basis",
        ),
    )
    learning_rate: float = field(default=1e-3, metadata=setting(Number(least=0), "how far a step goes, at its largest"))
    schedule: Schedule = field(
        default_factory=Constant,
        metadata=setting(
            OneOf(Schedule, "Cosine()", names=SCHEDULES), "the learning rate over the run, which is its period"
        ),
    )
    weight_decay: float = field(default=0.0, metadata=setting(Number(least=0), "of every trained parameter"))
    curve_points: int = field(
        default=50, metadata=setting(Whole(1, 10**5), "log-spaced steps at which the loss is kept")
    )
    snapshots: int = field(
        default=0, metadata=setting(Whole(0, 10**5), "log-spaced steps at which the weights are kept")
    )
    hidden_bias_decay: float = field(
        default=0.0, metadata=setting(Number(least=0), "of b_in, on top of weight_decay; needs hidden_bias")
    )
    weight_growth: float = field(
        default=0.0,
        metadata=setting(Number(least=0), "draws the length of every column of W_in to 1, as decay draws it to 0"),
    )
    activation_l1: float = field(
        default=0.0,
        metadata=setting(
            Number(least=0), "what a unit of sum_k |mid_k| |W_out column k| costs, batch mean; not with layer_norm"
        ),
    )
    weights_kept: float = field(
        default=1.0,
        metadata=setting(Number(above=0, most=1), "the share of W_in's and of W_out's weights that stay, the largest"),
    )
    load_balance: float = field(
        default=0.0,
        metadata=setting(Number(least=0), "how much an uneven load of experts costs, in best constants' losses"),
    )

    def __post_init__(self) -> None:
        settle(self)
        if self.weights_kept < 1 and isinstance(self.optimizer, RotatedAdam):
            raise ValueError(
                "weights_kept: small weights are small in the neurons' basis, which rotated_adam is there not to "
                "prefer: adam or sgd"
            )

    @cached_property
    def structure(self) -> Hashable:
        """What must be equal for models to train together; all else is each model's own."""
        shared = dataclasses.replace(self, learning_rate=1.0, weight_decay=0.0, hidden_bias_decay=0.0)
        return dataclasses.replace(shared, weight_growth=0.0, activation_l1=0.0, weights_kept=1.0)

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
