"""how_linear: what no affine map of z explains of act(z), a bar a hidden layer, and what such a map costs in its place.

A row a regime. On the left the share of variance, on the right the loss fraction added; lines are 95 % intervals.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodels.figures.colours import colour_of, ink
from toymodels.figures.drawing import WIDTH
from toymodels.figures.reaches import reach
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import how_linear
from toymodels.sweeps.studies.document import read

TITLES = {
    how_linear.UNEXPLAINED: "share of act(z) unexplained",
    how_linear.SUBSTITUTION: "loss fraction added by that map",
}


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer how_linear`` ran."""
    table = read(run, "how_linear").tables[how_linear.TABLE]
    regimes = list(dict.fromkeys(table["regime"]))
    figure = Figure(figsize=(WIDTH, 0.9 + 1.5 * len(regimes)))
    panels = figure.subplots(len(regimes), 2, squeeze=False, sharex="col")
    for regime, row in zip(regimes, panels, strict=True):
        for (measure, title), axis in zip(TITLES.items(), row, strict=True):
            of_measure = table[table["measure"] == measure]
            _bars(axis, of_measure[of_measure["regime"] == regime])
            # An interval may reach beyond what a share can be; the bars decide what is shown.
            axis.set_xlim(min(0, 1.1 * of_measure["mean"].min()), max(0.1, 1.15 * of_measure["mean"].max()))
            if regime == regimes[0]:
                axis.set_title(title)
        row[0].set_ylabel(regime.replace(", ", "\n"), fontsize=7)
    return figure


def _bars(axis: Axes, rows: pd.DataFrame) -> None:
    layers, means = list(rows["layer"]), rows["mean"]
    colours = [colour_of(layer) for layer in layers]
    axis.barh(layers, means, color=colours, alpha=0.8)
    axis.errorbar(means, layers, xerr=reach(rows), fmt="none", ecolor=ink(0.8), elinewidth=1)
    axis.invert_yaxis()
