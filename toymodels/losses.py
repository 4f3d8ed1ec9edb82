"""Losses: what an error costs, target by target.

    loss(t, y) [model, target, batch] of t and y, y the output of the model

and the *prediction* of t that an output makes: y itself, or the probability that a cross-entropy reads it as.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import entr
from torch import Tensor

from toymodels.activations import Activation, Linear
from toymodels.checks import Number, setting, settle
from toymodels.data import Inputs
from toymodels.features import Features
from toymodels.firing import One
from toymodels.targets import Target, is_binary

GOLDEN = (5**0.5 - 1) / 2


class Loss(ABC):
    """What an error costs. A subclass defines ``name`` and ``__call__``, convex in the output."""

    name: str
    weighs_constants = False
    """whether the best constants depend on the importances"""

    @abstractmethod
    def __call__(self, target: Tensor, output: Tensor) -> Tensor:
        """loss(t, y), of the shape of both, differentiable in the output."""

    def over(self, features: Inputs) -> Loss:
        """The loss that this means for such features: itself, for all but one."""
        return self

    def check(self, features: Inputs, target: Target, output: Activation) -> None:  # noqa: B027
        """Raise ``ValueError`` where this loss has no meaning."""

    def prediction(self, output: Tensor) -> Tensor:
        """The prediction of t, of the shape of the output."""
        return output

    def best_constant(self, target: Tensor, chance: Tensor | None = None) -> Tensor:
        """argmin_c of the mean of loss(t, c) over the last axis, without that axis.

        ``chance``, of the shape of ``target``, are the weights of that mean, which sum to 1; without them all are
        equal. By golden section between the smallest and the largest target, to a millionth of their distance.
        """
        low, high = target.amin(-1, keepdim=True), target.amax(-1, keepdim=True)
        for _ in range(30):
            left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
            nearer_left = _mean(self(target, left), chance) < _mean(self(target, right), chance)
            nearer_left = nearer_left[..., None]
            low, high = torch.where(nearer_left, low, left), torch.where(nearer_left, right, high)
        return (low + high)[..., 0] / 2

    def of_constant(self, target: Tensor, importance: np.ndarray, chance: Tensor | None = None) -> np.ndarray:
        """What the best constant output loses, as samples of t say: float64 ``[target]``.

        min_c of the mean of loss(t_i, c) over the samples of ``target`` ``[target, sample]``, weighted by ``chance``
        as in `best_constant`. Importances ``[target]`` are no part of it, and matter only where the constants of all
        targets hang together (`weighs_constants`).
        """
        return _mean(self(target, self.best_constant(target, chance)[:, None]), chance).numpy()

    def stated_of_constant(
        self, mean: np.ndarray | None, variance: np.ndarray, importance: np.ndarray
    ) -> np.ndarray | None:
        """What the best constant output loses, min_c E loss(t_i, c) as in `of_constant`, in closed form.

        ``mean`` E t_i (None where it is not known) and ``variance`` Var(t_i) are ``[target]``, and so is what is
        returned; None where these do not tell what this loss makes of a constant, so that samples must.
        """
        return None


@dataclass(frozen=True)
class Squared(Loss):
    """loss(t, y) = (t - y)^2."""

    name = "squared"

    def __call__(self, target: Tensor, output: Tensor) -> Tensor:
        return (target - output).square()

    def best_constant(self, target: Tensor, chance: Tensor | None = None) -> Tensor:
        return _mean(target, chance)

    def stated_of_constant(
        self, mean: np.ndarray | None, variance: np.ndarray, importance: np.ndarray
    ) -> np.ndarray | None:
        return variance


@dataclass(frozen=True)
class Power(Loss):
    """loss(t, y) = |t - y|^exponent, exponent >= 1; 4 is the L4 loss, which punishes the largest errors most."""

    exponent: float = field(default=4.0, metadata=setting(Number(least=1), "the power of an error that it costs"))
    name = "power"

    def __post_init__(self) -> None:
        settle(self)

    def __call__(self, target: Tensor, output: Tensor) -> Tensor:
        return (target - output).abs().pow(self.exponent)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """loss(t, y) = -t log s(y) - (1 - t) log(1 - s(y)), s(y) = 1 / (1 + e^-y), in nats: a sigmoid a target.

    Of targets that are 0 or 1; y is a logit. Of features of which exactly one is active (``firing = "one"``) it is the
    `Softmax` over them. The best constant predictor's is the entropy of each t_i.
    """

    name = "cross_entropy"

    def __call__(self, target: Tensor, output: Tensor) -> Tensor:
        return -target * F.logsigmoid(output) - (1 - target) * F.logsigmoid(-output)

    def over(self, features: Inputs) -> Loss:
        exclusive = isinstance(features, Features) and isinstance(features.firing, One)
        return Softmax() if exclusive else self

    def check(self, features: Inputs, target: Target, output: Activation) -> None:
        if not is_binary(features, target):
            raise ValueError(
                "loss 'cross_entropy' is of targets that are 0 or 1: values = 'binary', and signs only of target "
                "'absolute'"
            )
        if type(output) is not Linear:
            raise ValueError(
                "loss 'cross_entropy' reads an output as a logit, which may be any number: output = 'linear'"
            )

    def prediction(self, output: Tensor) -> Tensor:
        return torch.sigmoid(output)

    def best_constant(self, target: Tensor, chance: Tensor | None = None) -> Tensor:
        """The logit of the mean; infinite where all targets are alike."""
        return torch.logit(_mean(target, chance))

    def of_constant(self, target: Tensor, importance: np.ndarray, chance: Tensor | None = None) -> np.ndarray:
        return _entropy(_mean(target, chance).numpy())

    def stated_of_constant(
        self, mean: np.ndarray | None, variance: np.ndarray, importance: np.ndarray
    ) -> np.ndarray | None:
        return None if mean is None else _entropy(mean)


@dataclass(frozen=True)
class Softmax(Loss):
    """loss_i(t, y) = -t_i log(e^{y_i} / sum_j e^{y_j}), in nats, of targets of which exactly one is 1 and the rest 0.

    sum_i of it is the cross-entropy. Weighted by importances, the best constant predictor gives target i the
    probability q_i = I_i P_i / sum_j I_j P_j, at a loss of -P_i log q_i.
    """

    name = "softmax"
    weighs_constants = True

    def __call__(self, target: Tensor, output: Tensor) -> Tensor:
        return target * (torch.logsumexp(output, -2, keepdim=True) - output)

    def check(self, features: Inputs, target: Target, output: Activation) -> None:
        exclusive = isinstance(features, Features) and isinstance(features.firing, One)
        if not (exclusive and target.of_features):
            raise ValueError("loss 'softmax' is of features of which exactly one is active: firing = 'one'")
        CrossEntropy().check(features, target, output)

    def prediction(self, output: Tensor) -> Tensor:
        return torch.softmax(output, -2)

    def best_constant(self, target: Tensor, chance: Tensor | None = None) -> Tensor:
        """The logarithm of the mean, of equal importances; -infinite of a target that is never 1."""
        return _mean(target, chance).log()

    def of_constant(self, target: Tensor, importance: np.ndarray, chance: Tensor | None = None) -> np.ndarray:
        return _shared_entropy(_mean(target, chance).numpy(), importance)

    def stated_of_constant(
        self, mean: np.ndarray | None, variance: np.ndarray, importance: np.ndarray
    ) -> np.ndarray | None:
        return None if mean is None else _shared_entropy(mean, importance)


LOSSES: dict[str, Loss] = {"squared": Squared(), "l4": Power(4.0), "cross_entropy": CrossEntropy()}


def _mean(samples: Tensor, chance: Tensor | None) -> Tensor:
    """Over the last axis, without that axis; weighted by chances that sum to 1, if there are any."""
    return samples.mean(-1) if chance is None else (samples * chance).sum(-1)


def _entropy(mean: np.ndarray) -> np.ndarray:
    """That of a bit which is 1 with this probability, in nats."""
    return entr(mean) + entr(1 - mean)


def _shared_entropy(mean: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """-P_i log q_i, q_i the share of P_i I_i in their sum."""
    weighted = mean * importance
    share = weighted / weighted.sum() if weighted.sum() > 0 else mean
    return -mean * np.log(np.where(share > 0, share, 1.0))
