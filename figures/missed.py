"""missed: how much of what a hidden layer does an inspection of its neurons does not show.

A row a regime, at its first eps; a bar an arm, with its 95 % interval over seeds. An axis ends at 1, where
everything is missed; ablating more than that costs is written beside the bar.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodels.figures.arm_bars import arm_colour, bars, of_first_eps, order
from toymodels.figures.colours import on
from toymodels.figures.drawing import WIDTH
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import missed, paired
from toymodels.sweeps.studies.document import read

TITLES = {
    "features": "recovered features\nthat no neuron shows",
    "achieved": "loss gained on\nunshown features",
    "ablated": "loss gain lost without\nneurons that show none",
    "refitted": "the same, the\nread-out refitted",
}


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer missed`` ran."""
    regimes = of_first_eps(read(run, "missed").tables[paired.ARM_TABLE])
    figure = Figure(figsize=(WIDTH, 0.7 + 1.7 * len(regimes)))
    panels = figure.subplots(len(regimes), len(TITLES), squeeze=False, sharex=True, sharey="row")
    for (name, rows), axes in zip(regimes.items(), panels, strict=True):
        for (field, title), axis in zip(TITLES.items(), axes, strict=True):
            of_measure = rows[rows["measure"] == missed.SHARES[field]]
            bars(axis, of_measure)
            _beyond(axis, of_measure)
            axis.set_xlim(0, 1)
            if name == next(iter(regimes)):
                axis.set_title(title, fontsize=8)
        axes[0].set_ylabel(name, fontsize=8)
        axes[0].invert_yaxis()
    return figure


def _beyond(axis: Axes, rows: pd.DataFrame) -> None:
    """The means that are off the axis, as numbers at its end."""
    for _, row in order(rows[rows["mean"] > 1]).iterrows():
        axis.text(
            0.98,
            row["arm"],
            f"{row['mean']:.1f}",
            ha="right",
            va="center",
            fontsize=7,
            color=on(arm_colour(row["arm"])),
        )
