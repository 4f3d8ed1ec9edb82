"""Effective width: as good as a reference model of what width is a model? (P5)

l(m) is the mean over seeds of the log loss of a reference arm of m neurons, GeLU. Its fit f is the function that never
rises and is nearest to l in least squares (isotonic regression; Barlow, Bartholomew, Bremner, Brunk 1972); between the
widths it is straight in log loss against log width, so that a power law, L = a m^-b, is fitted exactly. An arm of m
neurons with mean log loss l has the

    equivalent width  w = f^-1(l),    and is as good as a reference model    x = 1 - w / m    smaller.

* *Flat stretches.* Where f is level at l, any width of the stretch is as good: w is the one nearest to m, so that no
  difference is claimed that the fit does not show. A loss a hair above or below lies at the stretch's one end or other.
* *Out of range.* A loss above f at the narrowest reference, or below f at the widest, is censored and never
  extrapolated: w is 0 or infinite, x is 1 or -infinity, which say on which side. Ends of intervals are censored
  likewise. In a mean over widths x counts as at that end of the range, which is nearer to 0 than it is.
* *Intervals.* Seeds are resampled with replacement, the same ones for the reference and every arm, as models of equal
  seed see the same data; the reference is fitted anew in each resample. The ends are quantiles of x over resamples,
  which order alone decides, so that censored ones count. They leave out Phi(-sqrt(n / (n - 1)) t_{.975, n-1}) on either
  side instead of 2.5 %: with few seeds the bootstrap is too narrow by that much (Hesterberg 2015, *What Teachers Should
  Know About the Bootstrap*, section 5.3).

Elhage et al. 2022, *Softmax Linear Units*, say that SoLU costs as much as a model 30 to 50 % smaller, larger models
more, and that a LayerNorm after it wins this back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import norm
from scipy.stats import t as student

from toymodels.hypotheses.statistics.intervals import FEWEST_SEEDS, TAIL, Interval, resamples

LEVEL_WITH = 1e-12
"""log losses that differ by no more are equal: it is what rounding does to them"""
FEWEST_WIDTHS = 2
"""of the reference, and of an arm that has a trend"""


@dataclass(frozen=True)
class Losses:
    """An arm's losses by width."""

    widths: np.ndarray
    """how many neurons, ascending, [width]"""
    losses: np.ndarray
    """above 0 and finite, [seed, width]"""

    def __post_init__(self) -> None:
        if self.losses.ndim != 2 or self.losses.shape[1] != len(self.widths) or not self.losses.size:
            raise ValueError(f"expected losses [seed, width] of {len(self.widths)} widths, got {self.losses.shape}")
        if not (np.isfinite(self.losses).all() and (self.losses > 0).all()):
            raise ValueError("expected losses above 0 and finite: their logarithms are compared")
        if not (np.diff(self.widths, prepend=0) > 0).all():
            raise ValueError(f"expected widths above 0 in ascending order, got {list(self.widths)}")

    @cached_property
    def means(self) -> np.ndarray:
        """The mean log loss over all seeds, in row 0, and over the seeds of every resample: [1 + resample, width]."""
        log = np.log(self.losses)
        if len(log) < FEWEST_SEEDS:
            return log.mean(0, keepdims=True)
        return np.concatenate([log.mean(0, keepdims=True), log[resamples(len(log))].mean(1)])


def non_increasing(log_losses: np.ndarray) -> np.ndarray:
    """The isotonic fit of each row of mean log losses, [row, width] of ascending widths: a row that never rises stays
    as it is."""
    fitted = log_losses.copy()
    for row in np.flatnonzero((np.diff(log_losses, axis=1) > 0).any(1)):
        fitted[row] = isotonic_regression(log_losses[row], increasing=False).x
    return fitted


def equivalent_widths(widths: np.ndarray, fitted: np.ndarray, log_losses: np.ndarray, near: np.ndarray) -> np.ndarray:
    """w of each log loss [row, arm width] under the reference's fit [row, width] of the same row: [row, arm width].

    ``near`` [arm width]: of a flat stretch the width nearest to this one. 0 and infinity are out of range, on the side
    of narrower and of wider models.
    """
    u = np.log(widths)
    apart = log_losses[:, None, :] - fitted[:, :, None]
    apart[np.abs(apart) <= LEVEL_WITH] = 0.0
    worse, as_bad = (apart < 0).sum(1), (apart <= 0).sum(1)  # how many of the reference have more, and no less, loss
    ends = []
    for last in (worse - 1, as_bad - 1):  # the piece between this width and the next, on which the loss is met
        piece = last.clip(0, len(u) - 2)
        top, bottom = (np.take_along_axis(fitted, piece + step, 1) for step in (0, 1))
        fall = np.where(top > bottom, top - bottom, 1.0)
        share = np.where(top > bottom, (top - log_losses) / fall, 0.0).clip(0, 1)
        # What is met at the narrowest width has no piece before it, what is met at the widest none after it.
        share = np.where(last < 0, 0.0, np.where(last > len(u) - 2, 1.0, share))
        ends.append(np.exp(u[piece] + share * np.diff(u)[piece]))
    found = np.clip(near, *ends)
    return np.where(as_bad == 0, 0.0, np.where(worse == len(u), np.inf, found))


@dataclass(frozen=True)
class Reference:
    """The arm that others are compared with, and its fit."""

    of: Losses

    def __post_init__(self) -> None:
        if len(self.of.widths) < FEWEST_WIDTHS:
            raise ValueError(f"a reference needs {FEWEST_WIDTHS} widths at least, got {list(self.of.widths)}")

    @cached_property
    def fitted(self) -> np.ndarray:
        """f at the reference's widths, log loss: [1 + resample, width]."""
        return non_increasing(self.of.means)

    def smaller(self, arm: Losses) -> Smaller:
        """How much smaller the reference models are that are as good as the arm's. Raises ``ValueError`` where their
        seeds are not equally many."""
        if len(arm.losses) != len(self.of.losses):
            raise ValueError(f"expected {len(self.of.losses)} seeds, those of the reference, got {len(arm.losses)}")
        w = equivalent_widths(self.of.widths, self.fitted, arm.means, arm.widths)
        least, most = (1 - self.of.widths[end] / arm.widths for end in (-1, 0))
        return Smaller(arm.widths, 1 - w / arm.widths, least, most, len(arm.losses))


@dataclass(frozen=True)
class Smaller:
    """x = 1 - w / m of an arm: a reference model 100 x % smaller is as good; below 0 it is larger."""

    widths: np.ndarray
    """m, [width]"""
    x: np.ndarray
    """of all seeds in row 0, and of every resample: [1 + resample, width]; 1 and -infinity are censored"""
    least: np.ndarray
    """x at the reference's widest model, below which it is censored, [width]"""
    most: np.ndarray
    """x at the reference's narrowest, [width]"""
    seeds: int

    def at(self, place: int) -> Interval:
        """x at the width of this place; an end or the mean may be 1 or -infinity, out of range."""
        return interval(self.x[:, place], self.seeds)

    @cached_property
    def inside(self) -> np.ndarray:
        """The widths at which x and both ends of its interval are within the reference's range: bool [width]."""
        ends = [self.at(place) for place in range(len(self.widths))]
        # With too few seeds the ends are not known, and nothing is said of them.
        return np.array([all(-math.inf < e < 1 for e in (each.mean, each.low, each.high) if e == e) for each in ends])

    def mean(self) -> Interval:
        """The mean of x over all widths, what is out of range counted as at its end."""
        return interval(self.x.clip(self.least, self.most).mean(1), self.seeds)

    def less_than(self, other: Smaller) -> Interval:
        """By how much x is less than the ``other`` arm's, of the same seeds, on average over the widths of both; what
        is out of range is counted as at its end.

        What LayerNorm wins back, of the arm that has one and the arm that has none.
        """
        both = np.intersect1d(self.widths, other.widths)
        if not len(both):
            return interval(np.full(len(self.x), np.nan), self.seeds)
        mine, theirs = (of.x.clip(of.least, of.most)[:, np.isin(of.widths, both)].mean(1) for of in (self, other))
        return interval(theirs - mine, self.seeds)

    def trend(self) -> Interval:
        """By how much x grows for each doubling of m: the least-squares slope on log2 m over the widths `inside`."""
        u, x = np.log2(self.widths[self.inside]), self.x[:, self.inside]
        if len(u) < FEWEST_WIDTHS:
            return interval(np.full(len(x), np.nan), self.seeds)
        centred = u - u.mean()
        # A resample in which one of them is out of range has no slope: as its interval is inside, hardly any is.
        within = np.where((x < 1) & np.isfinite(x), x, np.nan)
        return interval(within @ centred / (centred @ centred), self.seeds)


def interval(values: np.ndarray, seeds: int) -> Interval:
    """The value of all seeds, in place 0 of ``values``, with the quantiles of the resamples' values that make a 95 %
    interval of so many ``seeds``.

    NaN, a resample in which the value is undefined, is left out; ends are NaN where there is no interval.
    """
    mean, drawn = float(values[0]), np.sort(values[1:][~np.isnan(values[1:])])
    if seeds < FEWEST_SEEDS or math.isnan(mean) or not len(drawn):
        return Interval(mean, math.nan, math.nan, seeds)
    tail = norm.cdf(-math.sqrt(seeds / (seeds - 1)) * student.ppf(1 - TAIL, seeds - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
    return Interval(mean, float(low), float(high), seeds)


def complete(losses: Sequence[np.ndarray]) -> np.ndarray:
    """The seeds of which every model of every arm, [seed, width] each, has a loss above 0: bool [seed]."""
    return np.all([(np.isfinite(each) & (each > 0)).all(1) for each in losses], axis=0)
