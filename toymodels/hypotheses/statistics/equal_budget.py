"""Equal budgets: what a layer of another kind would have shown at the same cost.

Layers of one kind are trained at a few widths, each of which has a budget (`toymodels.metrics.budget`); between two of
them a measure is taken to be linear in the logarithm of the budget, seed by seed. Nothing is said beyond the narrowest
and the widest: what lies outside is NaN, and counted as left out.
"""

from __future__ import annotations

import numpy as np


def at_budget(budgets: np.ndarray, values: np.ndarray, wanted: float) -> np.ndarray:
    """The measure at the budget ``wanted``, of each seed: float64 [seed].

    ``budgets`` [width] are above 0 and all different, in any order; ``values`` [width, seed]. A seed that lacks one of
    the two widths that are needed is NaN. Raises ``ValueError`` for budgets that are equal.
    """
    order = np.argsort(budgets)
    budgets, values = np.asarray(budgets, np.float64)[order], np.asarray(values, np.float64)[order]
    if (np.diff(budgets) <= 0).any():
        raise ValueError(f"budgets: expected different ones, got {budgets.tolist()}")
    if not budgets[0] <= wanted <= budgets[-1]:
        return np.full(values.shape[1], np.nan)
    above = int(np.searchsorted(budgets, wanted))
    if budgets[above] == wanted:
        return values[above]
    below = above - 1
    share = np.log(wanted / budgets[below]) / np.log(budgets[above] / budgets[below])
    return values[below] + share * (values[above] - values[below])
