"""Sparsity: what keeps most latents of an example at zero. Each kind is an object, and has a part in training.

A `Sparsity` says what is wanted, for all models or of each; its `Selection` is what that does to a batch of models in
training: which latents answer, what is differentiated through, and the rule by which they answer afterwards.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from toymodels.metrics.dictionaries.dictionary import Dictionary

PENALTIES = tuple(0.08 * 1.5**i for i in range(8))
"""those of which `choose` takes one where a kind's sparsity follows from a penalty"""


class Selection:
    """A kind at work on a batch of models. This one is ReLU: latents above 0 answer."""

    parameters: Sequence[Tensor] = ()
    """what is trained beside encoder and decoder, [model, latent] each"""

    def __init__(self, n_models: int, device: torch.device) -> None:
        self.half_penalty = torch.zeros(n_models, 1, 1, device=device)
        """half of what the loss grows by with the sum of the latents, [model, 1, 1]"""

    def select(self, z: Tensor) -> Tensor:
        """Latents f ``[model, latent, batch]`` of z = E u + c, whose memory they may take."""
        return z.relu_()

    def backward(self, f: Tensor, g: Tensor, unit: float) -> None:
        """Make ``g``, d loss / d f of what `select` gave last, into d loss / d z, in place; and write the gradients of
        `parameters`. ``g`` is in units of ``unit``: what it holds times that is the derivative."""
        torch.ops.aten.threshold_backward.grad_input(g, f, 0, grad_input=g)  # zero where the latent is off

    def project(self) -> None:
        """Bring `parameters` back to where they mean something, after a step."""

    def revive(self, dead: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Start the latents ``dead``, bool [model, latent], anew."""

    def finish(self, dictionary: Dictionary, answers: Iterable[Tensor]) -> Dictionary:
        """``dictionary`` with the rule by which its latents answer from now on. ``answers`` are batches of z ``[model,
        latent, batch]`` on what it was trained on, and are computed as they are asked for."""
        return dictionary


class Sparsity(ABC):
    """A kind of dictionary: what keeps latents at zero."""

    competing: ClassVar[bool]
    """Whether a latent answers only where it is among the largest. If not, every latent may: together they must not
    overshoot u, or many stay on for good, so they start small. One that competes starts large and, revived, moves
    fast."""

    @abstractmethod
    def selection(self, n_models: int, latents: int, device: torch.device) -> Selection:
        """This kind at work on so many models, on the device. A step should not wait for it."""

    @abstractmethod
    def tried(self, target_l0: Tensor, penalties: Sequence[float] = PENALTIES) -> tuple[Self, int]:
        """This kind at the sparsity ``target_l0 [model]``, the truth's mean number of active features, and how many
        candidates there are of each model: one where the kind can be told its sparsity, else one for each of
        ``penalties``. The kind's values are those of the first model's candidates, then of the second's, ..."""

    def levels(self, latents: int) -> tuple[slice, ...]:
        """The latents in groups; the loss is the mean over groups of the error of what latents up to there give."""
        return (slice(0, latents),)


def check_numbers(name: str, value: Any, least: float = 0, *, above: bool = False) -> None:
    """Refuse a ``value`` that is neither a finite number >= (or ``above``) ``least`` nor a tuple of such."""
    for each in each_number(value):
        number = isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each)
        if not (number and (each > least if above else each >= least)):
            raise ValueError(f"{name}: expected a number {'>' if above else '>='} {least:g}, got {each}")


def each_number(value: Any) -> list[Any]:
    """The numbers that a ``value`` is or holds, as Python has them."""
    held = value if isinstance(value, tuple | list) else (value,)
    return [number for each in held for number in np.atleast_1d(each).tolist()]


def each_model(value: Any, n_models: int) -> Tensor:
    """A value for all or a value each: [model]. Raises ``ValueError`` for another number of them."""
    values = torch.tensor(value)
    if values.numel() not in (1, n_models):
        raise ValueError(f"kind: expected one value, or one for each of {n_models} models, got {values.numel()}")
    return values.expand(n_models)
