"""Findings: one statistic at one setting of the analysis, its interval, and what that says against the margin.

Exploratory regimes are judged by p-values that are corrected for how many there are (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import binom, binomtest
from scipy.stats import t as student
from torch import Tensor

from toymodels.hypotheses.statistics.intervals import TAIL, Status, bootstrap_interval, holm

FEWEST_FOR_MOST = 6
"""With fewer seeds a binomial test cannot say what holds in most models."""


@dataclass(frozen=True)
class Finding:
    """One statistic at one setting: its mean over ``n`` seeds, its interval, and what that says against the margin.

    ``reason`` is why there is none, or what a reader must know of it.
    """

    kind: str
    mean: float
    low: float
    high: float
    n: int
    margin: float
    p_above: float
    """one-sided p of "at most the margin"; of exploratory regimes Holm-corrected over them"""
    p_below: float
    status: Status
    reason: str = ""


def unknown(kind: str, margin: float, reason: str) -> Finding:
    """The finding of a statistic that could not be computed, and why: undetermined, of no seeds."""
    nan = float("nan")
    return Finding(kind, nan, nan, nan, 0, margin, 1.0, 1.0, Status.UNDETERMINED, reason)


def from_seeds(kind: str, numbers: Tensor, margin: float, where: Tensor | None = None) -> Finding:
    """What one number a seed [seed], or one a seed and control [seed, control], says against a margin; of the seeds
    ``where``, bool [seed], of all if None.

    Beyond the largest control is beyond every one: supported if it is so against each, not supported if one control's
    interval lies below the margin, at a level divided by how many controls there are. The largest of three noisy
    controls, seed by seed, would be too large on average, and "not supported" too easy. What is shown is against the
    control that leaves least. A control that is defined in under half as many seeds as the best-defined one does not
    count.
    """
    numbers = numbers.double() if numbers.dim() == 2 else numbers.double()[:, None]
    if where is not None:
        numbers = torch.where(where[:, None], numbers, torch.nan)
    there = numbers.isfinite().sum(0)
    columns = [k for k in range(numbers.shape[1]) if 2 * there[k] >= there.max() and there[k] > 0] or [0]
    each = [bootstrap_interval(numbers[:, k].numpy()) for k in columns]
    least = min(each, key=lambda found: found.mean)
    above = max(found.p_above(margin) for found in each)
    below = min(1.0, len(each) * min(found.p_below(margin) for found in each))
    undecided = Status.UNDETERMINED
    return judged(Finding(kind, least.mean, least.low, least.high, least.n, margin, above, below, undecided))


def from_jackknife(kind: str, mean: float, low: float, high: float, n: int, margin: float) -> Finding:
    """What an estimate from all ``n`` seeds at once says against a margin, by its interval (Student's t)."""
    if not np.isfinite([low, high]).all():
        reason = "too few seeds, or a tier is empty"
        return Finding(kind, mean, low, high, n, margin, 1.0, 1.0, Status.UNDETERMINED, reason)
    error = (high - mean) / student.ppf(1 - TAIL, n - 1)
    t = (mean - margin) / max(error, 1e-300)
    above, below = float(student.sf(t, n - 1)), float(student.cdf(t, n - 1))
    return judged(Finding(kind, mean, low, high, n, margin, above, below, Status.UNDETERMINED))


def from_most(kind: str, there: Tensor) -> Finding:
    """What seeds say of "it is so in most models", ``there`` bool [seed]: the share of seeds in which it is so, against
    1/2.

    An exact binomial test over seeds, with the interval of Clopper and Pearson (1934). Of fewer than
    `FEWEST_FOR_MOST` seeds nothing can follow; of six to eight all must agree; of sixteen, thirteen.
    """
    n, k = len(there), int(there.sum())
    if n == 0:
        return unknown(kind, 0.5, "no seeds")
    interval = binomtest(k, n).proportion_ci(1 - 2 * TAIL)
    above, below = float(binom.sf(k - 1, n, 0.5)), float(binom.cdf(k, n, 0.5))
    return judged(Finding(kind, k / n, interval.low, interval.high, n, 0.5, above, below, Status.UNDETERMINED))


def judged(finding: Finding) -> Finding:
    """The finding with the status that its p-values give: the interval excludes the margin where a p is below .025, and
    p-values, unlike intervals, can be corrected for how many there are."""
    supported, not_supported = finding.p_above < TAIL, finding.p_below < TAIL
    status = Status.SUPPORTED if supported else Status.NOT_SUPPORTED if not_supported else Status.UNDETERMINED
    return replace(finding, status=status)


def corrected(regimes: Sequence[dict[str, dict[str, Finding]]]) -> list[dict[str, dict[str, Finding]]]:
    """The findings of exploratory regimes at one setting, by prediction and kind of statistic, with their p-values
    Holm-corrected over the regimes that have them, and judged anew."""
    out: list[dict[str, dict[str, Finding]]] = [{key: dict(kinds) for key, kinds in of.items()} for of in regimes]
    for key, kind in dict.fromkeys((key, kind) for of in regimes for key, kinds in of.items() for kind in kinds):
        places = [place for place, of in enumerate(regimes) if kind in of.get(key, {})]
        each = [regimes[place][key][kind] for place in places]
        above, below = holm([f.p_above for f in each]), holm([f.p_below for f in each])
        for place, finding, up, down in zip(places, each, above, below, strict=True):
            adjusted = replace(finding, p_above=up, p_below=down)
            out[place][key][kind] = adjusted if finding.reason else judged(adjusted)
    return out
