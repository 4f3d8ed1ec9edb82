"""P2: how much the layer changes when a feature is taken away, at mid against post, an arm a panel.

The change at mid is about its mean over neurons, which LayerNorm takes off. Two tiers would show in SoLU
+ LN as the hidden tier well to the left of the neuron tier, and nearly as high: suppressed by SoLU, then brought back
by LayerNorm; in the controls both tiers would lie together.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from toymodels.figures.regime import legend_of_tiers, panels, scatter, shown
from toymodels.hypotheses.arms import PLAIN
from toymodels.sweeps.results.reading import Run


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has no verdict yet."""
    what = shown(run, __name__)
    figure, axes = panels([arm for arm in what.arms if arm != PLAIN], what.title, height=2.7)
    for arm, axis in axes.items():
        rows = what.of(arm)
        rows = rows[(rows["change_mid"] > 0) & (rows["change_post"] > 0) & (rows["tier"] != "lost")]
        scatter(axis, rows, "change_mid", "change_post")
        if not rows.empty:
            axis.set(xscale="log", yscale="log")
    figure.supxlabel("change at mid (about its mean over neurons) without the feature, where it is active", fontsize=9)
    figure.supylabel("change at post", fontsize=9)
    legend_of_tiers([*axes.values()][-1])
    return figure
