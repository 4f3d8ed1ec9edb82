"""Hartigan's dip of samples in order. `toymodels.hypotheses.statistics.dip` says what it is.

The search narrows the interval in which the mode lies (Hartigan and Hartigan 1985, section 4). On it, the empirical
distribution has a greatest convex minorant of the feet of its steps and a least concave majorant of their tops. Where
these two are furthest apart, the next interval lies; what is left of it must be convex, what is right of it concave,
and how far the steps there are from being so is the dip, once the two curves are nowhere further apart than that.
"""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import function, kernel


@kernel
def fill_dips(values, counts, out):
    """``out[row]`` = the dip of the first ``counts[row]`` numbers of ``values[row]``, which are in order; float64."""
    width = values.shape[1]
    x, foot, top = np.empty(width), np.empty(width), np.empty(width)
    below, above = np.empty(width), np.empty(width)
    below_corner, above_corner = np.empty(width, np.bool_), np.empty(width, np.bool_)
    corners = np.empty(width, np.int64)
    for row in range(len(values)):
        first, last, twice = 0, _steps(values[row], counts[row], x, foot, top) - 1, 0.0
        while first < last:
            _hull(first, last, x, foot, 1.0, corners, below_corner, below)
            _hull(first, last, x, top, -1.0, corners, above_corner, above)
            apart, place = -1.0, first
            for u in range(first, last + 1):
                if (below_corner[u] or above_corner[u]) and above[u] - below[u] > apart:
                    apart, place = above[u] - below[u], u
            new_first = new_last = place
            while not below_corner[new_first]:
                new_first -= 1
            while not above_corner[new_last]:
                new_last += 1
            if apart <= twice or (new_first == first and new_last == last):
                break
            for u in range(first, new_first):
                twice = max(twice, top[u] - below[u])
            for u in range(new_last + 1, last + 1):
                twice = max(twice, above[u] - foot[u])
            first, last = new_first, new_last
        out[row] = twice / 2


@function
def _steps(values, count, x, foot, top):
    """The empirical distribution: at ``x`` it rises from ``foot`` to ``top``; returns how many steps there are."""
    n = 0
    for k in range(count):
        if n == 0 or values[k] != x[n - 1]:
            x[n], foot[n] = values[k], k / count
            n += 1
        top[n - 1] = (k + 1) / count
    return n


@function
def _hull(first, last, x, y, sign, corners, is_corner, out):
    """The convex minorant (``sign`` 1) or concave majorant (-1) of the points, at each of them, and its corners."""
    size = 0
    for u in range(first, last + 1):
        while size > 1:
            a, b = corners[size - 2], corners[size - 1]
            if sign * (y[b] - y[a]) * (x[u] - x[a]) < sign * (y[u] - y[a]) * (x[b] - x[a]):
                break
            size -= 1
        corners[size] = u
        size += 1
    for u in range(first, last + 1):
        is_corner[u] = False
    for k in range(size - 1):
        a, b = corners[k], corners[k + 1]
        for u in range(a, b):
            out[u] = y[a] + (y[b] - y[a]) * (x[u] - x[a]) / (x[b] - x[a])
    out[last] = y[last]
    for k in range(size):
        is_corner[corners[k]] = True
