"""P1: the null percentile of recovered features' response alignment, an arm a panel.

Under the null, a random rotation of the same hidden layer, percentiles are uniform: the dashed line. Two tiers would
show in SoLU + LN as a peak at 100 beside features spread like the null, and in no control.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from toymodels.figures.regime import ARM_COLOURS, panels, shown
from toymodels.hypotheses.arms import MAIN, PLAIN
from toymodels.metrics.recovery import RECOVERED
from toymodels.sweeps.results.reading import Run

BINS = np.linspace(0, 100, 26)


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has no verdict yet."""
    what = shown(run, __name__)
    figure, axes = panels([arm for arm in what.arms if arm != PLAIN], what.title)
    for arm, axis in axes.items():
        rows = what.of(arm)
        percentiles = rows.loc[rows["r2"] > RECOVERED, "response_alignment_percentile"].dropna()
        share = np.histogram(percentiles, BINS)[0] / max(1, len(percentiles))
        axis.stairs(share, BINS, fill=True, color=ARM_COLOURS[arm], alpha=0.7)
        axis.axhline(1 / (len(BINS) - 1), color="0.3", linewidth=0.9, linestyle="--")
        axis.text(
            0.97, 0.95, f"{len(percentiles):,} features", transform=axis.transAxes, ha="right", va="top", fontsize=7
        )
    axes[MAIN].text(50, 1 / (len(BINS) - 1), "null", fontsize=7, ha="center", va="bottom", color="0.3")
    figure.supxlabel("percentile of response alignment at mid among random rotations", fontsize=9)
    figure.supylabel("share of recovered features", fontsize=9)
    return figure
