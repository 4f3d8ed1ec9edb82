"""Replaced: a trained layer run with the mask of another activation, GeLU's Phi(z) by ReLU's 1[z > 0] above all.

    added      F(W_out, act') - F(W_out, act)              loss fractions F, the read-out as trained
    refitted   F(W_out'*, act') - F(W_out*, act)           each with the best read-out of its own layer
    kept       1 - sum_k E (a'_k - a_k)^2 / sum_k Var a_k  share of the variance of ``mid``

Where a LayerNorm follows, a is taken about its mean over neurons, as the rest is lost on it. Read-outs are fitted on
other samples than they are judged by.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.activations import Activation
from toymodels.hosts import Models
from toymodels.layer_norm import centred
from toymodels.metrics.loss import loss_fraction
from toymodels.metrics.moments import collect
from toymodels.surgery import refit


@dataclass(frozen=True)
class Replacement:
    """What it costs a model to run with another activation, float64 [model] each, on the CPU: see the module."""

    added: Tensor
    refitted: Tensor
    kept: Tensor


def replaced(models: Models, by: Activation, samples: int = 8192) -> Replacement:
    """The cost of ``by`` in the place of the activation: fitted on the first ``samples``, judged by as many others."""
    changed = models.changed(models.parameters, lambda b: dataclasses.replace(b, activation=by))

    def fraction(of: Models) -> Tensor:
        return loss_fraction(of, collect(of, samples, samples, folds=1))

    own, other = refit(models, samples=samples), refit(changed, samples=samples)
    return Replacement(
        fraction(changed) - fraction(models), fraction(other) - fraction(own), _kept(models, changed, samples)
    )


def _kept(before: Models, after: Models, samples: int) -> Tensor:
    x = before.examples(samples, samples).x
    own, other = (each.taps(x).mid.double() for each in (before, after))
    if before.bottleneck.layer_norm is not None:
        own, other = centred(own), centred(other)
    variance = own.var(2, correction=0).sum(1)
    return torch.where(variance > 0, 1 - (other - own).square().mean(2).sum(1) / variance, torch.nan).cpu()
