"""Values: how large a feature is when it is active.

Every value is a function of one uniform v: v = r in [0, 1) when values are unsigned; v = 2r - 1 in [-1, 1) when signed,
whose sign is the value's sign and whose size serves the magnitude. As each function is odd and maps 0 to 0, it is
applied to a whole array at once, inactive entries (0) included.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from toymodels.closed_forms import ClosedForms
from toymodels.quadrature import unit_interval
from toymodels.roles import Absent, by_name
from toymodels.surroundings import undisturbed

LARGEST_BELOW_ONE = 1 - 2.0**-24


class Values(ClosedForms, ABC):
    """Distribution of |value| given active: E|v| = ``mean`` and E v^2 = ``second_moment``.

    A law that states neither has both integrated numerically, from its own `from_uniform`.
    """

    name: str
    binary = False
    closed_forms: ClassVar = {"from_uniform": ("mean", "second_moment")}

    mean: float = cached_property(lambda law: law._integral(1))  # pyright: ignore[reportAssignmentType]
    second_moment: float = cached_property(lambda law: law._integral(2))  # pyright: ignore[reportAssignmentType]

    @undisturbed
    def _integral(self, power: int) -> float:
        """The integral of |from_uniform|^power over (0, 1)."""
        nodes, weights = unit_interval(panels=64, order=16)
        drawn = torch.ones_like(nodes) if self.binary else nodes
        return float(weights @ self.from_uniform(drawn).abs().double().pow(power))

    @abstractmethod
    def from_uniform(self, v: Tensor) -> Tensor:
        """Values of this law from uniforms v in [-1, 1], elementwise; odd, with 0 for 0."""


@dataclass(frozen=True)
class UniformValues(Values):
    """U(0, 1), as in Elhage et al. 2022 (*Toy Models of Superposition*)."""

    name = "uniform"
    mean = 1 / 2
    second_moment = 1 / 3

    def from_uniform(self, v: Tensor) -> Tensor:
        return v


@dataclass(frozen=True)
class Binary(Values):
    """1 when active (+1 or -1 when signed)."""

    name = "binary"
    mean = 1.0
    second_moment = 1.0
    binary = True

    def from_uniform(self, v: Tensor) -> Tensor:
        return v


@dataclass(frozen=True)
class FoldedNormal(Values):
    """|N(0, 1)|: sqrt(2) erfinv(v)."""

    name = "folded_normal"
    mean = math.sqrt(2 / math.pi)
    second_moment = 1.0

    def from_uniform(self, v: Tensor) -> Tensor:
        return math.sqrt(2) * torch.erfinv(v.clamp(-LARGEST_BELOW_ONE, LARGEST_BELOW_ONE))


@dataclass(frozen=True)
class Exponential(Values):
    """Exp(1): -log(1 - |v|) with the sign of v."""

    name = "exponential"
    mean = 1.0
    second_moment = 2.0

    def from_uniform(self, v: Tensor) -> Tensor:
        return -torch.sign(v) * torch.log1p(-v.abs().clamp(max=LARGEST_BELOW_ONE))


VALUES: dict[str, Values] = by_name(UniformValues(), Binary(), FoldedNormal(), Exponential())


@lru_cache(maxsize=64)
@undisturbed
def check_odd(values: Values) -> None:
    """Raise ``ValueError`` unless a law's function is odd and 0 at 0: inactive features, which are 0, go through it."""
    if isinstance(values, Absent):
        return
    v = torch.tensor([0.0, 0.3, -0.3])
    at_zero, above, below = values.from_uniform(v).tolist()
    if at_zero != 0 or abs(above + below) > 1e-6 * abs(above):
        raise ValueError(
            f"values: from_uniform of {type(values).__name__} must be odd and 0 for 0, as inactive features go through "
            f"it too; it is {at_zero:g} for 0, {above:g} for .3 and {below:g} for -.3"
        )
