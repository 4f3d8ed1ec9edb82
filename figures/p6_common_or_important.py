"""P6: the share of the features of either tier that are in a neuron, by how common and how important they are.

Of the first regime in which either varies. Columns and rows are quintiles over all seeds. The number is how many
features of a tier a cell holds; an empty cell holds none. Shading along the columns alone says frequency decides, along
the rows alone importance.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from toymodels.figures.drawing import WIDTH
from toymodels.figures.regime import shown
from toymodels.figures.tiers import WAYS, classes, edges
from toymodels.hypotheses.arms import MAIN
from toymodels.sweeps.results.reading import Run


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has no verdict yet."""
    what = shown(run, __name__, varying=tuple(WAYS))
    rows = what.of(MAIN)
    at = {name: edges(rows[name]) for name in WAYS}
    in_a_tier = rows[rows["tier"] != "lost"]
    places = [classes(in_a_tier[name], found) for name, found in at.items()]
    shape = tuple(len(found) - 1 for found in at.values())
    count, aligned = np.zeros(shape), np.zeros(shape)
    np.add.at(count, tuple(places), 1)
    np.add.at(aligned, tuple(places), in_a_tier["tier"] == "neuron")
    share = np.divide(aligned, count, out=np.full(shape, np.nan), where=count > 0)

    figure = Figure(figsize=(WIDTH, 3.9))
    axis = figure.subplots()
    figure.suptitle(what.title, fontsize=8)
    shades = axis.imshow(share.T, origin="lower", aspect="auto", vmin=0, vmax=max(0.05, np.nan_to_num(share).max()))
    for (x, y), n in np.ndenumerate(count):
        axis.text(
            x,
            y,
            f"{n:.0f}",
            ha="center",
            va="center",
            fontsize=7,
            color="w",
            path_effects=[withStroke(linewidth=1.2, foreground="0.25")],
        )
    axis.set(xlabel="P(feature active); numbers: features in a tier", ylabel="importance")
    axis.set_xticks(np.arange(shape[0] + 1) - 0.5, [f"{value:.2g}" for value in at["density"]])
    axis.set_yticks(np.arange(shape[1] + 1) - 0.5, [f"{value:.2g}" for value in at["importance"]])
    axis.grid(visible=False)
    figure.colorbar(shades, label="P(in a neuron | in a tier)")
    return figure
