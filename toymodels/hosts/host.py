"""Host: a layer of neurons whose features are known, which is all that a measure asks of a model.

    taps         pre, mid, post, read-out and out of x, under interventions
    scale        what LayerNorm subtracts from mid, and what it multiplies the rest with
    examples     x, what there is to be said of it, and which features are active in it
    moments      means over examples, of which most measures are made
    without      the layer's examples with one feature taken away
    responses    how far each feature moves each neuron

Models of this package are hosts (`toymodels.hosts.models`), and so is the MLP layer of a transformer: x is then what
the layer reads, and the features are what somebody knows of it. What is done to x is one bottleneck's arithmetic in
either case, so a host is that, its parameters, and data. A host has the leading axis ``model``: so many layers of one
architecture at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Hidden, Parameters, Taps
from toymodels.engines.autograd import moments, rotated
from toymodels.examples import Examples
from toymodels.losses import Loss, Squared
from toymodels.surgery.interventions import Intervention
from toymodels.surgery.operating import norm_statistics, operate

NUMBERS_AT_ONCE = 2**24
"""Numbers of one array that a slice of layers may take."""


class Host(ABC):
    """Layers of one architecture, and the data that says what they should show. See the module."""

    parameters: Parameters
    """each with the leading axis ``model``"""

    @property
    @abstractmethod
    def bottleneck(self) -> Bottleneck:
        """What is done to x: the activation, the LayerNorm, the output."""

    @property
    @abstractmethod
    def n_targets(self) -> int:
        """How many numbers there are to be said of x."""

    @property
    @abstractmethod
    def of_features(self) -> bool:
        """Whether target i is of feature i alone."""

    @abstractmethod
    def examples(self, first: int, samples: int) -> Examples:
        """The ``samples`` samples from ``first`` on, a multiple of 4, in the precision of the parameters: the same
        whenever they are asked for."""

    @abstractmethod
    def without(self, examples: Examples, pre: Tensor, feature: Tensor, sample: Tensor) -> Tensor:
        """pre [1, hidden, pair] of a single layer's ``examples`` with a feature taken away: of each pair of ``feature``
        and ``sample``, int64 [pair] both. ``pre`` [1, hidden, batch] is with all features."""

    @abstractmethod
    def response_sizes(self) -> Tensor:
        """How far each feature moves each neuron at mid, whatever the sign: [model, hidden, feature]."""

    @abstractmethod
    def directions(self, tap: str) -> Tensor:
        """What each feature does to a tap, [model, hidden, feature]; of `signed` features [model, hidden, 2 x feature],
        the positive sides first."""

    @abstractmethod
    def rest(self) -> Hidden:
        """The layer where there is nothing to be said: [model, hidden, 1] at each tap."""

    @abstractmethod
    def changed(
        self,
        parameters: Parameters,
        bottleneck: Callable[[Bottleneck], Bottleneck] | None = None,
        *,
        loss: Loss | None = None,
    ) -> Self:
        """The same data through layers with other ``parameters``; and of another architecture, where ``bottleneck``
        makes one of theirs, or with another ``loss``."""

    @abstractmethod
    def __getitem__(self, part: slice) -> Self:
        """Some of the layers."""

    def __len__(self) -> int:
        return len(self.parameters.W_in)

    @property
    def cost(self) -> Loss:
        """What an error costs."""
        return Squared()

    @property
    def importance(self) -> Tensor:
        """What an error in each target costs, float64 [model, target]."""
        return torch.ones(len(self), self.n_targets, dtype=torch.float64)

    @property
    def signed(self) -> bool:
        """Whether a feature can be below 0, and so has two sides."""
        return False

    @property
    def binary(self) -> bool:
        """Whether every target is 0 or 1."""
        return True

    def stated_constant_loss(self) -> Tensor | None:
        """The loss of the best constant read-out, float64 [model], where it is known without samples."""
        return None

    def taps(self, x: Tensor, *interventions: Intervention) -> Taps:
        """The forward pass on x [model, input, batch] under interventions."""
        return operate(self.bottleneck, self.parameters, x, *interventions)

    def scale(self, mid: Tensor) -> tuple[Tensor, Tensor]:
        """The live LayerNorm's mean over neurons of mid [model, hidden, batch], and 1 / sqrt(var + eps), each [model,
        1, batch]. Raises ``ValueError`` where there is no LayerNorm."""
        return norm_statistics(self.bottleneck, self.parameters, mid)

    def moments(self, edges: Sequence[int]) -> list[dict[str, Tensor]]:
        """Sums over the examples between two ``edges`` each, as `toymodels.engines.Engine.moments` has them."""
        of = (self.bottleneck, self.parameters, self.cost, self.importance)
        return moments.sums_of(*of, self.examples, edges)

    def rotated_r2(self, rotations: Tensor, first: int, samples: int) -> Tensor:
        """R^2 of single neurons of rotated layers, as `toymodels.engines.Engine.rotated_r2` has it."""
        return rotated.r2_of(self.bottleneck, self.parameters, self.examples, rotations, first, samples)

    def batches(self, first: int, samples: int, size: int) -> Iterator[Examples]:
        """The ``samples`` samples from ``first`` on, ``size`` at a time, the last so many as are left."""
        for start in range(0, samples, size):
            yield self.examples(first + start, min(size, samples - start))

    def slices(self, samples: int) -> Iterator[Self]:
        """The layers in parts whose arrays [model, feature, sample] stay small, whatever their number."""
        size = max(1, NUMBERS_AT_ONCE // (max(self.n_targets, self.bottleneck.hidden) * samples))
        yield from (self[start : start + size] for start in range(0, len(self), size))
