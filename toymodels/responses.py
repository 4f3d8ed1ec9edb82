"""Responses: how far each feature alone moves each hidden neuron.

    Delta_i(+-) = mid(+-v_i e_i) - mid(0),   v_i = E|x_i| given that feature i is active
    s_ki = |Delta_ki(+)|                             of unsigned features
    s_ki = (|Delta_ki(+)| + |Delta_ki(-)|) / 2       of signed ones

In models with LayerNorm each Delta_i is taken about its median over the neurons, because LayerNorm cannot see what is
added to all of them (`toymodels.metrics.gauge`).
Taken at ``mid``: after LayerNorm a perfect one-neuron feature would show 1/2, not 1. Features that take both signs are
switched on at both, because a neuron may answer to one of them only: the two neurons that make |x| of a feature do, and
seen from the positive side alone one of them would be dead. What is measured of responses (alignment, participation,
monosemanticity, dead neurons and their nulls) is measured of their sizes s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, directions, gain, mid_of
from toymodels.layer_norm import about_median
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment


@undisturbed
def mean_active_values(experiments: Sequence[Experiment], like: Tensor) -> Tensor:
    """The value at which each model's features are switched on alone: [model, feature], E|x_i| given active."""
    return torch.from_numpy(np.stack([e.features.mean_active_value() for e in experiments])).to(like)


def sides(*, signed: bool) -> tuple[float, ...]:
    """The signs that an active feature can have: +1, and -1 too if it is ``signed``."""
    return (1.0, -1.0) if signed else (1.0,)


def responses(bottleneck: Bottleneck, parameters: Parameters, values: Tensor) -> Tensor:
    """Delta ``[model, hidden, feature]`` on the side of the sign of ``values``, one a model [model] or one a
    feature [model, feature]: mid of that feature alone less mid of nothing, gauged. In a routed layer a feature alone
    moves the neurons of the expert it is sent to, and those of the one that nothing at all is sent to."""
    moves = directions(parameters)
    bias = torch.zeros_like(moves[:, :, :1]) if parameters.b_in is None else parameters.b_in[:, :, None]
    at = values.view(len(values), -1).expand(len(values), moves.shape[2])
    alone = mid_of(bottleneck, moves * at[:, None, :] + bias, gain(parameters, torch.diag_embed(at)))
    nothing = mid_of(bottleneck, bias, gain(parameters, torch.zeros_like(at)[:, :, None]))
    moved = alone - nothing
    return moved if bottleneck.layer_norm is None else about_median(moved)


def response_sizes(bottleneck: Bottleneck, parameters: Parameters, values: Tensor, *, signed: bool) -> Tensor:
    """s ``[model, hidden, feature]``, >= 0: the size of each response, of ``signed`` features the mean of both sides.

    ``values`` is the magnitude at which features are switched on, as from `mean_active_values`.
    """
    size = responses(bottleneck, parameters, values).abs()
    if signed:  # one side after the other: the null has a thousand models at a time
        size = size.add_(responses(bottleneck, parameters, -values).abs()).div_(2)
    return size
