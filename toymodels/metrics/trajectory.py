"""Trajectory: the dimensionality of every feature, and the loss, of one model on its way, from the weights kept.

Every snapshot is evaluated on the same fresh samples: the loss of one against the next is then hardly noisy, where the
loss of training, of another batch each step, would hide small drops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from toymodels.bottleneck import Parameters, forward
from toymodels.metrics.gauge import gauged_directions
from toymodels.metrics.geometry import dimensionality
from toymodels.objectives import losses
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, sampler, target_of

NUMBERS_AT_ONCE = 2**22
"""outputs of a forward pass"""


@dataclass(frozen=True)
class Trajectory:
    """One model over training."""

    step: np.ndarray
    """[snapshot], counted from 1"""
    dimensionality: np.ndarray
    """D_i, float64 [feature, snapshot]"""
    loss_fraction: np.ndarray
    """the loss on fresh samples over that of the best constant, float64 [snapshot]"""


@undisturbed
def trajectory(e: Experiment, step: np.ndarray, snapshots: Parameters, samples: int) -> Trajectory:
    """The trajectory of a model like ``e`` whose weights were ``snapshots`` [snapshot, ...] after these steps."""
    x = sampler([e]).evaluation(0, samples)
    target = target_of([e])(x)
    importance = torch.from_numpy(e.importance()).float()[None]
    at_once = max(1, NUMBERS_AT_ONCE // (samples * e.sizes.most))
    found = []
    for first in range(0, len(step), at_once):
        part = snapshots[slice(first, first + at_once)]
        out = forward(e.bottleneck, part, x.expand(len(part.W_in), -1, -1)).out
        found.append(losses(importance, target, out, e.cost).double())
    D = dimensionality(gauged_directions(e.bottleneck, snapshots).double())
    return Trajectory(np.asarray(step), D.T.numpy(), torch.cat(found).numpy() / e.best_constant_loss())
