"""Examples: what a layer reads, what there is to be said of it, and which features are active in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Examples:
    """Samples of a host's own data, the last axis of each the batch."""

    x: Tensor
    """[model, input, batch]: features, or whatever else the layer reads"""
    t: Tensor
    """[model, target, batch]"""
    active: Tensor
    """bool [model, feature, batch]; where targets are of features, feature i is target i's"""
    first: int = 0
    """which of a `toymodels.hosts.layer.Layer`'s samples the first of these is; other hosts need not know"""


Source = Callable[[int, int], Examples]
"""The so many samples from the first on: the same whenever they are asked for."""
