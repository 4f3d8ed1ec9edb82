"""P2: hidden features (tier two) are suppressed at ``mid``, then rescaled by LayerNorm.

    r_i(tap) = E |tap(x) - tap(x without i)| over data in which feature i is active
    rho(tap) = mean of r_i(tap) over the hidden tier / mean over the neuron tier
    statistic = log(rho(post) / rho(mid)), minus each LN-only control's

of the same features. Above 0: LayerNorm brings the small tier closer to the large one, by more than it does where no
SoLU has pushed them apart. Margin log 1.25. Elhage et al. 2022, *Softmax Linear Units*, suspect this. A signed
feature is active with either sign, so the mean over data is over both of its sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from toymodels.bottleneck import directions, hidden_from, preactivation
from toymodels.hypotheses.arms import Arm
from toymodels.hypotheses.evidence import Evidence, Quantities, SplitSamples
from toymodels.hypotheses.prediction import Numbers, Prediction
from toymodels.hypotheses.statistics.contrasts import beyond_controls, mean_over
from toymodels.hypotheses.tiers import Tiers
from toymodels.metrics.tiers import Tier
from toymodels.training.experiment import sampler

EXAMPLES = 512
"""The most active examples of a feature that are used: the first of the stretch of samples."""


class Rescaled(Prediction):
    """The prediction that SoLU suppresses hidden features and LayerNorm brings them back."""

    key = "P2"
    claim = "Tier two is suppressed at mid, then rescaled"
    figure = "p2_rescaled"
    margin = math.log(1.25)
    decisive = ("log ratio",)
    compares = (Tier.HIDDEN, Tier.NEURON)
    columns: ClassVar = {"change_mid": "mid", "change_post": "post"}

    def measure(self, arm: Arm, samples: SplitSamples) -> Quantities:
        """The `changes` that taking a feature away makes, on the second half of the samples."""
        return changes(arm, samples.middle, samples.last)

    def numbers(self, evidence: Evidence, tiers: Tiers) -> Numbers:
        """The `statistic` of every seed and control."""
        return {"log ratio": statistic(evidence.of(self.key), tiers.neuron, tiers.hidden)}


def changes(arm: Arm, first: int, last: int) -> Quantities:
    """r_i at mid and post, on samples from ``first`` to ``last``: [model, feature]; NaN for a feature never active."""
    parts = [_changes(part, first, last) for part in arm.slices(last - first)]
    return {tap: torch.cat([part[tap] for part in parts]) for tap in parts[0]}


def _changes(arm: Arm, first: int, last: int) -> Quantities:
    e, parameters = arm.experiments[0], arm.parameters
    x = sampler(arm.experiments).evaluation(first, last - first).to(parameters.W_in.dtype)
    model, feature, sample = (x != 0).nonzero(as_tuple=True)
    counted = torch.bincount(model * x.shape[1] + feature, minlength=x.shape[0] * x.shape[1])
    rank = torch.arange(len(sample)) - (counted.cumsum(0) - counted).repeat_interleave(counted)
    model, feature, sample = model[rank < EXAMPLES], feature[rank < EXAMPLES], sample[rank < EXAMPLES]
    found = {"mid": torch.full(x.shape[:2], torch.nan), "post": torch.full(x.shape[:2], torch.nan)}
    for k in range(len(arm)):
        own, of = parameters[k : k + 1], model == k
        i, s = feature[of], sample[of]
        present = preactivation(own, x[k : k + 1])[:, :, s]
        absent = present - directions(own)[:, :, i] * x[k, i, s]
        with_i, without_i = (hidden_from(e.bottleneck, own, z) for z in (present, absent))
        counts = torch.zeros(x.shape[1]).index_add_(0, i, torch.ones(len(i)))
        for tap in found:
            change = torch.linalg.vector_norm((getattr(with_i, tap) - getattr(without_i, tap))[0], dim=0).float()
            found[tap][k] = torch.zeros(x.shape[1]).index_add_(0, i, change) / counts
    return found


def statistic(measured: Mapping[str, Quantities], neuron: Tensor, hidden: Tensor) -> Tensor:
    """The statistic of every seed, [model, control], for the tiers ``neuron`` and ``hidden``, bool [model, feature]."""

    def log_ratio(of: Quantities) -> Tensor:
        rho = {tap: mean_over(of[tap], hidden) / mean_over(of[tap], neuron) for tap in ("mid", "post")}
        return torch.log(rho["post"] / rho["mid"])

    return beyond_controls(measured, log_ratio)
