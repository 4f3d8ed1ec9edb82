"""Loss on fresh data with its standard error, and as a fraction of the best constant predictor's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toymodels.metrics.moments import Moments
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host


@undisturbed
def loss(host: Host, moments: Moments) -> Tensor:
    """L = sum_i I_i E loss(t_i, y_i): float64 [model]."""
    return (host.importance * moments.cost).sum(1)


@undisturbed
def loss_error(host: Host, moments: Moments) -> Tensor:
    """The standard error of `loss`, sqrt(Var(l) / samples), l the loss of a sample: float64 [model].

    NaN of a single sample. Of many equal models the best looks better than it is, by one or two of these.
    """
    variance = (moments.squared_loss - loss(host, moments).square()).clamp(min=0)
    return (variance / (moments.samples - 1)).sqrt() if moments.samples > 1 else torch.full_like(variance, torch.nan)


@undisturbed
def loss_fraction(host: Host, moments: Moments) -> Tensor:
    """L / sum_i I_i min_c E loss(t_i, c): float64 [model]; NaN where nothing is important.

    The denominator is a closed form where there is one; of the squared loss of any other target it is the variance of
    the same samples, and so 1 - loss_fraction a weighted mean of the features' R^2.
    """
    constant = host.stated_constant_loss()
    if constant is None:
        constant = (host.importance * moments.target_variance).sum(1)
    return torch.where(constant > 0, loss(host, moments) / constant, torch.nan)
