"""Monosemanticity: does a neuron answer to one feature? The neuron's view of `alignment`, at ``mid``."""

from __future__ import annotations

import torch
from torch import Tensor

from toymodels.metrics.recovery import UNMOVED


def dead_neurons(delta: Tensor) -> Tensor:
    """Neurons that no single feature moves: sum_i |Delta_ki| <= 1e-6 of the model's largest. bool [model, hidden]."""
    total = delta.abs().sum(2)
    return ~(total > UNMOVED * total.amax(1, keepdim=True))


def monosemanticity(delta: Tensor) -> Tensor:
    """max_i |Delta_ki| / sum_i |Delta_ki|: [model, hidden], in [1/n, 1]; NaN for a dead neuron (Jermyn et al. 2022)."""
    size = delta.abs()
    return torch.where(dead_neurons(delta), torch.nan, size.amax(2) / size.sum(2))


def main_feature(delta: Tensor) -> Tensor:
    """The feature that moves each neuron most: int64 [model, hidden]; -1 for a dead neuron."""
    return torch.where(dead_neurons(delta), -1, delta.abs().argmax(2))
