"""P1: how much of each recovered feature the best single neuron says at post, an arm a panel.

Two tiers would show in SoLU + LN as two heaps, one near 1 and one well below, and in no control. The tiers of SoLU + LN
are shaded apart in its own panel. Of the second half of the samples; what the verdict says is of the first.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from toymodels.figures.arm_bars import arm_colour
from toymodels.figures.colours import OF_TIERS, colour_of, tier_colour
from toymodels.figures.regime import TIER_LABELS, panels, shown
from toymodels.hypotheses.arms import MAIN, PLAIN
from toymodels.metrics.recovery import RECOVERED
from toymodels.sweeps.results.reading import Run

BINS = np.linspace(0, 1, 26)


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has no verdict yet."""
    what = shown(run, __name__)
    figure, axes = panels([arm for arm in what.arms if arm != PLAIN], what.title)
    for arm, axis in axes.items():
        rows = what.of(arm)
        rows = rows[rows["tier"] != "lost"] if arm == MAIN else rows[rows["r2"] > RECOVERED]
        counted = rows.dropna(subset=["best_neuron_r2"])
        parts = {"": counted} if arm != MAIN else {tier: counted[counted["tier"] == tier] for tier in OF_TIERS}
        base = np.zeros(len(BINS) - 1)
        for tier, of_tier in parts.items():
            top = base + np.histogram(of_tier["best_neuron_r2"], BINS)[0] / max(1, len(counted))
            colour = tier_colour(tier) if tier else arm_colour(arm)
            axis.stairs(top, BINS, baseline=base, fill=True, color=colour, alpha=0.7, label=TIER_LABELS.get(tier))
            base = top
        axis.set_title(f"{arm}\n{len(counted):,} features", color=colour_of(arm))
    axes[MAIN].legend(fontsize=6.5, loc="upper left", handlelength=1)
    figure.supxlabel("R² of the best neuron at post", fontsize=9)
    figure.supylabel("share of recovered features", fontsize=9)
    return figure
