"""P9: tier-two features are harder to find than the same features in a GeLU model.

    statistic = mean over tier two of how well a feature is found at ``mid``, GeLU's minus SoLU + LN's

found by the best single neuron (R^2), and by unsupervised dictionaries of either kind, TopK and L1 (F1 of the matched
latent); features of tier two of SoLU + LN, the same features and seeds in both. Above 0: harder in SoLU + LN. All
three must agree. Margin .05. Dictionaries have as many latents as there are features and the true mean number active
at once; they are trained on the first half of the samples and scored on the second. Where they were not trained the
prediction is undetermined. Readers of Elhage et al. 2022, *Softmax Linear Units*, asked this; in a real network the
truth is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from toymodels.hypotheses.arms import MAIN, PLAIN, Arm
from toymodels.hypotheses.evidence import mean_over
from toymodels.metrics.dictionaries import choose, fit, top_k
from toymodels.metrics.dictionary_scores import activations, directions, score

MARGIN = 0.05
NEURON, TOP_K, L1 = "best neuron", "F1 of TopK", "F1 of L1"
KINDS = (NEURON, TOP_K, L1)
FITTED, HELD_OUT, SCORED = 20_480, 4096, 16_384
"""samples, at most"""
ABREAST = 8
"""models whose dictionaries train together, for memory: at every penalty each"""


def dictionary_f1(arm: Arm, middle: int, last: int) -> dict[str, Tensor]:
    """F1 of each feature in a dictionary of ``mid`` of either kind: [model, feature]."""
    parts = [_dictionary_f1(arm[k : k + ABREAST], middle, last) for k in range(0, len(arm), ABREAST)]
    return {kind: torch.cat([part[kind] for part in parts]) for kind in parts[0]}


def _dictionary_f1(arm: Arm, middle: int, last: int) -> dict[str, Tensor]:
    e, seeds = arm.experiments[0], [each.seed for each in arm.experiments]
    held_out = min(HELD_OUT, middle // 4) // 4 * 4
    fitted = min(FITTED, middle - held_out)
    train, _ = activations(arm.experiments, arm.parameters, "mid", 0, fitted)
    choosing, _ = activations(arm.experiments, arm.parameters, "mid", middle - held_out, held_out)
    judged, active = activations(arm.experiments, arm.parameters, "mid", middle, min(SCORED, last - middle))
    truth = directions(arm.experiments, arm.parameters, "mid")
    expected = torch.tensor([float(each.features.probabilities().sum()) for each in arm.experiments])
    found = {
        TOP_K: fit(train, top_k(expected), e.features.n, seeds),
        L1: choose(train, choosing, expected, e.features.n, seeds).dictionary,
    }
    return {kind: score(dictionary, judged, active, truth).f1 for kind, dictionary in found.items()}


def statistic(measured: Mapping[str, dict[str, Tensor]], kind: str, two: Tensor) -> Tensor | None:
    """The statistic of every seed, [model]; None where one of the two arms lacks the measure."""
    if any(kind not in measured.get(arm, {}) for arm in (MAIN, PLAIN)):
        return None
    return mean_over(measured[PLAIN][kind], two) - mean_over(measured[MAIN][kind], two)
