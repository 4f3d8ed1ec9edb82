"""P2: hidden features (tier two) are suppressed at ``mid``, then rescaled by LayerNorm.

    r_i(tap) = E |tap(x) - tap(x without i)| over data in which feature i is active
    rho(tap) = mean of r_i(tap) over the hidden tier / mean over the neuron tier
    suppressed = -log rho(mid),    rescaled = log(rho(post) / rho(mid))

Where a LayerNorm follows, the change at ``mid`` is taken about its mean over neurons, which LayerNorm subtracts: what
all neurons do alike changes nothing downstream (and the mean, among all that could be taken off, leaves the shortest
change). Suppressed above 0: SoLU lets hidden features move the layer less than the others. Rescaled above 0: LayerNorm
brings them closer to the others again. Both decide, each with the margin log 1.25. Either may come out below 0: hidden
features that move the layer more, or a LayerNorm that sets the tiers further apart.

Elhage et al. 2022, *Softmax Linear Units*, suspect this. A signed feature is active with either sign, so the mean over
data is over both of its sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from toymodels.bottleneck import hidden_from, preactivation
from toymodels.hosts import Host
from toymodels.hypotheses.evidence import Quantities, SplitSamples
from toymodels.hypotheses.prediction import Prediction
from toymodels.hypotheses.statistics.contrasts import defined, mean_over
from toymodels.hypotheses.tiers import Tiers
from toymodels.layer_norm import centred
from toymodels.metrics.tiers import Tier

EXAMPLES = 512
"""The most active examples of a feature that are used: the first of the stretch of samples."""
SUPPRESSED, RESCALED = "suppressed", "rescaled"


class Rescaled(Prediction):
    """The prediction that SoLU suppresses hidden features and LayerNorm brings them back."""

    key = "P2"
    claim = "Tier two is suppressed at mid, then rescaled"
    figure = "p2_rescaled"
    margin = math.log(1.25)
    decisive = (SUPPRESSED, RESCALED)
    compares = (Tier.HIDDEN, Tier.NEURON)
    columns: ClassVar = {"change_mid": "mid", "change_post": "post"}

    def measure(self, arm: Host, samples: SplitSamples) -> Quantities:
        """The `changes` that taking a feature away makes, on the second half of the samples."""
        return changes(arm, samples.middle, samples.last)

    def of_arm(self, measured: Quantities, tiers: Tiers) -> Mapping[str, Tensor]:
        """How far hidden features are suppressed at mid, and rescaled from mid to post: [model] each."""
        mid, post = (
            torch.log(mean_over(measured[tap], tiers.hidden) / mean_over(measured[tap], tiers.neuron))
            for tap in ("mid", "post")
        )
        return {SUPPRESSED: defined(-mid), RESCALED: defined(post - mid)}


def changes(host: Host, first: int, last: int) -> Quantities:
    """r_i at mid and post, on samples from ``first`` to ``last``: [model, feature], on the CPU; NaN for a feature never
    active."""
    parts = [_changes(part, first, last) for part in host.slices(last - first)]
    return {tap: torch.cat([part[tap] for part in parts]) for tap in parts[0]}


def _changes(host: Host, first: int, last: int) -> Quantities:
    active = host.examples(first, last - first).active
    features, device = active.shape[1], active.device
    model, feature, sample = active.nonzero(as_tuple=True)
    counted = torch.bincount(model * features + feature, minlength=len(host) * features)
    rank = torch.arange(len(sample), device=device) - (counted.cumsum(0) - counted).repeat_interleave(counted)
    model, feature, sample = model[rank < EXAMPLES], feature[rank < EXAMPLES], sample[rank < EXAMPLES]
    found = {tap: torch.full(active.shape[:2], torch.nan) for tap in ("mid", "post")}
    for k in range(len(host)):
        own, of = host[k : k + 1], model == k
        i, s = feature[of], sample[of]
        examples = own.examples(first, last - first)
        pre = preactivation(own.parameters, examples.x)
        each = pre[:, :, s], own.without(examples, pre, i, s)
        with_i, without_i = (hidden_from(own.bottleneck, own.parameters, z) for z in each)
        moved = {"mid": with_i.mid - without_i.mid, "post": with_i.post - without_i.post}
        if own.bottleneck.layer_norm is not None:
            moved["mid"] = centred(moved["mid"])
        # Added up on the CPU, one after the other: a GPU would do it in another order every time.
        i = i.cpu()
        counts = torch.bincount(i, minlength=features)
        for tap in found:
            change = torch.linalg.vector_norm(moved[tap][0], dim=0).float().cpu()
            found[tap][k] = torch.zeros(features).index_add(0, i, change) / counts
    return found
