"""Agreement: Cohen's kappa of two judges of the same things, with its interval.

    kappa = (p_o - p_e) / (1 - p_e),    p_o = sum_i p_ii,    p_e = sum_i p_i. p_.i

p_ij the share of things that the first judge puts into category i and the second into j. 1: they agree on
everything; 0: as often as chance has them agree (Cohen 1960, *A coefficient of agreement for nominal scales*). The
standard error is that of large samples, by the delta method of the multinomial distribution (Fleiss, Cohen and
Everitt 1969):

    N se^2 = sum_ij p_ij g_ij^2 - (sum_ij p_ij g_ij)^2,    g_ij = d kappa / d p_ij
           = [i = j] / (1 - p_e) - (p_j. + p_.i) (1 - p_o) / (1 - p_e)^2

and the interval kappa ± 1.96 se, within -1 and 1. It is of things judged independently; where judges agree on
everything it has no width, which few things do not warrant.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.stats import norm

from toymodels.hypotheses.statistics.intervals import TAIL, Interval


def cohens_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> Interval:
    """Kappa of two judges' categories of the same things, its interval, and of how many.

    NaN, from -inf to inf, where it is undefined: of nothing, or where both put everything into one and the same
    category. Raises ``ValueError`` where they did not judge equally many.
    """
    if len(first) != len(second):
        raise ValueError(f"expected as many judgements of the second as of the first, {len(first)}, got {len(second)}")
    n, categories = len(first), list(dict.fromkeys([*first, *second]))
    place = {category: i for i, category in enumerate(categories)}
    table = np.zeros((len(categories), len(categories)))
    for one, other in zip(first, second, strict=True):
        table[place[one], place[other]] += 1
    p = table / max(n, 1)
    rows, columns = p.sum(1), p.sum(0)
    observed, expected = float(np.trace(p)), float(rows @ columns)
    if n == 0 or len(categories) == 1:
        return Interval(math.nan, -math.inf, math.inf, n)
    kappa = (observed - expected) / (1 - expected)
    slope = np.eye(len(p)) / (1 - expected)
    slope -= (rows[None, :] + columns[:, None]) * (1 - observed) / (1 - expected) ** 2
    variance = max(0.0, float((p * slope**2).sum() - (p * slope).sum() ** 2))
    half = float(norm.ppf(1 - TAIL)) * math.sqrt(variance / n)
    return Interval(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), n)
