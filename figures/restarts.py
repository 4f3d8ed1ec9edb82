"""Restarts: models that differ in their seed alone, the best of which a figure shows, and how good that one is."""

from __future__ import annotations

import math

import pandas as pd


def best(restarts: pd.DataFrame) -> pd.Series:
    """The model of the least population loss where all of them have one, else of the least loss on fresh samples."""
    exact = "loss_exact" in restarts and restarts["loss_exact"].notna().all()
    return restarts.sort_values("loss_exact" if exact else "loss", kind="stable").iloc[0]


def loss_fraction(model: pd.Series) -> str:
    """``0.2``, or with its standard error, and no digit beyond that error's first, ``0.203 ± 0.004``."""
    fraction, loss, error = model["loss_fraction"], model["loss"], model.get("loss_error")
    if error is None or not (error > 0 and loss > 0 and fraction > 0):
        return f"{fraction:.2g}"
    error *= fraction / loss
    digits = max(0, -math.floor(math.log10(error)))
    return f"{fraction:.{digits}f} ± {error:.{digits}f}".replace(" ", "\N{NO-BREAK SPACE}")
