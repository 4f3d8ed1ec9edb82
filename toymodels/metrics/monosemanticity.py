"""Monosemanticity: does a neuron answer to one feature? The neuron's view of `alignment`.

Of the sizes s ``[model, hidden, feature]`` of the responses to each feature alone (`toymodels.responses`), at
``mid``. A neuron that answers to one side of a signed feature only is as monosemantic as one that answers to both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toymodels.metrics.recovery import UNMOVED


def dead_neurons(size: Tensor) -> Tensor:
    """Neurons that no single feature moves, on either side: sum_i s_ki <= 1e-6 of the model's largest. bool [model,
    hidden]."""
    total = size.sum(2)
    return ~(total > UNMOVED * total.amax(1, keepdim=True))


def monosemanticity(size: Tensor) -> Tensor:
    """max_i s_ki / sum_i s_ki: [model, hidden], in [1/n, 1]; NaN for a dead neuron (Jermyn et al. 2022)."""
    return torch.where(dead_neurons(size), torch.nan, size.amax(2) / size.sum(2))


def main_feature(size: Tensor) -> Tensor:
    """The feature that moves each neuron most: int64 [model, hidden]; -1 for a dead neuron."""
    return torch.where(dead_neurons(size), -1, size.argmax(2))
