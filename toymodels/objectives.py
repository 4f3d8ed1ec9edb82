"""Objectives: what a model must say, and what an error costs.

    L = E sum_i I_i loss(t_i, y_i),    loss fraction = L / sum_i I_i min_c E loss(t_i, c)

The denominator is the loss of the best constant predictor, so losses at different densities can be compared: 1 is
"learned nothing", 0 is perfect. Of the squared loss it is sum_i I_i Var(t_i), of a cross-entropy that of the entropies.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from toymodels.activations import Activation
from toymodels.bottleneck import Parameters
from toymodels.data import Inputs
from toymodels.features import Features
from toymodels.losses import Loss
from toymodels.roles import Absent
from toymodels.surroundings import undisturbed
from toymodels.targets import Distribution, Target, typical


def check_objective(target: Target, loss: Loss, features: Inputs, output: Activation, seed: int) -> None:
    """Raise ``ValueError`` where target, loss, features and output together have no meaning; nothing is known of an
    `Absent` one."""
    if isinstance(target, Absent) or (isinstance(features, Features) and isinstance(features.values, Absent)):
        return
    target.check(features, output)
    if isinstance(features, Features):
        _check_variance(features, target, seed)
    loss.over(features).check(features, target, output)


def _check_variance(features: Features, target: Target, seed: int) -> None:
    """Raise ``ValueError`` where it is stated that there is nothing to learn."""
    mean, variance = target.stated(features, seed)
    if variance is None:
        return
    if target.of_features:
        if not (variance > 1e-9 * features.probabilities() * features.values.second_moment).all():
            raise ValueError(
                "a feature that is always active with one value has no variance to learn: lower its density"
            )
    elif not variance.any():
        if mean is None or mean.any():
            raise ValueError(f"target '{target.name}' never varies, so there is nothing to learn: lower the density")
        raise ValueError(f"target '{target.name}' is 0 always: the members of no pair are ever active together")


def stated_variance(features: Inputs, target: Target, seed: int) -> np.ndarray | None:
    """Var(t_i) of features where the target states it; None where it is measured, as it is of all data of one's own."""
    return target.stated(features, seed)[1] if isinstance(features, Features) else None


def losses(importance: Tensor, target: Tensor, output: Tensor, loss: Loss) -> Tensor:
    """Mean over the batch of sum_i I_i loss(t_i, y_i): ``[model]``.

    ``importance`` is ``[model, target]``, target and output are ``[model, target, batch]``.
    """
    return (loss(target, output).mean(2) * importance).sum(1)


def contributions(parameters: Parameters, mid: Tensor) -> Tensor:
    """Mean over the batch of sum_k |mid_k| |W_out[:, k]|, what neurons add to the read-out, by length: ``[model]``.

    ``mid`` is ``[model, hidden, batch]``. An L1 norm of activations, each in units of what it does: of |mid_k| alone a
    model would be rid by halving W_in and doubling W_out. Where the activation is positively homogeneous, as ReLU,
    that changes nothing here. A LayerNorm after mid would undo any size of it, so there it has no meaning.
    """
    return (mid.abs().mean(2) * torch.linalg.vector_norm(parameters.decoder, dim=1)).sum(1)


@undisturbed
def constant_losses(features: Inputs, target: Target, loss: Loss, importance: np.ndarray, seed: int) -> np.ndarray:
    """min_c E loss(t_i, c), what the best constant predictor loses: float64 ``[target]``.

    Of features in closed form where the target states its mean and variance and the loss is known by them, and by
    quadrature where it states its distributions, once for each that differs, as thousands of seeds share them; else
    measured, on the whole population of data that have one, or on the evaluation data of seed 0, as features are
    distributed alike for every seed. ``importance`` ``[target]`` matters to a softmax alone.
    """
    if isinstance(features, Features):
        mean, variance = target.stated(features, seed)
        stated = None if variance is None else loss.stated_of_constant(mean, variance, importance)
        if stated is not None:
            return stated
        distributions = None if loss.weighs_constants else target.distributions(features, seed)
        if distributions is not None:
            return np.array([_constant_loss(each, loss) for each in distributions])
    weights = tuple(importance.tolist()) if loss.weighs_constants else ()
    return _measured_constant_losses(features, target, loss, weights, 0 if target.of_features else seed)


@lru_cache(maxsize=4096)
def _constant_loss(distribution: Distribution, loss: Loss) -> float:
    outcomes, chance = distribution.outcomes()
    return float(loss.of_constant(outcomes[None], np.ones(1), chance[None])[0])


@lru_cache(maxsize=32)
def _measured_constant_losses(
    features: Inputs, target: Target, loss: Loss, importance: tuple[float, ...], seed: int
) -> np.ndarray:
    return loss.of_constant(typical(features, target, seed).double(), np.array(importance))
