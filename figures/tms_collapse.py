"""tms_collapse: over density, what share of correlated pairs is one direction, what W_in captures, and the loss.

A column a number of neurons. From above: the share of pairs that are one direction and that are orthogonal; the share
of the variance of principal components that the rows of W_in explain, with what random rows would; the loss over that
of the best linear model. Dashed lines are independent features of the same density, bands 95 % intervals over restarts.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodels.figures.colours import hue, ink
from toymodels.figures.drawing import WIDTH
from toymodels.firing import Correlated
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import tms_collapse
from toymodels.sweeps.studies.document import read
from toymodels.sweeps.studies.tms_collapse import CAPTURED, COLLAPSED, LOSS, OWN

HUES = {COLLAPSED: "vermillion", OWN: "blue", CAPTURED: "violet", LOSS: "brown"}
PANELS = {"share of pairs": (COLLAPSED, OWN), "variance captured": (CAPTURED,), "loss / linear model's": (LOSS,)}
TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
CALLED = {COLLAPSED: "one direction", OWN: "orthogonal"}


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer tms_collapse`` ran."""
    table = read(run, "tms_collapse").tables[tms_collapse.TABLE]
    sizes = list(dict.fromkeys(table["neurons"]))
    figure = Figure(figsize=(min(WIDTH, 0.8 + 3.2 * len(sizes)), 5.6))
    panels = figure.subplots(len(PANELS), len(sizes), squeeze=False, sharex=True, sharey="row")
    for neurons, column in zip(sizes, panels.T, strict=True):
        column[0].set_title(f"{neurons} neurons")
        for (what, measures), axis in zip(PANELS.items(), column, strict=True):
            for measure in measures:
                _lines(axis, table[(table["neurons"] == neurons) & (table["measure"] == measure)], measure)
            if column is panels.T[0]:
                axis.set_ylabel(what)
        column[0].set_ylim(-0.04, 1.04)
        column[1].set_ylim(0.45, 1.04)
        column[2].set_ylim(0, 1.6)
        column[2].axhline(1, color=ink(0.5), linewidth=0.8)
        column[2].set(xscale="log", xlabel="density")
        column[2].set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        column[2].minorticks_off()
    for row, axis in enumerate(panels[:, 0]):
        place = (
            {"loc": "upper left", "bbox_to_anchor": (0, 0.93)}
            if row == 1
            else {"loc": "best" if row else "center left"}
        )
        axis.legend(fontsize=7, **place)
    return figure


def _lines(axis: Axes, rows: pd.DataFrame, measure: str) -> None:
    """One measure over density, of correlated pairs and of independent features."""
    colour = hue(HUES[measure])
    for firing, of in rows.groupby("firing", sort=False):
        pairs = firing == Correlated.name
        name = CALLED.get(measure, measure) if pairs else f"{CALLED.get(measure, measure)}, independent"
        axis.plot(
            of["density"], of["mean"], "-" if pairs else "--", color=colour, label=name, alpha=1 if pairs else 0.6
        )
        if pairs:
            axis.fill_between(of["density"], of["low"], of["high"], color=colour, alpha=0.2, linewidth=0)
            if measure == CAPTURED:
                axis.plot(of["density"], of["by_chance"], ":", color=ink(0.5), label="random rows")
