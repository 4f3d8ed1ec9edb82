"""Arms: the models that a prediction compares, paired by seed.

A regime holds one set of seeds and all settings but the hidden layer: SoLU + LN, from which the tiers come; its
LN-only controls, each with another activation before the same LayerNorm; and layers without LayerNorm, of which GeLU's
is the usual one. The k-th model of every arm has the same seed, and so has seen the same data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toymodels.hosts import Models

MAIN = "solu + LN"
LN_ONLY = ("gelu + LN", "relu + LN", "linear + LN")
PLAIN = "gelu"
WITHOUT_NORM = (PLAIN, "relu", "solu")
ARMS = (MAIN, *LN_ONLY, *WITHOUT_NORM)


@dataclass(frozen=True)
class Regime:
    """The arms of one regime by name: `MAIN`, and those others of `ARMS` that there are.

    Raises ``ValueError`` where `MAIN` is not there, another is not one of `ARMS`, or they are not paired.
    """

    name: str
    arms: Mapping[str, Models]

    def __post_init__(self) -> None:
        if MAIN not in self.arms or not set(self.arms) <= set(ARMS):
            others = ", ".join(ARMS[1:])
            raise ValueError(f"{self.name}: expected the arm {MAIN} and some of {others}, got {[*self.arms]}")
        seeds = [e.seed for e in self.arms[MAIN].experiments]
        for name, arm in self.arms.items():
            if [e.seed for e in arm.experiments] != seeds:
                raise ValueError(f"{self.name}: expected the seeds of {MAIN} in {name} too, in the same order")

    def __len__(self) -> int:
        """How many seeds the regime has, which is the number of models of each arm."""
        return len(self.arms[MAIN])


def covariates(arm: Models) -> np.ndarray:
    """log P_i and log I_i of every feature, float64 [model, feature, 2]; -inf for an importance of 0."""
    with np.errstate(divide="ignore"):
        frequency = np.log([e.features.probabilities() for e in arm.experiments])
        importance = np.log([e.importance() for e in arm.experiments])
    return np.stack([frequency, importance], 2)
