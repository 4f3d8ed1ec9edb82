"""Loss on fresh data, and as a fraction of the best constant predictor's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toymodels.metrics.moments import Moments
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment


@undisturbed
def loss(experiments: Sequence[Experiment], moments: Moments) -> Tensor:
    """L = sum_i I_i E (t_i - y_i)^2: float64 [model]."""
    importance = torch.stack([torch.from_numpy(e.importance()) for e in experiments])
    return (importance * moments.squared_error).sum(1)


@undisturbed
def loss_fraction(experiments: Sequence[Experiment], moments: Moments) -> Tensor:
    """L / sum_i I_i Var(t_i), the variance in closed form: float64 [model]; NaN where nothing is important."""
    constant = torch.tensor([e.best_constant_loss() for e in experiments], dtype=torch.float64)
    return torch.where(constant > 0, loss(experiments, moments) / constant, torch.nan)
