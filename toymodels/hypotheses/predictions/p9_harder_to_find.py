"""P9: tier-two features are harder to find than the same features in a GeLU model.

    statistic = mean over tier two of how well a feature is found at ``mid``, GeLU's minus SoLU + LN's

found by the best single neuron (R^2), and by unsupervised dictionaries of either kind, TopK and L1 (F1 of the matched
latent); features of tier two of SoLU + LN, the same features and seeds in both. Above 0: harder in SoLU + LN. All
three must agree. Margin .05. Dictionaries have as many latents as there are features and the true mean number active
at once; they are trained on the first half of the samples and scored on the second. Where they were not trained the
prediction is undetermined. A signed feature has two sides, to which a dictionary gives a latent each: so there are as
many latents as sides, and the F1 of a feature is the mean of its sides'. Readers of Elhage et al. 2022, *Softmax Linear
Units*, asked this; in a real network the truth is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from toymodels.hypotheses.arms import MAIN, PLAIN, Arm
from toymodels.hypotheses.evidence import mean_over
from toymodels.metrics.dictionaries import activations, choose, directions, fit, matching, score, top_k

MARGIN = 0.05
NEURON, TOP_K, L1 = "best neuron", "F1 of TopK", "F1 of L1"
KINDS = (NEURON, TOP_K, L1)
DICTIONARIES = tuple((tap, kind) for tap in ("mid", "post") for kind in (TOP_K, L1))
SCORES = ("mcc", "mcc_matched", "mcc_by_chance", "mmcs", "mmcs_absolute", "f1", "l0", "unexplained", "dead_latents")
"""as in `Scores`; ``f1`` the mean over features, ``mcc_by_chance`` that of random directions"""
FITTED, HELD_OUT, SCORED = 20_480, 4096, 16_384
"""samples, at most"""
ABREAST = 8
"""models whose dictionaries train together, for memory: at every penalty each"""


def dictionaries(arm: Arm, middle: int, last: int) -> dict[str, Tensor]:
    """What dictionaries of either kind find: by kind, the F1 of each feature at ``mid`` [model, feature]; and as
    ``scores`` [model, dictionary, score] all `SCORES` of all `DICTIONARIES`, NaN at ``post`` without LayerNorm: it is
    ``mid``."""
    parts = [_dictionaries(arm[k : k + ABREAST], middle, last) for k in range(0, len(arm), ABREAST)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _dictionaries(arm: Arm, middle: int, last: int) -> dict[str, Tensor]:
    found = {}
    scores = torch.full((len(arm), len(DICTIONARIES), len(SCORES)), torch.nan)
    for tap in ("mid", "post") if arm.experiments[0].bottleneck.layer_norm is not None else ("mid",):
        for kind, scored in _scored(arm, tap, middle, last).items():
            scores[:, DICTIONARIES.index((tap, kind))] = torch.stack([scored[name] for name in SCORES], 1).float()
            if tap == "mid":
                found[kind] = scored["f1 by feature"]
    return found | {"scores": scores}


def _scored(arm: Arm, tap: str, middle: int, last: int) -> dict[str, dict[str, Tensor]]:
    """Both kinds, trained on ``tap`` of samples before ``middle``, scored on those from there to ``last``."""
    e, seeds = arm.experiments[0], [each.seed for each in arm.experiments]
    held_out = min(HELD_OUT, middle // 4) // 4 * 4
    fitted = min(FITTED, middle - held_out)
    train, _ = activations(arm.experiments, arm.parameters, tap, 0, fitted)
    choosing, _ = activations(arm.experiments, arm.parameters, tap, middle - held_out, held_out)
    judged, active = activations(arm.experiments, arm.parameters, tap, middle, min(SCORED, last - middle))
    truth = directions(arm.experiments, arm.parameters, tap)
    signed, targets = e.features.signed, truth.shape[2]
    by_chance = matching(_random_like(truth, seeds), truth, signed=signed).cosine.mean(1)
    expected = torch.tensor([float(each.features.probabilities().sum()) for each in arm.experiments])
    trained = {
        TOP_K: fit(train, top_k(expected), targets, seeds),
        L1: choose(train, choosing, expected, targets, seeds).dictionary,
    }
    found = {}
    for kind, dictionary in trained.items():
        of = score(dictionary, judged, active, truth, signed=signed)
        found[kind] = {name: getattr(of, name) for name in SCORES if hasattr(of, name)} | {
            "f1": of.f1.nanmean(1),
            "f1 by feature": of.f1.unflatten(1, (-1, e.features.n)).nanmean(1),  # over sides
            "mcc_by_chance": by_chance,
        }
    return found


def _random_like(directions: Tensor, seeds: Sequence[int]) -> Tensor:
    """A dictionary of as many random directions, [model, hidden, feature]."""
    drawn = [
        np.random.default_rng([seed, *directions.shape[1:]]).standard_normal(directions.shape[1:]) for seed in seeds
    ]
    return torch.from_numpy(np.stack(drawn))


def statistic(measured: Mapping[str, dict[str, Tensor]], kind: str, two: Tensor) -> Tensor | None:
    """The statistic of every seed, [model]; None where one of the two arms lacks the measure."""
    if any(kind not in measured.get(arm, {}) for arm in (MAIN, PLAIN)):
        return None
    return mean_over(measured[PLAIN][kind], two) - mean_over(measured[MAIN][kind], two)
