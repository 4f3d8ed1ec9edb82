"""Taking a feature away: what a layer would have read without it.

Features of a toy model are numbers, and one is taken away by making it 0. What a transformer's layer reads is a vector
in which nobody put features one by one, so that it has to be said what it means to take one away:

    Counterfactual   what the layer reads of the text as it would have been without it: exact, where a text has causes
    Means            x - (E[x | active] - E[x | not active]): what goes with the feature goes with it
    Projection       x - d d' (x - E x), d of length 1: nothing is left of a direction but its mean
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from toymodels.examples import Examples


class Taking(ABC):
    """How features are taken out of what layers read. A subclass is a frozen dataclass of tensors [model, ...]."""

    @abstractmethod
    def __call__(self, x: Tensor, feature: Tensor, sample: Tensor) -> Tensor:
        """x [1, input, pair] of a single layer, each of its columns without its ``feature``; ``sample`` is which of the
        layer's samples it is: int64 [pair] both."""

    def __getitem__(self, models: slice) -> Self:
        each = {field.name: getattr(self, field.name)[models] for field in dataclasses.fields(self)}  # pyright: ignore[reportArgumentType]
        return type(self)(**each)


@dataclass(frozen=True)
class Means(Taking):
    """The difference of the means of x with and without a feature is subtracted."""

    difference: Tensor
    """[model, input, feature]"""

    @staticmethod
    def of(data: Examples) -> Means:
        """The differences in these samples; 0 for a feature that is always or never active in them."""
        active = data.active.double()
        count, x = active.sum(2)[:, None], data.x.double()
        others = x.shape[2] - count
        with_it = x @ active.transpose(1, 2)
        varies = (count > 0) & (others > 0)
        difference = with_it / count.clamp(min=1) - (x.sum(2, keepdim=True) - with_it) / others.clamp(min=1)
        return Means(torch.where(varies, difference, 0.0).to(data.x))

    def __call__(self, x: Tensor, feature: Tensor, sample: Tensor) -> Tensor:
        return x - self.difference[:, :, feature]


@dataclass(frozen=True)
class Projection(Taking):
    """What x has of a direction beyond its mean is subtracted."""

    directions: Tensor
    """[model, input, feature], of length 1"""
    mean: Tensor
    """E x, [model, input]"""

    def __call__(self, x: Tensor, feature: Tensor, sample: Tensor) -> Tensor:
        d = self.directions[:, :, feature]
        return x - d * (d * (x - self.mean[:, :, None])).sum(1, keepdim=True)


@dataclass(frozen=True)
class Counterfactual(Taking):
    """x is what the layer reads where the feature never was; only asked for where the feature is active."""

    x: Tensor
    """[model, pair, input], of so many pairs of feature and sample"""
    place: Tensor
    """int32 [model, feature, sample]: which pair it is; -1 where nothing is known"""

    def __call__(self, x: Tensor, feature: Tensor, sample: Tensor) -> Tensor:
        place = self.place[0, feature, sample].long()
        if (place < 0).any():
            raise ValueError("expected pairs of a feature and a sample in which it is active, got others")
        return self.x[:, place].transpose(1, 2)
