"""Selectivity: how much of all that a neuron does is of one feature, over the whole of the data.

Beside an inspection of strongest examples (`toymodels.metrics.inspection`), which says what a neuron does when it is
strong. At ``mid``, where activations are interpreted; before a LayerNorm about the mean or median over the neurons, as
`toymodels.metrics.gauge` has it.

    best R^2     max_i corr(mid_k, t_i)^2, the share of the neuron's variance that its best feature explains
    AUROC        max(A, 1 - A), A the chance that an example with that feature active is stronger than one without it
    elsewhere    sum of u where the main feature is inactive / sum of u,    u = |Delta_k(x)|, Delta = mid(x) - mid(0)

The main feature is the one that moves the neuron most when it is alone (P7, `toymodels.hypotheses.predictions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toymodels.metrics.auroc import AUROC_ON, areas
from toymodels.metrics.gauge import gauged, gauged_moments
from toymodels.metrics.moments import Moments
from toymodels.metrics.monosemanticity import main_feature, monosemanticity
from toymodels.metrics.recovery import neuron_r2
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host

SAMPLES = AUROC_ON
"""of which areas and shares of activity are taken, at most"""


@dataclass(frozen=True)
class Selectivity:
    """How selective each neuron is, float64 [model, hidden] each; NaN for a neuron that does not move."""

    best_r2: Tensor
    auroc: Tensor
    elsewhere: Tensor
    monosemanticity: Tensor
    """the share of one feature in the neuron's responses to each alone, `toymodels.metrics.monosemanticity`"""


@undisturbed
def selectivity(host: Host, moments: Moments) -> Selectivity:
    """How selective the neurons of a host's layers are, ``moments`` those of its first examples.

    Targets must be of features; areas and shares are of the first `SAMPLES` samples.
    """
    explained, best = neuron_r2(gauged_moments(host.bottleneck, moments), "mid").max(2)
    size, nothing = host.response_sizes(), host.rest().mid
    main = main_feature(size)
    auroc, elsewhere = torch.empty_like(explained), torch.empty_like(explained)
    for model in range(len(host)):
        one = host[model : model + 1]
        examples = one.examples(0, min(SAMPLES, moments.samples))
        mid, rest = one.taps(examples.x).mid, nothing[model : model + 1]
        active, a = examples.active[0], gauged(host.bottleneck, mid)[0]
        auroc[model] = torch.from_numpy(areas(a.numpy(), active[best[model]].numpy(), range(len(a))))
        u = gauged(host.bottleneck, mid - rest)[0].abs().double()
        elsewhere[model] = torch.where(active[main[model].clamp(min=0)], 0.0, u).sum(1) / u.sum(1)
    moves = main >= 0
    return Selectivity(
        *(torch.where(moves, each.double(), torch.nan) for each in (explained, auroc, elsewhere, monosemanticity(size)))
    )
