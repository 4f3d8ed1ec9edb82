"""Activations: what a hidden layer does to its pre-activations z.

An activation is a function R^m -> R^m along one axis (``dim``, the neurons), with its derivative. Elementwise ones have
f'(z); in general the derivative is the Jacobian, given as a Jacobian-vector product. What stands in `ACTIVATIONS` is
what a sweep file can name; any other subclass of `Activation` works in the Python API.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from toymodels.roles import by_name


class Activation(ABC):
    """A map of z along axis ``dim``. Define ``name``, ``__call__`` and ``jvp``; make it a frozen dataclass."""

    name: str

    @abstractmethod
    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        """act(z), of the shape of z."""

    @abstractmethod
    def jvp(self, z: Tensor, v: Tensor, dim: int = -1) -> Tensor:
        """The Jacobian-vector product J(z) v, of the shape of z."""


class Elementwise(Activation):
    """An activation that acts on each entry alone: J(z) v = f'(z) v."""

    @abstractmethod
    def derivative(self, z: Tensor) -> Tensor:
        """f'(z), elementwise."""

    def jvp(self, z: Tensor, v: Tensor, dim: int = -1) -> Tensor:
        return self.derivative(z) * v


@dataclass(frozen=True)
class Linear(Elementwise):
    """f(z) = z. The hidden layer of the Toy Models of Superposition (Elhage et al. 2022)."""

    name = "linear"

    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        return z

    def derivative(self, z: Tensor) -> Tensor:
        return torch.ones_like(z)


@dataclass(frozen=True)
class ReLU(Elementwise):
    """f(z) = max(z, 0), f'(z) = 1 for z > 0 and 0 elsewhere (Nair and Hinton 2010)."""

    name = "relu"

    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        return torch.relu(z)

    def derivative(self, z: Tensor) -> Tensor:
        return (z > 0).to(z.dtype)


@dataclass(frozen=True)
class GeLU(Elementwise):
    """f(z) = z Phi(z), exact by erf; f'(z) = Phi(z) + z phi(z) (Hendrycks and Gimpel 2016)."""

    name = "gelu"

    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        return F.gelu(z)

    def derivative(self, z: Tensor) -> Tensor:
        cdf = 0.5 * torch.erfc(-z / math.sqrt(2))
        density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
        return cdf + z * density


@dataclass(frozen=True)
class SiLU(Elementwise):
    """f(z) = z s(z) with s the logistic function; f'(z) = s(z) (1 + z (1 - s(z))) (Elfwing, Uchibe, Doya 2018)."""

    name = "silu"

    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        return F.silu(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z) * (1 + z * torch.sigmoid(-z))


@dataclass(frozen=True)
class ELU(Elementwise):
    """f(z) = z for z > 0, e^z - 1 elsewhere; f'(z) = 1, e^z (Clevert, Unterthiner, Hochreiter 2016)."""

    name = "elu"

    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        return F.elu(z)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.exp(z.clamp(max=0))


@dataclass(frozen=True)
class XExp(Elementwise):
    """f(z) = z e^z, f'(z) = (1 + z) e^z: SoLU without its denominator.

    The literature sometimes gives this as SoLU. It is not, though LayerNorm at eps = 0 cannot tell the two apart; a
    control. It overflows to infinity where e^z does.
    """

    name = "xexp"

    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        return z * torch.exp(z)

    def derivative(self, z: Tensor) -> Tensor:
        return (1 + z) * torch.exp(z)


@dataclass(frozen=True)
class SoLU(Activation):
    """f(z) = z * s, s = softmax(z) over the neurons; J v = s v + f(z) (v - <s, v>) (Elhage et al. 2022, *Softmax Linear
    Units*)."""

    name = "solu"

    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        return z * torch.softmax(z, dim)

    def jvp(self, z: Tensor, v: Tensor, dim: int = -1) -> Tensor:
        s = torch.softmax(z, dim)
        return s * (v + z * (v - (s * v).sum(dim, keepdim=True)))


ACTIVATIONS: dict[str, Activation] = by_name(Linear(), ReLU(), GeLU(), SoLU(), SiLU(), ELU(), XExp())
