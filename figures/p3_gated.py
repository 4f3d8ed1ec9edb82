"""P3: what company does to a feature, in its effect and in the data, an arm a column.

Above, the effect of a feature alone, against its effect in the company of one of the other tier. On the dashed line
company changes nothing. Two tiers would show in SoLU + LN as the hidden tier far below the line and the neuron tier on
it, and in the controls less so: LayerNorm alone makes every effect smaller in company. Below, R^2 of either tier (the
mean over its features, and over seeds) with so many other features of the neuron tier active: crowding lowers both
lines, a gate the hidden tier's more (at equal company: the figure `crowding`). A point needs most features of the tier:
R^2 is defined of those that chance showed often enough, which are not like the others.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodels.figures.colours import OF_TIERS, colour_of, tier_colour
from toymodels.figures.drawing import WIDTH
from toymodels.figures.regime import diagonal, legend_of_tiers, scatter, shown
from toymodels.hypotheses.arms import PLAIN
from toymodels.hypotheses.predictions.p3_gated import IN_COMPANY
from toymodels.sweeps.results.reading import Run

MOST = 0.8
"""The share of a tier's features of which R^2 has to be defined where their mean is drawn."""


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has no verdict yet."""
    what = shown(run, __name__)
    arms = [arm for arm in what.arms if arm != PLAIN]
    figure = Figure(figsize=(WIDTH, 5.0))
    axes = figure.subplots(2, len(arms), sharey="row", squeeze=False)
    figure.suptitle(what.title, fontsize=8)
    rows = what.rows.assign(
        in_company=np.where(
            what.rows["tier"] == "hidden", what.rows["effect_with_neuron"], what.rows["effect_with_hidden"]
        )
    )
    rows = rows[rows["tier"] != "lost"]
    paired = rows.dropna(subset=["effect_alone", "in_company"])
    low, high = np.quantile(paired[["effect_alone", "in_company"]], [0, 1]) if len(paired) else (0, 1)
    for arm, above, below in zip(arms, *axes, strict=True):
        if paired.empty:
            above.text(0.5, 0.9, "no features to compare", ha="center", transform=above.transAxes, fontsize=7)
        scatter(above, paired[paired["arm"] == arm], "effect_alone", "in_company")
        diagonal(above, low, high)
        above.set(xlim=(low - 0.05, high + 0.05), ylim=(low - 0.05, high + 0.05))
        above.set_title(arm, color=colour_of(arm))
        above.set_xlabel("effect alone", fontsize=8)
        _in_company(below, rows[rows["arm"] == arm])
    axes[0, 0].set_ylabel("effect in company\nof the other tier")
    axes[1, 0].set_ylabel("R², mean over\nfeatures and seeds")
    figure.supxlabel("below: other features of the neuron tier active", fontsize=9)
    legend_of_tiers(axes[0, -1])
    return figure


def _in_company(axis: Axes, rows: pd.DataFrame) -> None:
    """A line a tier: the mean over the features of each seed in which R^2 is defined, then over seeds; nothing where it
    is not of `MOST` of them."""
    for tier in OF_TIERS:
        of_tier = rows.loc[rows["tier"] == tier, ["seed", *IN_COMPANY]]
        means = of_tier.groupby("seed")[list(IN_COMPANY)].mean().mean()
        means = means.where(of_tier[list(IN_COMPANY)].notna().mean() >= MOST)
        axis.plot(range(len(IN_COMPANY)), means.to_numpy(), color=tier_colour(tier), marker="o", markersize=3)
    axis.set_xlim(-0.2, len(IN_COMPANY) - 0.8)
    axis.set_xticks(range(len(IN_COMPANY)), ["0", "1", "2", "3+"])
