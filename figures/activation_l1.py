"""activation_l1: features in neurons against loss as activations cost more, and how many neurons take part.

On the left a line an activation, from no cost (hollow) on; on the right the neurons that take part in an example, by
their participation ratio, against the cost, at the left edge without one. Bars are 95 % intervals over seeds.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodels.figures.colours import Colour, colour_of, page
from toymodels.figures.drawing import WIDTH
from toymodels.figures.reaches import reach
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import activation_l1
from toymodels.sweeps.studies.document import read


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer activation_l1`` ran."""
    rows = read(run, "activation_l1").tables[activation_l1.BY_COST].astype({"mean": float})
    figure = Figure(figsize=(WIDTH, 3.2))
    left, right = figure.subplots(1, 2)
    for activation in dict.fromkeys(rows["activation"]):
        of = dict(list(rows[rows["activation"] == activation].groupby("measure")))
        colour = colour_of(str(activation))
        _against_loss(left, of[activation_l1.LOSS], of[activation_l1.NEURONS], str(activation), colour)
        _against_cost(right, of[activation_l1.CONTRIBUTORS], colour)
    left.set(xlabel="loss fraction", ylabel="features in neurons")
    left.legend(fontsize=7, loc="upper right")
    right.set(xlabel="cost of activations", ylabel="neurons that take part in an example")
    right.set_ylim(bottom=0)
    return figure


def _against_loss(axis: Axes, loss: pd.DataFrame, neurons: pd.DataFrame, label: str, colour: Colour) -> None:
    axis.errorbar(
        loss["mean"],
        neurons["mean"],
        xerr=reach(loss),
        yerr=reach(neurons),
        color=colour,
        marker="o",
        markersize=4,
        elinewidth=0.8,
        label=label,
    )
    for x, y, cost in zip(loss["mean"], neurons["mean"], loss["cost"], strict=True):
        if cost:
            axis.annotate(f"{cost:g}", (x, y), textcoords="offset points", xytext=(4, 3), fontsize=6, color=colour)
        else:
            axis.plot(x, y, "o", markersize=4, color=colour, markerfacecolor=page(), zorder=3)


def _against_cost(axis: Axes, rows: pd.DataFrame, colour: Colour) -> None:
    least = rows[rows["cost"] > 0]["cost"].min()
    axis.errorbar(rows["cost"], rows["mean"], yerr=reach(rows), color=colour, marker="o", markersize=4, elinewidth=0.8)
    axis.set_xscale("symlog", linthresh=least)
