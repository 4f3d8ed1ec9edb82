"""Exponents: how a positive quantity y goes with another, x: y ~ c x^a.

a is the least-squares slope of log y on log x, exactly a for an exact power law. It is one number a seed, so its
interval is that of a mean over seeds (`toymodels.hypotheses.statistics.intervals`). That interval says nothing of
whether there is a power law: where the exponents between neighbouring x differ (`bends`), a is a chord, whose slope is
chosen with its ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

BENT = 0.5


def exponent(x: ArrayLike, y: ArrayLike) -> float:
    """a; pairs of which either is not positive and finite are left out; NaN where fewer than two x differ."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    usable = (x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y)
    if len(np.unique(x[usable])) < 2:
        return float("nan")
    along, up = np.log(x[usable]), np.log(y[usable])
    along = along - along.mean()
    return float(along @ (up - up.mean()) / (along @ along))


def bends(between: Sequence[float]) -> bool | None:
    """Whether the exponents ``between`` neighbouring x differ by more than `BENT`, so that there is no power law; NaN
    are left out, and of fewer than two nothing can be said: None."""
    known = [each for each in between if np.isfinite(each)]
    return max(known) - min(known) > BENT if len(known) > 1 else None
