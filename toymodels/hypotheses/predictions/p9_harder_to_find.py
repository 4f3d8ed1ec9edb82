"""P9: hidden features (tier two) are harder to find than the same features in a GeLU model.

    statistic = mean over the hidden tier of how well a feature is found at ``post``, GeLU's minus SoLU + LN's

found by the best single neuron (R^2), and by unsupervised dictionaries of either kind, TopK and L1 (F1 of the matched
latent); features of the hidden tier of SoLU + LN, the same features and seeds in both. At ``post``, where LayerNorm has
made examples comparable (at ``mid`` its scale, which all features share, is no feature's, and hides them all); GeLU has
no LayerNorm here, and its ``post`` is its ``mid``. Above 0: harder in SoLU + LN; below, easier. All three must agree.
Margin .05. Dictionaries have as many latents as there are features and the true mean number
active at once; they are trained on the first half of the samples and scored on the second. Where they were not trained
the prediction is undetermined. A signed feature has two sides, to which a dictionary gives a latent each: so there are
as many latents as sides, and the F1 of a feature is the mean of its sides'. Readers of Elhage et al. 2022, *Softmax
Linear Units*, asked this; in a real network the truth is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from toymodels.hosts import Models
from toymodels.hypotheses.arms import LN_ONLY, MAIN, PLAIN
from toymodels.hypotheses.evidence import Evidence, Quantities, SplitSamples
from toymodels.hypotheses.numbers import Numbers, Statistics
from toymodels.hypotheses.prediction import OwnTable, Prediction
from toymodels.hypotheses.statistics.contrasts import mean_over
from toymodels.hypotheses.statistics.findings import Finding
from toymodels.hypotheses.tiers import AnalysisSetting, Tiers
from toymodels.metrics.dictionaries import activations, choose, fit, matching, score, top_k
from toymodels.metrics.recovery import best_neuron_r2
from toymodels.metrics.tiers import Tier
from toymodels.training.memory import is_out_of_memory

BEST_NEURON, TOP_K, L1 = "best neuron", "F1 of TopK", "F1 of L1"
KINDS = (BEST_NEURON, TOP_K, L1)
DICTIONARIES = tuple((tap, kind) for tap in ("mid", "post") for kind in (TOP_K, L1))
SCORES = ("mcc", "mcc_matched", "mcc_by_chance", "mmcs", "mmcs_absolute", "f1", "l0", "unexplained", "dead_latents")
"""What is said of a dictionary, as in `Scores`; ``f1`` is the mean over features, ``mcc_by_chance`` is that of random
directions."""
FITTED, HELD_OUT, SCORED = 20_480, 4096, 16_384
"""The most samples that dictionaries are fitted on, chosen on and scored on."""
ABREAST = 8
"""How many models' dictionaries train together on a CPU, each at every penalty: more take more memory, several times
the activations that they are fitted on, which are there once a penalty."""


class HarderToFind(Prediction):
    """The prediction that hidden features are hard to find from outside."""

    key = "P9"
    claim = "Tier two is harder to find than in GeLU"
    figure = "p9_harder_to_find"
    margin = 0.05
    decisive = KINDS
    compares = (Tier.HIDDEN,)
    arms = (MAIN, *LN_ONLY, PLAIN)
    columns: ClassVar = {"best_neuron_r2": BEST_NEURON, "f1_top_k": TOP_K, "f1_l1": L1}
    own_table = OwnTable("evidence_dictionaries", {"tap": str, "kind": str}, SCORES)

    def measure(self, arm: Models, samples: SplitSamples) -> Quantities:
        """How well the best neuron predicts each feature, on the second half of the samples; and of the two arms that
        are compared what `dictionaries` find, where these may be trained."""
        found = {BEST_NEURON: best_neuron_r2(samples.second_half, "post")}
        if samples.dictionaries and samples.arm in (MAIN, PLAIN):
            found |= dictionaries(arm, samples.middle, samples.last)
        return found

    def of_arm(self, measured: Quantities, tiers: Tiers) -> Mapping[str, Tensor]:
        """How well features of the hidden tier are found in one arm, [model], by every way that was tried."""
        return {kind: mean_over(measured[kind], tiers.hidden) for kind in KINDS if kind in measured}

    def numbers(self, evidence: Evidence, tiers: Sequence[Tiers]) -> Sequence[Numbers]:
        """The statistic of every seed, [seed, 1], by every way of finding a feature; it compares two arms."""
        return [self._numbers(evidence, each) for each in tiers]

    def _numbers(self, evidence: Evidence, tiers: Tiers) -> Numbers:
        found = {arm: self.of_arm(measured, tiers) for arm, measured in evidence.of(self.key).items()}
        both, lacking = (found.get(MAIN, {}), found.get(PLAIN, {})), "not measured" if PLAIN in found else f"no {PLAIN}"
        return {
            kind: (both[1][kind] - both[0][kind])[:, None] if all(kind in of for of in both) else lacking
            for kind in KINDS
        }

    def beyond(self, statistics: Statistics, setting: AnalysisSetting) -> dict[str, Finding]:
        """Nothing: SoLU + LN is compared with GeLU already."""
        del statistics, setting
        return {}

    def own_rows(self, measured: Quantities) -> dict[str, np.ndarray]:
        """A row a model x dictionary that was trained."""
        if "scores" not in measured:
            return {}
        scores = measured["scores"].numpy()
        place, dictionary = np.nonzero(~np.isnan(scores).all(2))
        taps, kinds = np.array([(tap, kind.removeprefix("F1 of ")) for tap, kind in DICTIONARIES], dtype=object).T
        of_scores = dict(zip(SCORES, scores[place, dictionary].T, strict=True))
        return {"place": place, "tap": taps[dictionary], "kind": kinds[dictionary], **of_scores}


def dictionaries(arm: Models, middle: int, last: int) -> Quantities:
    """What dictionaries of either kind find: by kind, the F1 of each feature at ``post`` [model, feature]; and as
    ``scores`` [model, dictionary, score] all `SCORES` of all `DICTIONARIES`, NaN at ``post`` without LayerNorm: it is
    ``mid``.

    On a CPU `ABREAST` models are trained together. Elsewhere all are, as a step is launched once for all; or half of
    them after the other half, and so on, where these have no room.
    """
    abreast = ABREAST if arm.parameters.W_in.device.type == "cpu" else len(arm)
    return _together([_within(arm[k : k + abreast], middle, last) for k in range(0, len(arm), abreast)])


def _within(arm: Models, middle: int, last: int) -> Quantities:
    """`_dictionaries`, in halves as often as it takes for them to have room."""
    try:
        return _dictionaries(arm, middle, last)
    except (RuntimeError, MemoryError) as error:
        if len(arm) == 1 or not is_out_of_memory(error):
            raise
    torch.cuda.empty_cache()
    half = (len(arm) + 1) // 2
    return _together([_within(part, middle, last) for part in (arm[:half], arm[half:])])


def _together(parts: list[Quantities]) -> Quantities:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _dictionaries(arm: Models, middle: int, last: int) -> Quantities:
    found = {}
    scores = torch.full((len(arm), len(DICTIONARIES), len(SCORES)), torch.nan)
    taps = ("mid", "post") if arm.experiments[0].bottleneck.layer_norm is not None else ("mid",)
    for tap in taps:
        for kind, scored in _scored(arm, tap, middle, last).items():
            scores[:, DICTIONARIES.index((tap, kind))] = torch.stack([scored[name] for name in SCORES], 1).float()
            if tap == taps[-1]:
                found[kind] = scored["f1 by feature"]
    return found | {"scores": scores}


def _scored(arm: Models, tap: str, middle: int, last: int) -> dict[str, Quantities]:
    """What `SCORES` say of dictionaries of both kinds, trained on ``tap`` of samples before ``middle``, and scored on
    those from there to ``last``."""
    e, seeds = arm.experiments[0], [each.seed for each in arm.experiments]
    held_out = min(HELD_OUT, middle // 4) // 4 * 4
    fitted = min(FITTED, middle - held_out)
    train, _ = activations(arm, tap, 0, fitted)
    choosing, _ = activations(arm, tap, middle - held_out, held_out)
    judged, active = activations(arm, tap, middle, min(SCORED, last - middle))
    truth = arm.directions(tap)
    signed, targets = e.features.signed, truth.shape[2]
    by_chance = matching(_random_like(truth, seeds), truth, signed=signed).cosine.mean(1)
    expected = torch.tensor([float(each.features.probabilities().sum()) for each in arm.experiments])
    trained = {
        TOP_K: fit(train, top_k(expected), targets, seeds),
        L1: choose(train, choosing, expected, targets, seeds).dictionary,
    }
    found = {}
    for kind, dictionary in trained.items():
        of = score(dictionary, judged, active, truth, signed=signed, draws=0)  # what chance gives is said once, below
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
