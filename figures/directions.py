"""Directions: the columns of W_in as spokes in the plane, for models with two hidden neurons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from torch import Tensor

REACH = 1.35
"""how far a panel goes on either side of 0"""


def draw_directions(axis: Axes, W: Tensor, colours: Sequence[Any]) -> None:
    """W ``[2, feature]``: each feature from 0 to its column, in its colour; panels of one scale, ticks at -1, 0, 1."""
    for (x, y), colour in zip(W.T.tolist(), colours, strict=True):
        axis.plot([0, x], [0, y], color=colour)
        axis.plot(x, y, "o", color=colour, markersize=4)
    axis.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
