"""Objectives: what a model must say, and what an error costs.

    L = E sum_i I_i loss(t_i, y_i),    loss fraction = L / sum_i I_i min_c E loss(t_i, c)

The denominator is the loss of the best constant predictor, so losses at different densities can be compared: 1 is
"learned nothing", 0 is perfect. Of the squared loss it is sum_i I_i Var(t_i).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from toymodels.activations import Activation, ReLU
from toymodels.checks import Number, settle
from toymodels.closed_forms import ClosedForms
from toymodels.data import Data, Inputs, measured_samples, samples_of
from toymodels.features import Features
from toymodels.surroundings import undisturbed

GOLDEN = (5**0.5 - 1) / 2


class Target(ClosedForms):
    """t as a function of x. A subclass defines ``__call__`` and, where it knows it, ``variance``."""

    name: str
    closed_forms: ClassVar = {"__call__": ("variance",)}

    def __call__(self, x: Tensor) -> Tensor:
        """t, of the shape of x."""
        raise TypeError(f"{type(self).__name__} defines no __call__")

    def check(self, features: Inputs, output: Activation) -> None:
        """Raise ``ValueError`` where this target has no meaning."""

    def notes(self, features: Features, output: Activation) -> Sequence[str]:
        """What should be known before models of this structure are trained, a sentence each."""
        return ()

    def variance(self, features: Features) -> np.ndarray | None:
        """Var(t_i) in closed form, float64 ``[feature]``; None where it is measured on the evaluation data."""
        return None


def _variance_of_size(features: Features) -> np.ndarray:
    """Var|x_i| = P E v^2 - (P E|v|)^2: float64 [feature]."""
    p = features.probabilities()
    return p * features.values.second_moment - (p * features.values.mean) ** 2


@dataclass(frozen=True)
class Identity(Target):
    """t = x (Elhage et al. 2022, *Toy Models of Superposition*).

    Through a ReLU output, y >= 0, the negative half of signed x cannot be said: an error there is at least that of
    y = 0. As signs are symmetric, L >= sum_i I_i P_i E v_i^2 / 2, half of sum_i I_i Var(x_i) = sum_i I_i P_i E v_i^2: a
    loss fraction of 1/2 or more. So it is too of every other loss that depends on |t - y| and grows with it.
    """

    name = "identity"

    def __call__(self, x: Tensor) -> Tensor:
        return x

    def notes(self, features: Features, output: Activation) -> Sequence[str]:
        if features.signed and type(output) is ReLU:
            return (
                "a ReLU output cannot say the negative half of signed values: the loss fraction is 1/2 or more "
                "(output 'linear' can say them)",
            )
        return ()

    def variance(self, features: Features) -> np.ndarray:
        if features.signed:
            return features.probabilities() * features.values.second_moment
        return _variance_of_size(features)


@dataclass(frozen=True)
class AbsoluteValue(Target):
    """t = |x|, of signed x (the "computation in superposition" of Elhage et al. 2022, section 8)."""

    name = "absolute"

    def __call__(self, x: Tensor) -> Tensor:
        return x.abs()

    def check(self, features: Inputs, output: Activation) -> None:
        if not features.signed:
            raise ValueError("target 'absolute' of unsigned values is target 'identity': set signed = true")

    def variance(self, features: Features) -> np.ndarray:
        return _variance_of_size(features)


class Loss:
    """What an error costs, entry by entry. A subclass defines ``name`` and ``__call__``, convex in the output."""

    name: str

    def __call__(self, target: Tensor, output: Tensor) -> Tensor:
        """loss(t, y), of the shape of both, differentiable in the output."""
        raise TypeError(f"{type(self).__name__} defines no __call__")

    def best_constant(self, target: Tensor) -> Tensor:
        """argmin_c of the mean of loss(t, c) over the last axis, without that axis.

        By golden section between the smallest and the largest target, to a millionth of their distance.
        """
        low, high = target.amin(-1, keepdim=True), target.amax(-1, keepdim=True)
        for _ in range(30):
            left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
            nearer_left = self(target, left).mean(-1, keepdim=True) < self(target, right).mean(-1, keepdim=True)
            low, high = torch.where(nearer_left, low, left), torch.where(nearer_left, right, high)
        return (low + high)[..., 0] / 2


@dataclass(frozen=True)
class Squared(Loss):
    """loss(t, y) = (t - y)^2."""

    name = "squared"

    def __call__(self, target: Tensor, output: Tensor) -> Tensor:
        return (target - output).square()

    def best_constant(self, target: Tensor) -> Tensor:
        return target.mean(-1)


@dataclass(frozen=True)
class Power(Loss):
    """loss(t, y) = |t - y|^exponent, exponent >= 1; 4 is the L4 loss, which punishes the largest errors most."""

    exponent: float = 4.0
    name = "power"

    def __post_init__(self) -> None:
        settle(self, {"exponent": Number(least=1)})

    def __call__(self, target: Tensor, output: Tensor) -> Tensor:
        return (target - output).abs().pow(self.exponent)


def check_objective(target: Target, features: Inputs, output: Activation) -> None:
    """Raise ``ValueError`` where target, features and output together have no meaning."""
    target.check(features, output)
    variance = stated_variance(features, target)
    if variance is None or not isinstance(features, Features):
        return
    if not (variance > 1e-9 * features.probabilities() * features.values.second_moment).all():
        raise ValueError("a feature that is always active with one value has no variance to learn: lower its density")


def stated_variance(features: Inputs, target: Target) -> np.ndarray | None:
    """Var(t_i) of features where the target states it; None where it is measured, as it is of all data of one's own."""
    return target.variance(features) if isinstance(features, Features) else None


def losses(importance: Tensor, target: Tensor, output: Tensor, loss: Loss) -> Tensor:
    """Mean over the batch of sum_i I_i loss(t_i, y_i): ``[model]``.

    ``importance`` is ``[model, feature]``, target and output are ``[model, feature, batch]``.
    """
    return (loss(target, output).mean(2) * importance).sum(1)


@undisturbed
def constant_losses(features: Inputs, target: Target, loss: Loss) -> np.ndarray:
    """min_c E loss(t_i, c), what the best constant predictor loses: float64 ``[feature]``.

    Of features in closed form where the target states its variance and the loss is squared; else measured, on the whole
    population of data that have one, or on the evaluation data of seed 0, as t_i is distributed alike for every seed.
    """
    variance = stated_variance(features, target) if isinstance(loss, Squared) else None
    return _measured_constant_losses(features, target, loss) if variance is None else variance


@lru_cache(maxsize=32)
def _measured_constant_losses(features: Inputs, target: Target, loss: Loss) -> np.ndarray:
    if isinstance(features, Data):
        x = features.typical[None]
    else:
        x = samples_of([features], [0]).evaluation(0, measured_samples(features.n))
    t = target(x)[0].double()
    return loss(t, loss.best_constant(t)[:, None]).mean(1).numpy()
