"""Contributors: how many neurons take part in saying what a model says of an example.

    c_k = |mid_k| |W_out[:, k]|,    effective = (sum_k c_k)^2 / sum_k c_k^2

the participation ratio of what neurons add to the read-out, by length: 1 where one neuron says all, m where all m say
as much. It does not change where a neuron's incoming weights are halved and its outgoing doubled, nor with their order.
Before a LayerNorm the size of mid means nothing: models that have one are refused.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, hidden


def effective_contributors(bottleneck: Bottleneck, parameters: Parameters, x: Tensor) -> Tensor:
    """The mean over examples that are not empty, of x [model, feature, batch]: [model]; NaN where there are none.

    An example of which no neuron says anything counts 0. Raises ``ValueError`` for a model with LayerNorm.
    """
    if bottleneck.layer_norm is not None:
        raise ValueError("effective_contributors: expected a model without LayerNorm, which undoes the size of mid")
    x = x.to(parameters.W_in)
    lengths = torch.linalg.vector_norm(parameters.decoder, dim=1)
    said = hidden(bottleneck, parameters, x).mid.abs() * lengths[:, :, None]
    squares = said.square().sum(1)
    effective = torch.where(squares > 0, said.sum(1).square() / torch.where(squares > 0, squares, 1.0), 0.0)
    counted = (x != 0).any(1)
    count = counted.sum(1)
    return torch.where(counted, effective, 0.0).sum(1) / torch.where(count > 0, count, torch.nan)
