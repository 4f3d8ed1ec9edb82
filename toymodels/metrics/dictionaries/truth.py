"""The truth that dictionaries are held against: activations, which features are active in them, and their directions.

The true direction of feature i at a tap is Delta_i = tap(e_i) - tap(0), with e_i at the feature's mean active value.

A latent is never negative, so to a dictionary a signed feature is two: the directions of e_i and of -e_i, active where
x_i > 0 and where x_i < 0. The n positive sides stand first, then the n negative ones, and each counts as a feature. The
two may be opposite, and a latent that points along one is no detector of the other: there (``signed``) max(0, cos)
takes the place of |cos|.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters, forward
from toymodels.metrics.responses import mean_active_values, sides
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, sampler


@undisturbed
def activations(
    experiments: Sequence[Experiment], parameters: Parameters, tap: str, first: int, samples: int
) -> tuple[Tensor, Tensor]:
    """What a dictionary is trained and scored on: ``tap`` one of `moment_table.TAPS`, ``first`` a multiple of 4.

    Returns the tap ``[model, hidden, sample]`` on evaluation samples of each model's own stream, and which features are
    active in them, bool ``[model, feature, sample]``: x_i != 0, of signed features x_i > 0 and then x_i < 0, ``[model,
    2 x feature, sample]``.
    """
    x = sampler(experiments).evaluation(first, samples)
    active = torch.cat([x > 0, x < 0], 1) if experiments[0].features.signed else x != 0
    return _at(experiments, parameters, tap, x), active


@undisturbed
def directions(experiments: Sequence[Experiment], parameters: Parameters, tap: str) -> Tensor:
    """Delta_i at ``tap``, ``[model, hidden, feature]``: the response to feature i alone; see the module's equation. Of
    signed features ``[model, hidden, 2 x feature]``, the positive sides first."""
    features = experiments[0].features
    each = [sign * torch.eye(features.n) for sign in sides(signed=features.signed)]
    alone = torch.cat([*each, torch.zeros(features.n, 1)], 1)  # the last column is x = 0
    x = alone * mean_active_values(experiments, alone)[:, :, None]
    response = _at(experiments, parameters, tap, x)
    return response[:, :, :-1] - response[:, :, -1:]


def _at(experiments: Sequence[Experiment], parameters: Parameters, tap: str, x: Tensor) -> Tensor:
    return getattr(forward(experiments[0].bottleneck, parameters, x.to(parameters.W_in)), tap)
