"""Shares: in how many of n independent models something is so, and by how much two such shares differ.

A share's interval is that of Clopper and Pearson (1934), exact and, with few models, wide. The difference of two shares
of unpaired models has Newcombe's interval (1998, method 10), which puts together Wilson's (1927) of each:

    low = d - sqrt((a - l_a)^2 + (u_b - b)^2),    high = d + sqrt((u_a - a)^2 + (b - l_b)^2),    d = a - b
"""

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


def share_difference(first: np.ndarray, second: np.ndarray) -> Interval:
    """The share of ``first`` minus that of ``second``, bool [model] each, of models that are not paired; ``n`` is the
    smaller count. NaN where either has none."""
    if not len(first) or not len(second):
        return Interval(math.nan, math.nan, math.nan, 0)
    shares, ends = [], []
    for there in (first, second):
        n, k = len(there), int(np.sum(there))
        wilson = binomtest(k, n).proportion_ci(LEVEL, method="wilson")
        shares.append(k / n)
        ends.append((float(wilson.low), float(wilson.high)))
    (a, b), ((a_low, a_high), (b_low, b_high)) = shares, ends
    low = a - b - math.hypot(a - a_low, b_high - b)
    high = a - b + math.hypot(a_high - a, b - b_low)
    return Interval(a - b, low, high, min(len(first), len(second)))
