"""P4: R^2 with LayerNorm live against LayerNorm's scale held at one constant, an arm a panel, both constants.

R^2 after the best affine rescaling of each output. On the dashed line the live scale is not needed. Two tiers would
show in SoLU + LN as the neuron tier on the line and the hidden one below, and in the controls both alike.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from toymodels.figures.colours import colour_of
from toymodels.figures.drawing import WIDTH
from toymodels.figures.regime import diagonal, legend_of_tiers, scatter, shown
from toymodels.hypotheses.arms import PLAIN
from toymodels.sweeps.results.reading import Run

CONSTANTS = {
    "drop_geometric": "R², scale held at\nits geometric mean",
    "drop_optimal": "R², scale held at\nthe loss-optimal",
}


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has no verdict yet."""
    what = shown(run, __name__)
    arms = [arm for arm in what.arms if arm != PLAIN]
    figure = Figure(figsize=(WIDTH, 5.2))
    axes = figure.subplots(2, len(arms), sharex=True, sharey=True, squeeze=False)
    figure.suptitle(what.title, fontsize=8)
    for (drop, label), line in zip(CONSTANTS.items(), axes, strict=True):
        line[0].set_ylabel(label)
        for arm, axis in zip(arms, line, strict=True):
            rows = what.of(arm)
            scatter(axis, rows.assign(held=rows["affine_r2"] - rows[drop]), "affine_r2", "held")
            diagonal(axis, 0, 1)
            axis.set(xlim=(0, 1.02), ylim=(0, 1.02))
    for arm, axis in zip(arms, axes[0], strict=True):
        axis.set_title(arm, color=colour_of(arm))
    figure.supxlabel("R², LayerNorm live", fontsize=9)
    legend_of_tiers(axes[0, -1])
    return figure
