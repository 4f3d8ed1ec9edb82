"""Intervals of a mean over seeds at 95 %, of two kinds, and what statuses and p-values make of several of them.

*Bootstrap*, for the statistics of predictions. A statistic is one number a seed, already the difference of models that
share seed and data. Features are crossed with seeds, not nested in them, so seeds are what is resampled:
t* = (mean* - mean) / se* over resamples with replacement, and the interval is [mean - q_hi se, mean - q_lo se] with the
quantiles q of t* (the studentised bootstrap; Efron 1979, Davison and Hinkley 1997, section 5.2). Where more resamples
than an interval leaves out on a side have no spread at all, as of counts that are 0 in nearly all seeds, t* has no
quantiles, and Student's t stands in.

*Student's t*, for the measures of a summary: mean ± t_{.975, n - 1} s / sqrt(n), s the standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np
from scipy.stats import t as student

RESAMPLES = 9999
LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
"""What an interval leaves out on either side."""
FEWEST_SEEDS = 4
"""With fewer seeds the bootstrap gives no interval."""


class Status(Enum):
    """What the data say of a prediction."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True)
class Interval:
    """The mean of ``n`` values and its 95 % interval, from ``low`` to ``high``."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class StudentInterval(Interval):
    """Student's t interval, mean ± ``half_width``, which is None for a single value; it then says nothing."""

    half_width: float | None


@dataclass(frozen=True)
class BootstrapInterval(Interval):
    """The studentised bootstrap's interval, everything where there are fewer than `FEWEST_SEEDS` seeds."""

    t_stars: np.ndarray
    """the studentised means of the resamples, in ascending order"""
    standard_error: float

    def p_above(self, delta: float) -> float:
        """One-sided p of "the mean is at most ``delta``", by the same bootstrap; where no resample is as far, that of
        Student's t if it is smaller."""
        return self._tail(self.mean - delta, upper=True)

    def p_below(self, delta: float) -> float:
        """One-sided p of "the mean is at least ``delta``"."""
        return self._tail(self.mean - delta, upper=False)

    def _tail(self, distance: float, upper: bool) -> float:
        if self.n < FEWEST_SEEDS:
            return 1.0
        if self.standard_error == 0:
            return float((distance <= 0) if upper else (distance >= 0))
        t = distance / self.standard_error
        within = np.searchsorted(self.t_stars, t, "left" if upper else "right")
        beyond = len(self.t_stars) - within if upper else within
        p = float((1 + beyond) / (1 + len(self.t_stars)))
        # Where no resample is as far its p is only known to be small; by Student's t it is a number that can be
        # corrected for many regimes.
        return p if beyond else min(p, float(student.sf(t if upper else -t, self.n - 1)))


def student_interval(values: Sequence[float] | np.ndarray) -> StudentInterval | None:
    """Student's t interval of the defined values, NaN left out; None where there are none."""
    x = np.asarray(values, dtype=np.float64)
    x = x[~np.isnan(x)]
    n = len(x)
    if n == 0:
        return None
    mean = float(x.mean())
    if n == 1:
        return StudentInterval(mean, -math.inf, math.inf, n, None)
    half = float(student.ppf(1 - TAIL, n - 1) * x.std(ddof=1) / math.sqrt(n))
    return StudentInterval(mean, mean - half, mean + half, n, half)


def bootstrap_interval(values: Sequence[float] | np.ndarray) -> BootstrapInterval:
    """The bootstrap's interval of one number a seed; NaN (a seed in which the statistic is undefined) is left out."""
    x = np.asarray(values, dtype=np.float64)
    x = x[np.isfinite(x)]
    n = len(x)
    if n < FEWEST_SEEDS:
        return BootstrapInterval(float(x.mean()) if n else math.nan, -math.inf, math.inf, n, np.zeros(0), math.nan)
    mean, error = float(x.mean()), float(x.std(ddof=1) / math.sqrt(n))
    if error <= 1e-12 * max(1.0, abs(mean)):
        return BootstrapInterval(mean, mean, mean, n, np.zeros(0), 0.0)
    drawn = x[resamples(n)]
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(n)
    # A resample of equal values has no spread: its t is infinite, on the side of its mean.
    with np.errstate(divide="ignore", invalid="ignore"):
        t_stars = np.sort(np.nan_to_num((drawn.mean(axis=1) - mean) / errors, nan=0.0, posinf=np.inf, neginf=-np.inf))
    if np.isinf(t_stars).mean() > TAIL:
        t_stars = _student_quantiles(n)
    q_low, q_high = np.quantile(t_stars, [TAIL, 1 - TAIL], method="inverted_cdf")
    return BootstrapInterval(mean, mean - q_high * error, mean - q_low * error, n, t_stars, error)


@lru_cache(maxsize=32)
def _student_quantiles(n: int) -> np.ndarray:
    """As many quantiles of Student's t as there are resamples, in ascending order."""
    return student.ppf((np.arange(RESAMPLES) + 0.5) / RESAMPLES, n - 1)


@lru_cache(maxsize=32)
def resamples(n: int) -> np.ndarray:
    """Which seeds each resample takes, [resample, seed]: the same for every statistic of ``n`` seeds."""
    return np.random.default_rng(n).integers(0, n, (RESAMPLES, n))


def against(low: float, high: float, margin: float) -> Status:
    """What an interval says of "above the margin": supported above it, not supported below, undetermined across it, or
    where there is none, which is NaN to NaN."""
    return Status.SUPPORTED if low > margin else Status.NOT_SUPPORTED if high < margin else Status.UNDETERMINED


def all_of(statuses: Sequence[Status]) -> Status:
    """The status of several claims together: supported if all are; not supported if any is not; else undetermined."""
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
