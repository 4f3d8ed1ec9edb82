"""Measuring: everything the predictions ask of the models of a regime, arm by arm, before any tier is named.

The evaluation samples are cut in two. The first half says which features are recovered, and what LayerNorm's scale is
held at; the statistics are of the second. So no feature is picked and judged by the same data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toymodels.hypotheses.arms import LN_ONLY, MAIN, PLAIN, Arm, Regime
from toymodels.hypotheses.predictions import (
    p1_bimodal,
    p2_rescaled,
    p3_gated,
    p4_needs_norm,
    p6_common_or_important,
    p7_weak_activity,
    p9_harder_to_find,
)
from toymodels.metrics.moments import EDGE, collect, fold_edges, together
from toymodels.metrics.recovery import best_neuron_r2, r2
from toymodels.surroundings import undisturbed

SAMPLES = 50_000
AT_ONCE = 2**20
"""weights of the models measured at once"""

Measured = dict[str, dict[str, Tensor]]
"""What was measured of one arm: by prediction, then by quantity, the model axis first."""


@dataclass(frozen=True)
class Evidence:
    """A regime, measured at one LayerNorm eps."""

    regime: str
    eps: str
    arms: Mapping[str, Measured]
    covariates: np.ndarray
    """what P6 explains tiers by, [model, feature, 2]"""

    @property
    def with_norm(self) -> dict[str, Measured]:
        """SoLU + LN and its LN-only controls."""
        return {name: measured for name, measured in self.arms.items() if name == MAIN or name in LN_ONLY}


def halves(samples: int) -> tuple[int, int]:
    """Where the second half begins, and where it ends; raises ``ValueError`` where there is too little for two."""
    edges = fold_edges(samples)
    if len(edges) != 5:
        raise ValueError(f"eval.samples: a verdict needs at least {4 * EDGE}, got {samples}")
    return edges[2], samples


@undisturbed
def gather(
    regime: Regime,
    eps: str,
    samples: int = SAMPLES,
    dictionaries: bool = False,
    known: Mapping[str, Measured] | None = None,
) -> Evidence:
    """Measure every arm of a regime but those ``known``; with ``dictionaries``, train those that P9 asks for."""
    known = known or {}
    return Evidence(
        regime=regime.name,
        eps=eps,
        arms={name: known.get(name) or measure(name, arm, samples, dictionaries) for name, arm in regime.arms.items()},
        covariates=p6_common_or_important.covariates(regime.arms[MAIN]),
    )


@undisturbed
def measure(name: str, arm: Arm, samples: int, dictionaries: bool) -> Measured:
    """One arm, what the predictions ask of the arm of this name."""
    middle, last = halves(samples)
    e = arm.experiments[0]
    at_once = max(1, AT_ONCE // (e.features.n * max(e.bottleneck.hidden, e.features.n)))
    parts = [
        _measure(name, arm[start : start + at_once], middle, last, dictionaries)
        for start in range(0, len(arm), at_once)
    ]
    return {
        prediction: {name: torch.cat([part[prediction][name] for part in parts]) for name in quantities}
        for prediction, quantities in parts[0].items()
    }


def _measure(name: str, arm: Arm, middle: int, last: int, dictionaries: bool) -> Measured:
    moments = collect(arm.experiments, arm.parameters, last)
    first_half, second_half = together(moments.folds[:2]), together(moments.folds[2:])
    found: Measured = {"p9": {p9_harder_to_find.NEURON: best_neuron_r2(second_half, "mid")}}
    if dictionaries and name in (MAIN, PLAIN):
        of_dictionaries = p9_harder_to_find.dictionaries(arm, middle, last)
        found["dictionaries"] = {"scores": of_dictionaries.pop("scores")}
        found["p9"] |= of_dictionaries
    if name == PLAIN:
        return found
    return found | {
        "recovery": {"r2": r2(first_half), "active": first_half.active},
        "p1": p1_bimodal.measure(arm),
        "p2": p2_rescaled.measure(arm, middle, last),
        "p3": p3_gated.measure(arm),
        "p4": p4_needs_norm.measure(arm, second_half, middle, last),
        "p7": p7_weak_activity.measure(arm, middle, last),
    }
