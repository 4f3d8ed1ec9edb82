"""Optimizers: from a gradient to a direction; the engine steps weight -= rate * direction.

Every model on the leading axis has its own state, rate and weight decay. An `Optimizer` is the setting; `begin` makes
the state of one run, one `Direction` a parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from toymodels.checks import Number, Part, setting, settle
from toymodels.roles import by_name
from toymodels.rotations import haar

HIDDEN_AXIS = {"W_in": 1, "W_out": 2, "b_in": 1, "ln_gain": 1, "ln_bias": 1, "W_gate": 1, "b_gate": 1}
SHARE = Number(least=0, below=1)


def length_beyond_one(W: Tensor) -> Tensor:
    """1 - 1 / |W_i| of the columns of W [model, hidden, feature]: [model, 1, feature]; 0 for a zero column.

    Such a share of W_i is what its length has beyond 1: as a decay it draws lengths to 1 from either side.
    """
    lengths = torch.linalg.vector_norm(W, dim=1, keepdim=True)
    return torch.where(lengths > 0, 1 - 1 / torch.where(lengths > 0, lengths, 1.0), 0.0)


class Direction(ABC):
    """One parameter's update in one run: called with each step's gradient.

    What it remembers from step to step is ``state``, tensors by name. A call puts new tensors in their place and
    changes none: so a run can be kept and continued, wherever it is interrupted.
    """

    def __init__(self, **state: Tensor) -> None:
        self.state = state

    @abstractmethod
    def __call__(self, gradient: Tensor, weight: Tensor, decay: Tensor, t: int) -> Tensor:
        """The direction of step t, counted from 1; ``decay`` broadcasts over the weight."""


class Timed(Direction):
    """A direction into which the number of the step enters by some numbers alone, which are given as a tensor.

    So one step of it can be recorded as kernels of a GPU, and replayed for every other step.
    """

    @abstractmethod
    def numbers(self, t: int) -> tuple[float, ...]:
        """What step t, counted from 1, is to it: as many numbers for every step."""

    @abstractmethod
    def directed(self, gradient: Tensor, weight: Tensor, decay: Tensor, numbers: Tensor) -> Tensor:
        """The direction of the step of these ``numbers`` [number]; ``decay`` broadcasts over the weight."""

    def __call__(self, gradient: Tensor, weight: Tensor, decay: Tensor, t: int) -> Tensor:
        return self.directed(gradient, weight, decay, gradient.new_tensor(self.numbers(t)))


class Optimizer(ABC):
    """How gradients become steps: the choice of an optimizer and its settings."""

    name: str

    @abstractmethod
    def begin(self, parameter: str, like: Tensor, seeds: np.ndarray) -> Direction:
        """The update of one parameter in one run: of the parameter's name, a tensor like it, and the models' seeds."""


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015); with weight decay AdamW, decoupled (Loshchilov and Hutter 2019).

    direction = m_t / (1 - beta_1^t) / (sqrt(v_t / (1 - beta_2^t)) + eps) + decay * weight
    """

    beta_1: float = field(default=0.9, metadata=setting(SHARE, "what is kept of the mean gradient"))
    beta_2: float = field(default=0.999, metadata=setting(SHARE, "what is kept of the mean squared gradient"))
    eps: float = field(default=1e-8, metadata=setting(Number(least=0), "what is added to the root of the mean square"))
    name = "adam"

    def __post_init__(self) -> None:
        settle(self)

    def begin(self, parameter: str, like: Tensor, seeds: np.ndarray) -> Direction:
        return _AdamDirection(self, like)


class _AdamDirection(Timed):
    def __init__(self, adam: Adam, like: Tensor) -> None:
        super().__init__(mean=torch.zeros_like(like), square=torch.zeros_like(like))
        self.adam = adam

    def numbers(self, t: int) -> tuple[float, ...]:
        return (1 - self.adam.beta_2**t) ** 0.5, 1 - self.adam.beta_1**t

    def directed(self, gradient: Tensor, weight: Tensor, decay: Tensor, numbers: Tensor) -> Tensor:
        beta_1, beta_2 = self.adam.beta_1, self.adam.beta_2
        mean = self.state["mean"].lerp(gradient, 1 - beta_1)
        square = self.state["square"].mul(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        self.state = {"mean": mean, "square": square}
        scale = square.sqrt().div_(numbers[0]).add_(self.adam.eps)
        return (mean / scale).div_(numbers[1]).addcmul_(decay, weight)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent with momentum (Sutskever et al. 2013): buffer = momentum buffer + gradient + decay weight."""

    momentum: float = field(default=0.9, metadata=setting(SHARE, "what is kept of the buffer"))
    name = "sgd"

    def __post_init__(self) -> None:
        settle(self)

    def begin(self, parameter: str, like: Tensor, seeds: np.ndarray) -> Direction:
        return _Momentum(self, like)


class _Momentum(Timed):
    def __init__(self, sgd: SGD, like: Tensor) -> None:
        super().__init__(buffer=torch.zeros_like(like))
        self.sgd = sgd

    def numbers(self, t: int) -> tuple[float, ...]:
        return ()

    def directed(self, gradient: Tensor, weight: Tensor, decay: Tensor, numbers: Tensor) -> Tensor:
        buffer = self.state["buffer"].mul(self.sgd.momentum).add_(gradient).addcmul_(decay, weight)
        self.state = {"buffer": buffer}
        return buffer


@dataclass(frozen=True)
class RotatedAdam(Optimizer):
    """Adam in a fixed Haar-random rotation of the hidden basis, each model's own.

    Adam scales every coordinate by itself and so makes a basis special (Elhage, Lasenby, Olah 2023). Here that basis is
    not the neurons': what alignment is left is not Adam's doing.
    """

    adam: Adam = field(default=Adam(), metadata=setting(Part(Adam, "Adam()"), "the Adam of the rotated gradients"))
    name = "rotated_adam"

    def __post_init__(self) -> None:
        settle(self)

    def begin(self, parameter: str, like: Tensor, seeds: np.ndarray) -> Direction:
        axis = HIDDEN_AXIS.get(parameter)
        if axis is None:
            return self.adam.begin(parameter, like, seeds)
        return _RotatedDirection(self.adam, like, haar(seeds, like.shape[axis], step=0).to(like), axis)


class _RotatedDirection(_AdamDirection):
    def __init__(self, adam: Adam, like: Tensor, rotation: Tensor, axis: int) -> None:
        super().__init__(adam, like)
        self.rotation, self.axis = rotation, axis
        self.no_decay = torch.zeros((), dtype=like.dtype, device=like.device)

    def directed(self, gradient: Tensor, weight: Tensor, decay: Tensor, numbers: Tensor) -> Tensor:
        step = super().directed(self._turned(self.rotation, gradient), gradient, self.no_decay, numbers)
        return self._turned(self.rotation.transpose(1, 2), step) + decay * weight

    def _turned(self, matrix: Tensor, x: Tensor) -> Tensor:
        hidden_first = x.movedim(self.axis, 1)
        turned = matrix @ hidden_first.flatten(2) if x.dim() == 3 else (matrix @ x[:, :, None])[:, :, 0]
        return turned.movedim(1, self.axis)


OPTIMIZERS: dict[str, Optimizer] = by_name(Adam(), SGD(), RotatedAdam())
