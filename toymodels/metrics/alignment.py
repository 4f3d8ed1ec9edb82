"""Alignment: does a feature sit in one neuron?

The hidden response to feature i alone is Delta_i = mid(e_i) - mid(0), with e_i at the feature's mean active value. It
is taken at ``mid``: after LayerNorm a perfect one-neuron feature would show 1/2, not 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from toymodels.activations import Activation
from toymodels.training.experiment import Experiment


def mean_active_values(experiments: Sequence[Experiment], like: Tensor) -> Tensor:
    """The value at which each model's features are switched on alone: [model, feature], E|x_i| given active."""
    return torch.from_numpy(np.stack([e.features.mean_active_value() for e in experiments])).to(like)


def responses(activation: Activation, W_in: Tensor, b_in: Tensor | None, values: Tensor) -> Tensor:
    """Delta ``[model, hidden, feature]``: act(W_i value + b_in) - act(b_in), a value a model or a feature."""
    bias = torch.zeros_like(W_in[:, :, :1]) if b_in is None else b_in[:, :, None]
    return activation(W_in * values.view(len(values), 1, -1) + bias, dim=1) - activation(bias, dim=1)


def weight_alignment(W_in: Tensor) -> Tensor:
    """max_k |W_ki| / |W_i|: [model, feature], in [1/sqrt(m), 1]; NaN for a zero vector."""
    largest = W_in.abs().amax(1)
    # Scaled first: tiny weights must not underflow. Not by `norms`: torch's norm over a middle axis takes ten times
    # as long, and the null asks for a thousand.
    return (W_in / largest[:, None, :]).square().sum(1).rsqrt()


def response_alignment(delta: Tensor) -> Tensor:
    """max_k |Delta_ki| / sum_k |Delta_ki|: [model, feature], in [1/m, 1]; 1 is one neuron; NaN where nothing responds.

    Jermyn, Schiefer, Hubinger 2022, with absolute values.
    """
    return delta.abs().amax(1) / delta.abs().sum(1)


def participation_ratio(delta: Tensor) -> Tensor:
    """(sum_k Delta_ki^2)^2 / sum_k Delta_ki^4: [model, feature], in [1, m], how many neurons respond.

    NaN where nothing responds. Scaled by the largest entry first, so that small responses do not underflow.
    """
    squares = (delta / delta.abs().amax(1, keepdim=True)).square()
    return squares.sum(1).square() / squares.square().sum(1)
