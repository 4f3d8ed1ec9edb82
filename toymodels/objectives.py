"""Objectives: what a model must say, and what an error costs.

    L = E sum_i I_i (t_i - y_i)^2,    loss fraction = L / sum_i I_i Var(t_i)

The denominator is the loss of the best constant predictor, so losses at different densities can be compared: 1 is
"learned nothing", 0 is perfect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from toymodels.activations import Activation, ReLU
from toymodels.features import Features


class Target:
    """t as a function of x."""

    name: str

    def __call__(self, x: Tensor) -> Tensor:
        """t, of the shape of x."""
        raise TypeError(f"{type(self).__name__} defines no __call__")

    def check(self, features: Features, output: Activation) -> None:
        """Raise ``ValueError`` where this target has no meaning."""

    def variance(self, features: Features) -> np.ndarray:
        """Var(t_i), closed form: P E v^2 - (P E|v|)^2 where t >= 0; float64 ``[feature]``."""
        p = features.probabilities()
        return p * features.values.second_moment - (p * features.values.mean) ** 2


@dataclass(frozen=True)
class Identity(Target):
    """t = x (Elhage et al. 2022, *Toy Models of Superposition*)."""

    name = "identity"

    def __call__(self, x: Tensor) -> Tensor:
        return x

    def check(self, features: Features, output: Activation) -> None:
        if features.signed and isinstance(output, ReLU):
            raise ValueError("a ReLU output cannot say a negative value: signed values need output 'linear'")

    def variance(self, features: Features) -> np.ndarray:
        if features.signed:
            return features.probabilities() * features.values.second_moment
        return super().variance(features)


@dataclass(frozen=True)
class AbsoluteValue(Target):
    """t = |x|, of signed x (the "computation in superposition" of Elhage et al. 2022, section 8)."""

    name = "absolute"

    def __call__(self, x: Tensor) -> Tensor:
        return x.abs()

    def check(self, features: Features, output: Activation) -> None:
        if not features.signed:
            raise ValueError("target 'absolute' of unsigned values is target 'identity': set signed = true")


def check_objective(target: Target, features: Features, output: Activation) -> None:
    """Raise ``ValueError`` where target, features and output together have no meaning."""
    target.check(features, output)
    if not (target.variance(features) > 1e-9 * features.probabilities() * features.values.second_moment).all():
        raise ValueError("a feature that is always active with one value has no variance to learn: lower its density")


def losses(importance: Tensor, target: Tensor, output: Tensor) -> Tensor:
    """Mean over the batch of sum_i I_i (t_i - y_i)^2: ``[model]``.

    ``importance`` is ``[model, feature]``, target and output are ``[model, feature, batch]``.
    """
    return ((target - output).square().mean(2) * importance).sum(1)
