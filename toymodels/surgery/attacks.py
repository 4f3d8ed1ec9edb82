"""Attacks: a change of the input, no longer than a radius, that moves one output as far as can be found.

Projected gradient ascent on ``sign (y_i(x + d) - y_i(x))`` over the ball |d|_2 <= radius, for every target i and either
sign: d <- project(d + rate radius g / |g|), g the gradient, with rates that fall; from d = 0, and from radius M_i /
|M_i| with M = W_out W_in E, the best change were the layer linear, as a ReLU that is off has no gradient to follow.
What is found is a lower bound of what there is: all of it where the hidden layer is linear. See
`toymodels.metrics.vulnerability` for what is known exactly.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, directions, forward

STEPS = 8
RATES = (1.0, 0.1)
"""the first and the last step's length in radii; they fall geometrically"""


def found_by_ascent(
    bottleneck: Bottleneck, parameters: Parameters, x: Tensor, radius: float, *, steps: int = STEPS
) -> Tensor:
    """The largest |y_i(x + d) - y_i(x)| met, of x [model, feature, batch]: [model, target, batch].

    Every target is attacked by itself, all at once: memory is that of a forward pass on target times batch examples.
    """
    x = x.to(parameters.W_in)
    before = forward(bottleneck, parameters, x).out
    _, targets, batch = before.shape
    wide = x[:, :, None, :].expand(-1, -1, targets, -1)
    best = torch.zeros_like(before)
    rates = np.geomspace(*RATES, steps).tolist()

    def moved(change: Tensor) -> Tensor:
        attacked = (wide + change).flatten(2)
        out = forward(bottleneck, parameters, attacked).out.unflatten(2, (targets, batch))
        return out.diagonal(dim1=1, dim2=2).transpose(1, 2) - before

    rows = (parameters.decoder @ directions(parameters)).transpose(1, 2)[:, :, :, None]
    linear = (radius * _unit(rows)).expand_as(wide)
    for sign in (1.0, -1.0):
        for start in (torch.zeros_like(wide), sign * linear):
            change = start.clone()
            for rate in [*rates, 0.0]:
                change = change.detach().requires_grad_()
                with torch.enable_grad():
                    gain = sign * moved(change)
                    (gradient,) = torch.autograd.grad(gain.sum(), change)
                best = torch.maximum(best, gain.detach())
                change = _into_ball(change.detach() + rate * radius * _unit(gradient), radius)
    return best


def _unit(vectors: Tensor) -> Tensor:
    """Along the feature axis 1; 0 stays 0."""
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where(length > 0, vectors / torch.where(length > 0, length, 1.0), 0.0)


def _into_ball(change: Tensor, radius: float) -> Tensor:
    length = torch.linalg.vector_norm(change, dim=1, keepdim=True)
    return torch.where(length > radius, change * (radius / torch.where(length > 0, length, 1.0)), change)
