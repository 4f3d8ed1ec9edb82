"""Optimizers: from a gradient to a direction; the engine steps weight -= rate * direction.

Every model on the leading axis has its own state, rate and weight decay. An `Optimizer` is the setting; `begin` makes
the state of one run, one `Direction` a parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toymodels.rotations import haar

Direction = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(gradient, weight, decay, t) -> direction; decay broadcasts over the model axis, t counts from 1."""

HIDDEN_AXIS = {"W_in": 1, "W_out": 2, "b_in": 1, "ln_gain": 1, "ln_bias": 1}


class Optimizer:
    """A choice of optimizer. ``begin`` gives the run's update of one parameter."""

    name: str

    def begin(self, parameter: str, like: Tensor, seeds: np.ndarray) -> Direction:
        raise TypeError(f"{type(self).__name__} defines no begin")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015); with weight decay AdamW, decoupled (Loshchilov and Hutter 2019).

    direction = m_t / (1 - beta_1^t) / (sqrt(v_t / (1 - beta_2^t)) + eps) + decay * weight
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float = 1e-8
    name = "adam"

    def begin(self, parameter: str, like: Tensor, seeds: np.ndarray) -> Direction:
        mean, square = torch.zeros_like(like), torch.zeros_like(like)

        def direction(gradient: Tensor, weight: Tensor, decay: Tensor, t: int) -> Tensor:
            mean.lerp_(gradient, 1 - self.beta_1)
            square.mul_(self.beta_2).addcmul_(gradient, gradient, value=1 - self.beta_2)
            scale = square.sqrt().div_((1 - self.beta_2**t) ** 0.5).add_(self.eps)
            return (mean / scale).div_(1 - self.beta_1**t).addcmul_(decay, weight)

        return direction


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent with momentum (Sutskever et al. 2013): buffer = momentum buffer + gradient + decay weight."""

    momentum: float = 0.9
    name = "sgd"

    def begin(self, parameter: str, like: Tensor, seeds: np.ndarray) -> Direction:
        buffer = torch.zeros_like(like)

        def direction(gradient: Tensor, weight: Tensor, decay: Tensor, t: int) -> Tensor:
            return buffer.mul_(self.momentum).add_(gradient).addcmul_(decay, weight)

        return direction


@dataclass(frozen=True)
class RotatedAdam(Optimizer):
    """Adam in a fixed Haar-random rotation of the hidden basis, each model's own.

    Adam scales every coordinate by itself and so makes a basis special (Elhage, Lasenby, Olah 2023). Here that basis is
    not the neurons': what alignment is left is not Adam's doing.
    """

    adam: Adam = Adam()
    name = "rotated_adam"

    def begin(self, parameter: str, like: Tensor, seeds: np.ndarray) -> Direction:
        axis = HIDDEN_AXIS.get(parameter)
        if axis is None:
            return self.adam.begin(parameter, like, seeds)
        rotation = haar(seeds, like.shape[axis], step=0).to(like)
        inner = self.adam.begin(parameter, like, seeds)
        no_decay = torch.zeros((), dtype=like.dtype, device=like.device)

        def turn(matrix: Tensor, x: Tensor) -> Tensor:
            hidden_first = x.movedim(axis, 1)
            turned = matrix @ hidden_first.flatten(2) if x.dim() == 3 else (matrix @ x[:, :, None])[:, :, 0]
            return turned.movedim(1, axis)

        def direction(gradient: Tensor, weight: Tensor, decay: Tensor, t: int) -> Tensor:
            step = inner(turn(rotation, gradient), gradient, no_decay, t)
            return turn(rotation.transpose(1, 2), step) + decay * weight

        return direction
