"""What a page carries: of every arm as many models, the first ones, up to so many points, rows and weights.

A page is sent about, so its size is bounded whatever the run's is: see `MOST_POINTS`, `MOST_ROWS`, `MOST_WEIGHTS`.
Models come in turn, the first of every arm, then the second of every arm, and a limit takes a beginning of that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from toymodels.sweeps.results.arms import Replicates

MOST_POINTS = 10_000
"""models in the explorer"""
MOST_ROWS = 200_000
"""rows of features, neurons and targets: a dozen numbers of two bytes each"""
MOST_WEIGHTS = 2_000_000
"""weights, two bytes each, which hardly compress"""


@dataclass(frozen=True)
class Size:
    """How large a model is."""

    rows: int
    """features, neurons and targets together"""
    weights: int
    """entries of its matrices"""


@dataclass(frozen=True)
class Carried:
    """Which models a page carries what of, by number, ascending."""

    points: Sequence[int]
    rows: Sequence[int]
    weights: Sequence[int]
    of: int
    """how many models there are"""
    there: int
    """of how many there are packs"""

    @property
    def sentences(self) -> list[str]:
        """What the page says of models that it does not carry: nothing where it carries all."""
        said = []
        for what, models, of, limit in (
            ("The explorer shows", self.points, self.of, f"{MOST_POINTS:,} models"),
            ("Tables of features and neurons are here for", self.rows, self.there, f"{MOST_ROWS:,} rows"),
            ("Weights are here, in half precision, for", self.weights, self.there, f"{MOST_WEIGHTS:,} weights"),
        ):
            if len(models) < of:
                said.append(
                    f"{what} {len(models):,} of {of:,} models, the first of every arm, as many of each: "
                    f"the page is kept small ({limit})."
                )
        return said


def choose(arms: Sequence[Replicates], sizes: Mapping[int, Size]) -> Carried:
    """Which models a page carries; of those without a size, whose pack is not there, no rows and no weights."""
    order = _in_turn([arm.models["model"].to_numpy() for arm in arms])
    there = [model for model in order if model in sizes]
    return Carried(
        points=sorted(order[:MOST_POINTS]),
        rows=sorted(_up_to(MOST_ROWS, there[:MOST_POINTS], {model: sizes[model].rows for model in there})),
        weights=sorted(_up_to(MOST_WEIGHTS, there[:MOST_POINTS], {model: sizes[model].weights for model in there})),
        of=len(order),
        there=len(there),
    )


def _in_turn(arms: Sequence[np.ndarray]) -> list[int]:
    """The first model of every arm, then the second of every arm, and so on."""
    if not arms:
        return []
    models = pd.DataFrame(
        {"model": np.concatenate(arms), "turn": np.concatenate([np.arange(len(arm)) for arm in arms])}
    )
    return [int(model) for model in models.sort_values(["turn", "model"], kind="stable")["model"]]


def _up_to(most: int, order: Sequence[int], size: Mapping[int, int]) -> list[int]:
    """The longest beginning of ``order`` whose sizes add up to at most ``most``."""
    total = np.cumsum([size[model] for model in order], dtype=np.int64)
    return list(order[: int(np.searchsorted(total, most, side="right"))])
