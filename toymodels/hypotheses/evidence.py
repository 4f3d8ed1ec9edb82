"""Evidence: what was measured of the arms of a regime, before any tier is named, and the samples it was measured on.

The evaluation samples are cut in two. The first half says which features are recovered, and what LayerNorm's scale is
held at; the statistics are of the second. So no feature is picked and judged by the same data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from toymodels.metrics.moments import EDGE, Moments, fold_edges

Quantities = dict[str, Tensor]
"""What one prediction, or the tiers, measured of one arm, by name; the first axis of each is the model."""
Measured = dict[str, Quantities]
"""What was measured of one arm: `Quantities` by the key of the prediction, `OF_TIERS` or `OF_ENGAGEMENT`."""
OF_TIERS = "tiers"
"""The place in `Measured` of what tiers are made of: `toymodels.hypotheses.tiers.measure`."""
OF_ENGAGEMENT = "engagement"
"""The place in `Measured` of SoLU + LN's affine substitution (`toymodels.metrics.manipulation`), [model]."""


@dataclass(frozen=True)
class SplitSamples:
    """The evaluation samples of one arm: where they are cut in two, and the moments of both halves."""

    arm: str
    """the name of the arm in its regime"""
    middle: int
    """where the second half begins"""
    last: int
    """where the second half ends"""
    first_half: Moments
    second_half: Moments
    dictionaries: bool = False
    """whether dictionaries may be trained, which takes long"""


@dataclass(frozen=True)
class Evidence:
    """All that was measured of a regime at one LayerNorm eps, on the CPU wherever it was measured."""

    regime: str
    eps: str
    arms: Mapping[str, Measured]
    covariates: np.ndarray
    """log-frequency and log-importance of every feature, float64 [model, feature, 2]"""

    def of(self, key: str) -> dict[str, Quantities]:
        """What was measured for the prediction of this key, by arm; arms that it did not ask are not there."""
        return {name: measured[key] for name, measured in self.arms.items() if key in measured}


def halves(samples: int) -> tuple[int, int]:
    """Where the second half begins, and where it ends; raises ``ValueError`` where there is too little for two."""
    edges = fold_edges(samples)
    if len(edges) != 5:
        raise ValueError(f"eval.samples: a verdict needs at least {4 * EDGE}, got {samples}")
    return edges[2], samples
