"""Bars of arms: one measure of every hidden layer of a regime, with intervals, in one order and in its colours."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from toymodels.figures.colours import Colour, colour_of, ink, shade
from toymodels.figures.reaches import reach
from toymodels.hypotheses.arms import LN_ONLY, MAIN, WITHOUT_NORM

ORDER = (WITHOUT_NORM[0], WITHOUT_NORM[1], WITHOUT_NORM[2], *LN_ONLY, MAIN)


def of_first_eps(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of every regime at the eps that it has first."""
    return {str(name): rows[rows["eps"] == rows["eps"].iloc[0]] for name, rows in table.groupby("regime", sort=False)}


def order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows, an arm each, as they are drawn: without LayerNorm first, SoLU + LN last."""
    place = {arm: k for k, arm in enumerate(ORDER)}
    return rows.sort_values("arm", key=lambda arms: arms.map(place).fillna(len(place)), kind="stable")


def bars(axis: Axes, rows: pd.DataFrame) -> None:
    """A horizontal bar an arm from ``rows`` with ``arm``, ``mean``, ``low`` and ``high``; lighter without LayerNorm."""
    rows = order(rows)
    arms, means = list(rows["arm"]), rows["mean"]
    axis.barh(arms, means, color=[arm_colour(arm) for arm in arms], alpha=0.85)
    axis.errorbar(means, arms, xerr=reach(rows), fmt="none", ecolor=ink(0.8), elinewidth=1)


def arm_colour(arm: str) -> Colour:
    """The colour of an arm by its name, lighter without LayerNorm."""
    return shade(colour_of(arm), bool(arm.partition(" ")[2]))
