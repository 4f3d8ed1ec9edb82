"""tms_scaling: the loss, and how far represented features overlap, against the dimensions; a column a law of frequency.

Above the loss, with what features that are not represented would cost alone (dotted) and a line that falls as 1 / m;
below the mean squared overlap of represented features with that of random directions, 1 / m, and the least there can
be. A colour a decay, negative where weights grow; bars are 95 % intervals over seeds.
"""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodels.figures.colours import Colour, ink, sequence
from toymodels.figures.drawing import WIDTH
from toymodels.figures.reaches import reach
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import tms_scaling
from toymodels.sweeps.studies.document import read

TITLE_WIDTH = 26


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer tms_scaling`` ran."""
    rows = read(run, "tms_scaling").tables[tms_scaling.BY_WIDTH]
    regimes, decays = list(dict.fromkeys(rows["regime"])), sorted(set(rows["decay"]))
    figure = Figure(figsize=(min(WIDTH, 0.9 + 2.6 * len(regimes)), 4.6))
    axes = figure.subplots(2, len(regimes), squeeze=False, sharex=True, sharey="row")
    for regime, (above, below) in zip(regimes, axes.T, strict=True):
        of_regime = rows[rows["regime"] == regime]
        for decay, colour in zip(decays, sequence(len(decays)), strict=True):
            of = of_regime[of_regime["decay"] == decay]
            _line(above, of, tms_scaling.LOSS, colour, f"decay {decay:g}")
            _line(above, of, tms_scaling.TAIL, colour, None)
            _line(below, of, tms_scaling.OVERLAP, colour, None)
        _guides(above, below, of_regime)
        above.set_title(textwrap.fill(regime.replace("frequency.", ""), TITLE_WIDTH), fontsize=7)
        below.set_xlabel("dimensions m")
    axes[0, 0].set_ylabel("loss (dotted: tail)")
    axes[1, 0].set_ylabel("mean squared overlap")
    axes[0, -1].legend(fontsize=7, loc="lower left")
    return figure


def _line(axis: Axes, rows: pd.DataFrame, measure: str, colour: Colour, label: str | None) -> None:
    of = rows[(rows["measure"] == measure) & (rows["mean"].astype(float) > 0)]
    if measure == tms_scaling.TAIL:
        axis.plot(of["width"], of["mean"].astype(float), color=colour, linestyle=":", linewidth=1)
        return
    mean = of["mean"].astype(float)
    axis.errorbar(of["width"], mean, yerr=reach(of), color=colour, marker="o", markersize=3, label=label)


def _guides(above: Axes, below: Axes, rows: pd.DataFrame) -> None:
    widths = np.array(sorted(set(rows["width"])), np.float64)
    losses = rows[(rows["measure"] == tms_scaling.LOSS) & (rows["width"] == widths[0])]["mean"].astype(float)
    guide: dict[str, Any] = {"color": ink(0.4), "linewidth": 0.8}
    above.plot(widths, losses.max() * widths[0] / widths, **guide)
    above.set(xscale="log", yscale="log")
    below.plot(widths, 1 / widths, **guide)
    below.set(xscale="log", yscale="log")
    below.set_xticks(widths, [f"{width:g}" for width in widths])
    below.set_xticks([], minor=True)
