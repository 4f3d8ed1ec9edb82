"""Reaches: how far intervals go from their means on either side, as matplotlib draws them."""

from __future__ import annotations

import pandas as pd


def reach(rows: pd.DataFrame, mean: str = "mean", low: str = "low", high: str = "high") -> list[pd.Series]:
    """From the mean of each row down to ``low`` and up to ``high``, named columns of it; 0 where there is no interval.

    Also 0 where the mean lies outside its interval, as it may where that is cut at what a number can be.
    """
    middle = rows[mean].astype(float)
    below, above = middle - rows[low].astype(float), rows[high].astype(float) - middle
    return [side.fillna(0.0).clip(lower=0.0) for side in (below, above)]
