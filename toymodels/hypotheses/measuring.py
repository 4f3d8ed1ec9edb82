"""Measuring: everything that the tiers and the predictions ask of the models of a regime, arm by arm."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from toymodels.hosts import Models
from toymodels.hypotheses import tiers
from toymodels.hypotheses.arms import MAIN, Regime, covariates
from toymodels.hypotheses.evidence import OF_ENGAGEMENT, OF_TIERS, Evidence, Measured, SplitSamples, halves
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.metrics.manipulation import affine_substitution
from toymodels.metrics.moments import collect, together
from toymodels.surroundings import undisturbed

SAMPLES = 50_000
WEIGHTS_AT_ONCE = 2**20
"""How many weights the models that are measured at once may have together."""


@undisturbed
def gather(
    regime: Regime,
    eps: str,
    samples: int = SAMPLES,
    *,
    dictionaries: bool = False,
    known: Mapping[str, Measured] | None = None,
    null_seed: int = 0,
) -> Evidence:
    """Measure every arm of a regime but those ``known``; with ``dictionaries``, train those that P9 asks for.

    ``null_seed`` is that of the rotations which the null of alignment is drawn from.
    """
    known = known or {}
    return Evidence(
        regime=regime.name,
        eps=eps,
        arms={
            name: known.get(name) or measure(name, arm, samples, dictionaries=dictionaries, null_seed=null_seed)
            for name, arm in regime.arms.items()
        },
        covariates=covariates(regime.arms[MAIN]),
    )


@undisturbed
def measure(name: str, arm: Models, samples: int, *, dictionaries: bool, null_seed: int = 0) -> Measured:
    """What the tiers and the predictions ask of the arm of this name: measured where its parameters are, and returned
    on the CPU."""
    halves(samples)
    e = arm.experiments[0]
    at_once = max(1, WEIGHTS_AT_ONCE // (e.features.n * max(e.bottleneck.hidden, e.features.n)))
    starts = range(0, len(arm), at_once)
    parts = [_measure(name, arm[start : start + at_once], samples, dictionaries, null_seed) for start in starts]
    return {
        key: {name: torch.cat([part[key][name].cpu() for part in parts]) for name in quantities}
        for key, quantities in parts[0].items()
    }


def _measure(name: str, arm: Models, samples: int, dictionaries: bool, null_seed: int) -> Measured:
    middle, last = halves(samples)
    moments = collect(arm, last)
    first_half, second_half = together(moments.folds[:2]), together(moments.folds[2:])
    on = SplitSamples(name, middle, last, first_half, second_half, dictionaries)
    found = {OF_TIERS: tiers.measure(arm, first_half, null_seed)}
    if name == MAIN:
        engagement = affine_substitution(arm, moments)
        found[OF_ENGAGEMENT] = {"affine substitution": engagement}
    return found | {p.key: p.measure(arm, on) for p in PREDICTIONS if name in p.arms}
