"""inspection: how selective neurons look by their strongest examples, and how selective they are over all examples.

A row a regime, at its first eps; a bar an arm, with its 95 % interval over seeds. In the first panel, what the rule
calls interpretable; hollow, the same in a random basis; a cross a person's share of the neurons that they judged.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.figures.arm_bars import bars, of_first_eps, order
from toymodels.figures.colours import ink
from toymodels.figures.drawing import WIDTH
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import inspection, paired, persons
from toymodels.sweeps.studies.document import read

TITLES = {
    inspection.SHARE: "share that\nlooks interpretable",
    inspection.WHOLE["best_r2"]: "variance its best\nfeature explains",
    inspection.WHOLE["elsewhere"]: "activity without\nits main feature",
    inspection.WHOLE["monosemanticity"]: "monosemanticity\n(responses)",
    inspection.WHOLE["auroc"]: "AUROC of its\nbest feature",
}
STARTS = {inspection.WHOLE["auroc"]: 0.5}
"""Where an axis begins that does not at 0: at what says nothing."""


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer inspection`` ran."""
    tables = read(run, "inspection").tables
    regimes = of_first_eps(tables[paired.ARM_TABLE])
    figure = Figure(figsize=(WIDTH, 0.8 + 1.7 * len(regimes)))
    panels = figure.subplots(len(regimes), len(TITLES), squeeze=False, sharex="col", sharey="row")
    for (name, rows), axes in zip(regimes.items(), panels, strict=True):
        for (measure, title), axis in zip(TITLES.items(), axes, strict=True):
            bars(axis, rows[rows["measure"] == measure])
            axis.set_xlim(STARTS.get(measure, 0), 1)
            if name == next(iter(regimes)):
                axis.set_title(title, fontsize=8)
        _by_chance(axes[0], rows[rows["measure"] == inspection.BY_CHANCE])
        axes[0].set_ylabel(name, fontsize=8)
        axes[0].invert_yaxis()
    marks = [
        Line2D([], [], linestyle="", marker="o", color=ink(0.8), markerfacecolor="none", label="in a random basis")
    ]
    if persons.SCORES in tables:
        _by_persons(panels[0, 0], tables[persons.SCORES])
        marks.append(Line2D([], [], linestyle="", marker="x", color=ink(0.8), label="by a person"))
    figure.legend(handles=marks, loc="outside lower left", ncols=2, fontsize=7)
    return figure


def _by_chance(axis: Axes, rows: pd.DataFrame) -> None:
    rows = order(rows)
    axis.plot(rows["mean"], rows["arm"], "o", color=ink(0.8), markerfacecolor="none", markersize=4)


def _by_persons(axis: Axes, rows: pd.DataFrame) -> None:
    rows = rows[rows["judge"] != persons.RULE]
    axis.plot(rows["mean"], rows["arm"], "x", color=ink(0.8), markersize=5)
