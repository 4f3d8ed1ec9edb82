"""The dip: how far a sample is from having one mode.

    dip = min over unimodal G of sup_x |F(x) - G(x)|,    F the empirical distribution function

(Hartigan and Hartigan 1985, *The Dip Test of Unimodality*); G is convex up to its mode and concave beyond, and may jump
at the mode. Between 0 and 1/4. Unlike a comparison of fits with one and two components, which prefers two on unimodal
data more and more as the sample grows, it asks one question, and its null is known: uniform samples have the largest
dips among unimodal ones.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from torch import Tensor, from_numpy

from toymodels.kernels.dip import fill_dips
from toymodels.surroundings import undisturbed

MONTE_CARLO = 2000
FAR = 1e6
"""How far from each other two groups are, in standard deviations of one."""


@undisturbed
def dip(values: Tensor) -> Tensor:
    """The dip of each row's numbers, NaN left out: ``[row, number]`` -> float64 ``[row]``; 0 of none."""
    ordered = np.sort(values.double().numpy(), axis=1)  # NaN sorts last
    out = np.empty(len(ordered))
    fill_dips(ordered, np.isfinite(ordered).sum(1), out)
    return from_numpy(out)


@undisturbed
def p_values(values: Tensor) -> Tensor:
    """P(dip of as many uniform numbers >= this dip), by `MONTE_CARLO` samples a size: ``[row, number]`` -> ``[row]``.

    (1 + how many are as large) / (1 + samples), so never 0 (Davison and Hinkley 1997, section 4.2).
    """
    counts, found = values.isfinite().sum(1).tolist(), dip(values).tolist()
    larger = [int((_uniform_dips(count) >= d).sum()) for count, d in zip(counts, found, strict=True)]
    return from_numpy((1.0 + np.array(larger, dtype=np.float64)) / (1 + MONTE_CARLO))


@undisturbed
def expected_of_normals(count: int) -> float:
    """The mean dip of so many normal numbers, by `MONTE_CARLO` samples. It falls as they get more."""
    return _expected_of_groups(0, count)


@undisturbed
def expected_of_two_groups(one: int, other: int) -> float:
    """The mean dip of ``one`` and of ``other`` normal numbers in places far from each other, by `MONTE_CARLO` samples.

    It is about half the share of the smaller group, but no less than the dip that either has by chance: so of few in a
    group it is hardly more than `expected_of_normals` of them all, and may be less. 3 and 37: .001 less; 5 and 35: .016
    more.
    """
    return _expected_of_groups(min(one, other), max(one, other))


@lru_cache(maxsize=512)
def _expected_of_groups(few: int, many: int) -> float:
    count = few + many
    samples = np.random.default_rng([count, 1]).standard_normal((MONTE_CARLO, count))
    samples[:, :few] += FAR
    out = np.empty(MONTE_CARLO)
    fill_dips(np.sort(samples, axis=1), np.full(MONTE_CARLO, count), out)
    return float(out.mean())


@lru_cache(maxsize=512)
def _uniform_dips(count: int) -> np.ndarray:
    samples = np.sort(np.random.default_rng(count).random((MONTE_CARLO, count)), axis=1)
    out = np.empty(MONTE_CARLO)
    fill_dips(samples, np.full(MONTE_CARLO, count), out)
    return out
