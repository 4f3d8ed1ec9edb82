"""Jumps: where a series that is followed over training goes quickly from one level to another.

    c(s) = v(WINDOW s) - v(s),    s the step, v linear in log s between the steps at which it is known

Training is looked at in log s, in which a window has one length wherever it lies. The window at s holds a jump if

    |c(s)| >= height,    |c(s)| >= TIMES max(|c(s / WINDOW^2)|, |c(WINDOW^2 s)|)

so that v is quieter in the windows before and after, from which it is one window apart: a jump may have flanks. A
straight line in log s has no jump, nor has an exponential approach 1 - exp(-s / a), whose fastest window moves 1.2
times as far as the two that it is compared with. Of windows that overlap, the one with the largest |c| is taken.

Elhage et al. 2022 describe the dimensionalities D_i of a model in training as going from level to level in such jumps,
and the loss as falling where they do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 1.3
"""the step at which a window ends over the step at which it begins"""
TIMES = 2.0
"""how many times as far as the windows before and after it a jump goes, at least"""


@dataclass(frozen=True)
class Jump:
    """One jump of one series."""

    series: int
    """which of the series it is of, counted from 0"""
    start: float
    """the step at which its window begins"""
    change: float
    """v at the end of the window minus v at its beginning"""

    @property
    def end(self) -> float:
        """The step at which its window ends."""
        return WINDOW * self.start

    def meets(self, other: Jump) -> bool:
        """Whether the windows of both have a stretch of training in common."""
        return self.start < other.end and other.start < self.end


def jumps(step: np.ndarray, values: np.ndarray, height: float) -> list[Jump]:
    """The jumps of series ``values`` [series, point] at ascending steps ``step`` [point], in the order of their steps.

    A window begins at one of these steps, and the two that it is compared with lie within them.
    """
    at, wide = np.log(np.asarray(step, np.float64)), math.log(WINDOW)
    start = at[(at - 2 * wide >= at[0] - 1e-9) & (at + 3 * wide <= at[-1] + 1e-9)]
    found = []
    for series, v in enumerate(np.asarray(values, np.float64)):
        before, change, after = (
            np.interp(start + (place + 1) * wide, at, v) - np.interp(start + place * wide, at, v)
            for place in (-2, 0, 2)
        )
        size = np.abs(change)
        jumped = (size >= height) & (size >= TIMES * np.maximum(np.abs(before), np.abs(after)))
        found += [Jump(series, math.exp(start[k]), float(change[k])) for k in _apart(start, size, jumped, wide)]
    return sorted(found, key=lambda jump: jump.start)


def share_in_jumps(step: np.ndarray, values: np.ndarray, found: Sequence[Jump]) -> float:
    """How much of the movement of all series together is that of jumps ``found`` in them; NaN where nothing moves.

    Movement is the sum of |v(end) - v(start)| over each jump and, between jumps, over windows as long as theirs: what
    goes to and fro within a window, as the noise of small batches does, does not count as movement.
    """
    at, wide = np.log(np.asarray(step, np.float64)), math.log(WINDOW)
    grid = np.append(np.arange(at[0], at[-1], wide), at[-1])
    inside = whole = 0.0
    for series, v in enumerate(np.asarray(values, np.float64)):
        own = [(math.log(jump.start), math.log(jump.end)) for jump in found if jump.series == series]
        between = [edge for edge in grid if not any(start < edge < end for start, end in own)]
        edges = np.unique([*between, *(edge for jump in own for edge in jump)])
        moved, middle = np.abs(np.diff(np.interp(edges, at, v))), (edges[1:] + edges[:-1]) / 2
        whole += moved.sum()
        inside += sum(moved[(middle > start) & (middle < end)].sum() for start, end in own)
    return float(inside / whole) if whole else math.nan


def share_met(jumps_: Sequence[Jump], others: Sequence[Jump]) -> float:
    """The share of jumps that meet one of the others, whatever series these are of; NaN of no jumps."""
    return float(np.mean([any(jump.meets(other) for other in others) for jump in jumps_])) if jumps_ else math.nan


def _apart(start: np.ndarray, size: np.ndarray, jumped: np.ndarray, wide: float) -> list[int]:
    """Of the windows that hold a jump, in the order of their sizes, those that overlap none before them."""
    chosen: list[int] = []
    for k in np.argsort(-size, kind="stable"):
        if jumped[k] and all(abs(start[k] - start[other]) >= wide - 1e-9 for other in chosen):
            chosen.append(int(k))
    return chosen
