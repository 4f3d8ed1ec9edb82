"""P6: the share of the features of either tier that are in a neuron, by how common and how important they are.

Columns and rows are quintiles over all seeds. The number is how many features of a tier a cell holds; an empty cell
holds none. Shading along the columns alone says frequency decides, along the rows alone importance.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from toymodels.figures.drawing import WIDTH
from toymodels.figures.regime import shown
from toymodels.hypotheses.arms import MAIN
from toymodels.sweeps.results.reading import Run

CLASSES = 5


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has no verdict yet."""
    what = shown(run, __name__)
    rows = what.of(MAIN)
    edges = {name: _edges(rows[name]) for name in ("density", "importance")}
    in_a_tier = rows[rows["tier"] != "lost"]
    places = [np.clip(np.searchsorted(e, in_a_tier[name], "right") - 1, 0, len(e) - 2) for name, e in edges.items()]
    shape = tuple(len(e) - 1 for e in edges.values())
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
    axis.set_xticks(np.arange(shape[0] + 1) - 0.5, [f"{value:.2g}" for value in edges["density"]])
    axis.set_yticks(np.arange(shape[1] + 1) - 0.5, [f"{value:.2g}" for value in edges["importance"]])
    axis.grid(visible=False)
    figure.colorbar(shades, label="P(in a neuron | in a tier)")
    return figure


def _edges(values: pd.Series) -> np.ndarray:
    """The edges of classes of equal count; fewer where values repeat, and one where they do not vary."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, CLASSES + 1)))
    return edges if len(edges) > 1 else np.array([edges[0], edges[0]])
