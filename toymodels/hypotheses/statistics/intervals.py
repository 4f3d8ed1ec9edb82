"""Intervals over seeds, and the rule that turns one into a status.

A statistic is one number a seed, already the difference of models that share seed and data. Features are crossed with
seeds, not nested in them, so seeds are what is resampled: t* = (mean* - mean) / se* over resamples with replacement,
and the interval is [mean - q_hi se, mean - q_lo se] with the quantiles q of t* (the studentised bootstrap; Efron 1979,
Davison and Hinkley 1997, section 5.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

RESAMPLES = 9999
LEVEL = 0.95
FEWEST = 4
"""seeds below which no interval is given"""


class Status(Enum):
    """What the data say of a prediction."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True)
class Interval:
    """The mean of a statistic over ``n`` seeds and its 95 % interval; with too few seeds the interval is everything."""

    mean: float
    low: float
    high: float
    n: int
    t_stars: np.ndarray
    """ordered"""
    standard_error: float

    def p_above(self, delta: float) -> float:
        """One-sided p of "the mean is at most ``delta``", by the same bootstrap."""
        return self._tail(self.mean - delta, upper=True)

    def p_below(self, delta: float) -> float:
        """One-sided p of "the mean is at least ``delta``"."""
        return self._tail(self.mean - delta, upper=False)

    def _tail(self, distance: float, upper: bool) -> float:
        if self.n < FEWEST:
            return 1.0
        if self.standard_error == 0:
            return float((distance <= 0) if upper else (distance >= 0))
        t = distance / self.standard_error
        within = np.searchsorted(self.t_stars, t, "left" if upper else "right")
        beyond = len(self.t_stars) - within if upper else within
        return float((1 + beyond) / (1 + len(self.t_stars)))


def interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The interval of one number a seed; NaN (a seed in which the statistic is undefined) is left out."""
    x = np.asarray(values, dtype=np.float64)
    x = x[np.isfinite(x)]
    n = len(x)
    if n < FEWEST:
        return Interval(float(x.mean()) if n else math.nan, -math.inf, math.inf, n, np.zeros(0), math.nan)
    mean, error = float(x.mean()), float(x.std(ddof=1) / math.sqrt(n))
    if error <= 1e-12 * max(1.0, abs(mean)):
        return Interval(mean, mean, mean, n, np.zeros(0), 0.0)
    drawn = x[_resamples(n)]
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(n)
    # A resample of one seed alone has no spread: its t is infinite, on the side of its mean.
    with np.errstate(divide="ignore", invalid="ignore"):
        t_stars = np.sort(np.nan_to_num((drawn.mean(axis=1) - mean) / errors, nan=0.0, posinf=np.inf, neginf=-np.inf))
    tail = (1 - LEVEL) / 2
    q_low, q_high = np.quantile(t_stars, [tail, 1 - tail], method="inverted_cdf")
    return Interval(mean, mean - q_high * error, mean - q_low * error, n, t_stars, error)


@lru_cache(maxsize=32)
def _resamples(n: int) -> np.ndarray:
    """The same resamples for every statistic of ``n`` seeds: one analysis, one result."""
    return np.random.default_rng(n).integers(0, n, (RESAMPLES, n))


def status(found: Interval, delta: float) -> Status:
    """*Supported* if the interval lies above ``delta``, *not supported* if below, else *undetermined*."""
    if found.low > delta:
        return Status.SUPPORTED
    return Status.NOT_SUPPORTED if found.high < delta else Status.UNDETERMINED


def all_of(statuses: Sequence[Status]) -> Status:
    """Supported if all are; not supported if any is not; else undetermined."""
    if all(each is Status.SUPPORTED for each in statuses):
        return Status.SUPPORTED
    return Status.NOT_SUPPORTED if Status.NOT_SUPPORTED in statuses else Status.UNDETERMINED


def unanimous(statuses: Sequence[Status]) -> Status:
    """The status that all settings of the analysis agree on, else undetermined."""
    return statuses[0] if len(set(statuses)) == 1 else Status.UNDETERMINED


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are (Holm 1979): the k-th smallest times (count - k), kept in order."""
    order, adjusted, largest = np.argsort(p, kind="stable"), [1.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted
