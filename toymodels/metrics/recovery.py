"""Recovery: how much of a feature can be read, from the model's output or from one neuron.

On fresh data, R^2_i = 1 - E (t_i - prediction)^2 / Var(t_i), the variance of the same samples. Fewer than `ENOUGH`
active examples make an R^2 unreliable: they are marked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toymodels.metrics.moments import Moments

ENOUGH = 200
RECOVERED = 0.5
UNMOVED = 1e-6
"""Share of a reference at or below which an output, or a neuron, counts as dead."""


def r2(moments: Moments) -> Tensor:
    """R^2 of the model's output: float64 [model, target], at most 1; NaN for a feature never seen."""
    variance = moments.target_variance
    return torch.where(variance > 0, 1 - moments.squared_error / variance, torch.nan)


def best_neuron_r2(moments: Moments, tap: str) -> Tensor:
    """R^2 of the best affine read-out of one neuron at ``tap``: max_k corr(t_i, tap_k)^2, float64 [model, target].

    0 where no neuron moves, NaN for a feature never seen.
    """
    return torch.where(moments.target_variance > 0, neuron_r2(moments, tap).amax(1), torch.nan)


def best_neuron(moments: Moments, tap: str) -> Tensor:
    """The neuron of `best_neuron_r2`: int64 [model, target], the first of equals; -1 where none says anything."""
    largest, neuron = neuron_r2(moments, tap).max(1)
    return torch.where(largest > 0, neuron, -1)


def neuron_r2(moments: Moments, tap: str) -> Tensor:
    """corr(t_i, tap_k)^2, the R^2 of either in terms of the other, 0 where one of them does not vary: float64 [model,
    hidden, target]."""
    covariance = moments.tap_target[tap] - moments.tap[tap][:, :, None] * moments.t[:, None, :]
    product = moments.tap_variance(tap)[:, :, None] * moments.target_variance[:, None, :]
    return torch.where(product > 0, covariance.square() / product, 0.0).clamp(max=1)


def dead_features(moments: Moments) -> Tensor:
    """Features whose output does not move on fresh data: Var(y_i) <= 1e-6 Var(t_i). bool [model, target].

    A ReLU output that is never positive has no gradient and stays dead: such features are counted, not averaged away.
    """
    variance = (moments.yy - moments.y.square()).clamp(min=0)
    return (variance <= UNMOVED * moments.target_variance) & (moments.target_variance > 0)
