"""Loss on fresh data with its standard error, and as a fraction of the best constant predictor's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toymodels.losses import Squared
from toymodels.metrics.moments import Moments
from toymodels.objectives import stated_variance
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, importances


@undisturbed
def loss(experiments: Sequence[Experiment], moments: Moments) -> Tensor:
    """L = sum_i I_i E loss(t_i, y_i): float64 [model]."""
    return (torch.from_numpy(importances(experiments)) * moments.cost).sum(1)


@undisturbed
def loss_error(experiments: Sequence[Experiment], moments: Moments) -> Tensor:
    """The standard error of `loss`, sqrt(Var(l) / samples), l the loss of a sample: float64 [model].

    NaN of a single sample. Of many equal models the best looks better than it is, by one or two of these.
    """
    variance = (moments.squared_loss - loss(experiments, moments).square()).clamp(min=0)
    return (variance / (moments.samples - 1)).sqrt() if moments.samples > 1 else torch.full_like(variance, torch.nan)


@undisturbed
def loss_fraction(experiments: Sequence[Experiment], moments: Moments) -> Tensor:
    """L / sum_i I_i min_c E loss(t_i, c): float64 [model]; NaN where nothing is important.

    The denominator is a closed form where there is one; of the squared loss of any other target it is the variance of
    the same samples, and so 1 - loss_fraction a weighted mean of the features' R^2.
    """
    first = experiments[0]
    if isinstance(first.loss, Squared) and stated_variance(first.features, first.target, first.seed) is None:
        constant = (torch.from_numpy(importances(experiments)) * moments.target_variance).sum(1)
    else:
        constant = torch.tensor([e.best_constant_loss() for e in experiments], dtype=torch.float64)
    return torch.where(constant > 0, loss(experiments, moments) / constant, torch.nan)
