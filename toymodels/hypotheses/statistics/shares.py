"""Shares: in how many of n independent models something is so, with the interval of Clopper and Pearson (1934), which
is exact and, with few models, wide."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binomtest

from toymodels.hypotheses.statistics.intervals import LEVEL, Interval


def share_interval(there: np.ndarray) -> Interval:
    """The share of models, bool [model], in which something is so, and its 95 % interval; NaN of no models."""
    n, k = len(there), int(np.sum(there))
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    exact = binomtest(k, n).proportion_ci(LEVEL)
    return Interval(k / n, float(exact.low), float(exact.high), n)
