"""Unshown: what a model does that an inspection of its neurons does not show.

A feature is *shown* if some neuron shows it: if it is what the neuron's strongest examples have in common
(`toymodels.metrics.inspection`). Of the others, the unshown ones:

    features     the unshown among the recovered (R^2 > .5) / the recovered
    achieved     sum over unshown i of A_i / sum over all i of A_i
                 A_i = I_i (min_c E loss(t_i, c) - E loss(t_i, y_i))
    ablated      (L(only neurons that show something) - L) / sum_i A_i
    refitted     the same with the read-outs of both fitted anew (`toymodels.surgery.refit`)

A_i is by how much the model betters the best constant on target i; below 0 where it is worse. In *ablated* every neuron
that shows nothing is held at its mean over the data (`toymodels.surgery.OnlyNeurons`): how much of what the model
achieves needs neurons that show nothing. The refitted share asks the same of the best read-out of what is left, so that
what the trained one needs the others for, such as to cancel interference, does not count. About 0 where neurons that
show nothing do nothing; 1 where they do all. The first two are about features, the last two about neurons; a feature
that a neuron shows may still be read off others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from toymodels.metrics.gauge import gauged
from toymodels.metrics.moments import Moments
from toymodels.metrics.recovery import RECOVERED, r2
from toymodels.objectives import constant_losses
from toymodels.surgery import Intervention, OnlyNeurons, refit
from toymodels.surgery.stretches import chunks
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import importances

if TYPE_CHECKING:
    from toymodels.hosts.host import Host
    from toymodels.hosts.models import Models

JUDGED_ON = 8192
"""samples of which means over the data and losses under ablation are taken, at most"""


@dataclass(frozen=True)
class Unshown:
    """The shares that an inspection does not show, float64 [model] each; see the module's equations."""

    features: Tensor
    """NaN where nothing is recovered"""
    achieved: Tensor
    """NaN where nothing is achieved, as are the next two"""
    ablated: Tensor
    refitted: Tensor


@undisturbed
def unshown(models: Models, shows: Tensor, moments: Moments) -> Unshown:
    """What models do that is not shown, ``shows`` bool [model, hidden, feature], ``moments`` those of their evaluation
    data. Raises ``ValueError`` where targets are not of features."""
    e = models.first
    if not models.of_features:
        raise ValueError(f"target '{e.target.name}' is not of features, which are what neurons show")
    shown, recovered = shows.any(1), r2(moments) > RECOVERED
    importance = importances(models.experiments)
    constant = [
        constant_losses(e.features, e.target, e.cost, row, e.seed)
        for e, row in zip(models.experiments, importance, strict=True)
    ]
    achieved = torch.from_numpy(importance) * (torch.from_numpy(np.stack(constant)) - moments.cost)
    whole = _positive(achieved.sum(1))
    samples = min(JUDGED_ON, moments.samples // 2)
    only = OnlyNeurons(shows.any(2), mean_activity(models, samples))
    # Fitted on some samples and judged on others, as a read-out is better than it is on its own.
    on = {"samples": samples, "first": samples // 4 * 4}
    own, left = refit(models, samples=samples), refit(models, only, samples=samples)
    added = loss_of(models, only, **on) - loss_of(models, **on)
    added_refitted = loss_of(left, only, **on) - loss_of(own, **on)
    return Unshown(
        features=(recovered & ~shown).sum(1) / _positive(recovered.sum(1).double()),
        achieved=torch.where(shown, 0.0, achieved).sum(1) / whole,
        ablated=added / whole,
        refitted=added_refitted / whole,
    )


def mean_activity(host: Host, samples: int) -> Tensor:
    """The mean of every neuron at mid, before a LayerNorm about the median over neurons: [model, hidden]."""
    total = torch.zeros(host.parameters.W_in.shape[:2], dtype=torch.float64)
    for examples in chunks(host, samples, 0):
        total += gauged(host.bottleneck, host.taps(examples.x).mid).double().sum(2)
    return total / samples


def loss_of(host: Host, *interventions: Intervention, samples: int, first: int) -> Tensor:
    """sum_i I_i E loss(t_i, y_i) under interventions, on the ``samples`` samples from ``first`` on: float64 [model]."""
    total = torch.zeros(len(host), dtype=torch.float64)
    for examples in chunks(host, samples, first):
        y = host.taps(examples.x, *interventions).out
        total += (host.cost(examples.t, y).sum(2).double() * host.importance).sum(1)
    return total / samples


def _positive(total: Tensor) -> Tensor:
    return torch.where(total > 0, total, torch.nan)
