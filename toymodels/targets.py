"""Targets: what a model must say of x.

    t [model, target, batch] of x [model, feature, batch]

A target a feature (``identity``, ``absolute``), or other ones (``and``: a target a pair of features).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, final

import numpy as np
import torch
from torch import Tensor

from toymodels.activations import Activation, ReLU
from toymodels.checks import Whole, setting, settle
from toymodels.closed_forms import ClosedForms
from toymodels.data import Data, Inputs, measured_samples, samples_of
from toymodels.features import Features
from toymodels.pairs import Product, drawn_pairs
from toymodels.roles import by_name

MAX_PAIRS = 10**6

Says = Callable[[Tensor], Tensor]
"""t [model, target, batch] as a function of x [model, feature, batch]."""


class Distribution(Protocol):
    """How one number is distributed; equal ones are the same distribution."""

    def __hash__(self) -> int: ...

    def outcomes(self) -> tuple[Tensor, Tensor]:
        """Numbers that stand for all, and their chances, which sum to 1: float64 ``[outcome]`` each."""
        ...


class Target(ClosedForms, ABC):
    """What a model must say. A subclass defines ``name``, `of` and `count`; one that says a number a feature is a
    `FeatureTarget`."""

    name: str
    closed_forms: ClassVar = {"of": ("stated", "binary", "distributions")}
    of_features: ClassVar[bool] = False
    """whether target i is of feature i"""

    @abstractmethod
    def of(self, n: int, seeds: np.ndarray) -> Says:
        """t as a function of x, for models of ``n`` features and these seeds."""

    @abstractmethod
    def count(self, n: int) -> int:
        """How many numbers a model must say of ``n`` features."""

    def check(self, features: Inputs, output: Activation) -> None:
        """Raise ``ValueError`` where this target has no meaning."""

    def notes(self, features: Features, output: Activation) -> Sequence[str]:
        """What should be known before models of this structure are trained, a sentence each."""
        return ()

    def importance(self, feature_importance: np.ndarray, seed: int) -> np.ndarray:
        """What an error in each target costs, float64 ``[target]``, of what one in each feature costs.

        1 a target, unless a subclass says otherwise.
        """
        return np.ones(self.count(len(feature_importance)))

    def about(self, features: Inputs, seed: int) -> dict[str, np.ndarray]:
        """What each target is, where it is not of a feature: columns ``[target]`` by name."""
        return {}

    def binary(self, features: Features) -> bool | None:
        """Whether t is 0 or 1 always; None where it is measured."""
        return None

    def stated(self, features: Features, seed: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """E t_i and Var(t_i) for the model of this seed, float64 ``[target]`` each; None for what is measured."""
        return None, None

    def distributions(self, features: Features, seed: int) -> Sequence[Distribution] | None:
        """How each t_i is distributed for the model of this seed; None where that is measured."""
        return None


class FeatureTarget(Target):
    """The same function of x for every model, a number a feature.

    A subclass defines ``name``, ``__call__(x)`` and, where it knows them, ``mean`` and ``variance``.
    """

    closed_forms: ClassVar = {"__call__": ("mean", "variance", "binary")}
    of_features: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """t, of the shape of x."""

    @final
    def of(self, n: int, seeds: np.ndarray) -> Says:
        return self

    @final
    def count(self, n: int) -> int:
        return n

    def importance(self, feature_importance: np.ndarray, seed: int) -> np.ndarray:
        return feature_importance

    def mean(self, features: Features) -> np.ndarray | None:
        """E t_i in closed form, float64 ``[feature]``; None where it is measured on the evaluation data."""
        return None

    def variance(self, features: Features) -> np.ndarray | None:
        """Var(t_i) in closed form, float64 ``[feature]``; None where it is measured on the evaluation data."""
        return None

    def stated(self, features: Features, seed: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        return self.mean(features), self.variance(features)


def typical(features: Inputs, target: Target, seed: int) -> Tensor:
    """Targets of samples that stand for all: ``[target, sample]``."""
    if isinstance(features, Data):
        x = features.typical[None]
    else:
        x = samples_of([features], [0]).evaluation(0, measured_samples(features.n))
    return target.of(features.n, np.array([seed]))(x)[0]


def is_binary(features: Inputs, target: Target) -> bool:
    """Whether t is 0 or 1 always: as the target states it, or else as typical samples are, which takes a while."""
    stated = target.binary(features) if isinstance(features, Features) else None
    if stated is not None:
        return stated
    t = typical(features, target, 0)
    return bool(((t == 0) | (t == 1)).all())


def _mean_of_size(features: Features) -> np.ndarray:
    """E|x_i| = P E|v|: float64 [feature]."""
    return features.probabilities() * features.values.mean


def _variance_of_size(features: Features) -> np.ndarray:
    """Var|x_i| = P E v^2 - (P E|v|)^2: float64 [feature]."""
    return features.probabilities() * features.values.second_moment - _mean_of_size(features) ** 2


@dataclass(frozen=True)
class Identity(FeatureTarget):
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

    def binary(self, features: Features) -> bool:
        return features.values.binary and not features.signed

    def mean(self, features: Features) -> np.ndarray:
        return np.zeros(features.n) if features.signed else _mean_of_size(features)

    def variance(self, features: Features) -> np.ndarray:
        if features.signed:
            return features.probabilities() * features.values.second_moment
        return _variance_of_size(features)


@dataclass(frozen=True)
class AbsoluteValue(FeatureTarget):
    """t = |x|, of signed x (the "computation in superposition" of Elhage et al. 2022, section 8)."""

    name = "absolute"

    def __call__(self, x: Tensor) -> Tensor:
        return x.abs()

    def check(self, features: Inputs, output: Activation) -> None:
        if not features.signed:
            raise ValueError("target 'absolute' of unsigned values is target 'identity': set signed = true")

    def binary(self, features: Features) -> bool:
        return features.values.binary

    def mean(self, features: Features) -> np.ndarray:
        return _mean_of_size(features)

    def variance(self, features: Features) -> np.ndarray:
        return _variance_of_size(features)


@dataclass(frozen=True)
class And(Target):
    """t_q = x_i x_j of ``pairs`` distinct pairs {i, j} of features, which each model's own seed draws.

    Of binary x it is the logical AND, the simplest computation that needs neurons (Haenni et al. 2024; *Toward a
    mathematical framework for computation in superposition*, Vaintrob et al. 2024). A pair's importance is the
    geometric mean sqrt(I_i I_j) of its members', so that it has their unit.
    """

    pairs: int = field(metadata=setting(Whole(1, MAX_PAIRS), "of target 'and': how many pairs of features, x_i x_j"))
    name = "and"

    def __post_init__(self) -> None:
        settle(self)

    def members(self, n: int, seed: int) -> np.ndarray:
        """The pairs {i, j}, i < j, in lexicographic order: int64 ``[target, 2]``, read-only; see `drawn_pairs`."""
        return drawn_pairs(self.pairs, n, seed)

    def of(self, n: int, seeds: np.ndarray) -> Says:
        index = torch.from_numpy(np.stack([self.members(n, seed) for seed in np.asarray(seeds).tolist()]))
        there: dict[torch.device, Tensor] = {}  # where x has been: a copy to a device waits for it

        def product(x: Tensor) -> Tensor:
            on = there[x.device] if x.device in there else there.setdefault(x.device, index.to(x.device))
            first, second = (on[:, :, side, None].expand(-1, -1, x.shape[2]) for side in (0, 1))
            return x.gather(1, first) * x.gather(1, second)

        return product

    def count(self, n: int) -> int:
        return self.pairs

    def check(self, features: Inputs, output: Activation) -> None:
        n = features.n
        if n < 2:
            raise ValueError(f"target 'and' is of two features, and there is {n}: n = 2 or more")
        if self.pairs > n * (n - 1) // 2:
            raise ValueError(
                f"target.pairs: expected at most the {n * (n - 1) // 2} pairs of {n} features, got {self.pairs}"
            )

    def importance(self, feature_importance: np.ndarray, seed: int) -> np.ndarray:
        first, second = self.members(len(feature_importance), seed).T
        return np.sqrt(feature_importance[first] * feature_importance[second])

    def about(self, features: Inputs, seed: int) -> dict[str, np.ndarray]:
        """The members ``first`` and ``second`` of each pair, and its ``density`` P(both are active)."""
        first, second = self.members(features.n, seed).T
        return {"first": first, "second": second, "density": features.both_active(first, second)}

    def binary(self, features: Features) -> bool:
        return features.values.binary and not features.signed

    def stated(self, features: Features, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """P E|v|^2, or 0 of signed values, and P (E v^2)^2 less its square; P that both members are active."""
        both, values = self.about(features, seed)["density"], features.values
        mean = np.zeros_like(both) if features.signed else both * values.mean**2
        return mean, both * values.second_moment**2 - mean**2

    def distributions(self, features: Features, seed: int) -> Sequence[Distribution]:
        both = self.about(features, seed)["density"].tolist()
        return [Product(each, features.values, features.signed) for each in both]


TARGETS: dict[str, type[Target]] = by_name(Identity, AbsoluteValue, And)
