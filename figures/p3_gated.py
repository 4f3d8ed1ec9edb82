"""P3: the effect of a feature alone, against its effect in the company of one of the other tier, an arm a panel.

On the dashed line company changes nothing. Two tiers would show in SoLU + LN as the hidden tier far below the line and
the neuron tier on it, and in the controls less so: LayerNorm alone makes every effect smaller in company.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from toymodels.figures.regime import diagonal, legend_of_tiers, panels, scatter, shown
from toymodels.hypotheses.arms import PLAIN
from toymodels.sweeps.results.reading import Run


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has no verdict yet."""
    what = shown(run, __name__)
    figure, axes = panels([arm for arm in what.arms if arm != PLAIN], what.title, height=2.7)
    rows = what.rows.assign(
        in_company=np.where(what.rows["tier"] == "hidden", what.rows.effect_with_neuron, what.rows.effect_with_hidden)
    )
    rows = rows[rows["tier"] != "lost"].dropna(subset=["effect_alone", "in_company"])
    low, high = np.quantile(rows[["effect_alone", "in_company"]], [0, 1]) if len(rows) else (0, 1)
    for arm, axis in axes.items():
        if rows.empty:
            axis.text(0.5, 0.9, "no features to compare", ha="center", transform=axis.transAxes, fontsize=7)
        scatter(axis, rows[rows["arm"] == arm], "effect_alone", "in_company")
        diagonal(axis, low, high)
        axis.set(xlim=(low - 0.05, high + 0.05), ylim=(low - 0.05, high + 0.05))
    figure.supxlabel("effect on its own output, alone", fontsize=9)
    figure.supylabel("in company of the other tier", fontsize=9)
    legend_of_tiers([*axes.values()][-1])
    return figure
