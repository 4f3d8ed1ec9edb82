"""decoder_width: how many features a decoder recovers against its neurons, by the size of the space they share.

A row a number of features and whatever else varies, a column a hidden layer, a line a size of the embedding: the mean
over seeds, small marks are models. A flat line says that neurons do not bind; lines that lie together say that the
space does not; and dotted are all the features that there are. On the dashed line a model recovers as many features as
it has neurons.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from toymodels.figures.colours import ink, sequence
from toymodels.figures.drawing import COLUMN, WIDTH
from toymodels.figures.shown import trained
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import HIDDEN_LAYER, SEED_ALONE, conditions, hidden_layers
from toymodels.sweeps.results.reading import Run

COUNT, NEURONS, SPACE, N = "features_recovered", "model.hidden", "model.embedding", "features.n"
MOST_ROWS, MOST_LAYERS = 6, 8
MARKERS = "osD^vP"


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` without decoders whose targets are features, and for too many rows."""
    models = trained(run)
    models = models[models[SPACE].notna()] if SPACE in models else models.iloc[:0]
    models = models[models[COUNT].notna()]
    if models.empty:
        raise FolderError(f"{run.path}: this figure is about decoders of features, and no trained model is one")
    regimes = run.arms(models, over=(*SEED_ALONE, *HIDDEN_LAYER, NEURONS, SPACE, *run.tuned))
    models = models.assign(layer=hidden_layers(models))
    layers = list(dict.fromkeys(models["layer"]))
    if len(regimes) > MOST_ROWS or len(layers) > MOST_LAYERS:
        raise FolderError(
            f"{run.path}: this figure has a panel for each of {len(regimes)} regimes and {len(layers)} hidden layers, "
            f"more than {MOST_ROWS} and {MOST_LAYERS}: run a part of the sweep, with --set or --grid"
        )
    figure = Figure(figsize=(min(WIDTH, max(COLUMN, 0.9 + 1.1 * len(layers))), 0.9 + 1.75 * len(regimes)))
    panels = figure.subplots(len(regimes), len(layers), squeeze=False, sharex=True, sharey="row")
    looks = _looks(models[SPACE])
    for regime, name, line in zip(regimes, conditions([each.settings for each in regimes]), panels, strict=True):
        rows = models.loc[regime.models.index]
        for layer, axis in zip(layers, line, strict=True):
            _panel(axis, rows[rows["layer"] == layer], looks)
            axis.axhline(rows[N].iloc[0], color=ink(1), linewidth=0.9, linestyle=":", zorder=0)
        line[0].set_ylim(-0.03 * rows[N].max(), 1.05 * rows[N].max())
        line[0].set_ylabel("features with R² > .5\n" + textwrap.fill(name, 24), fontsize=7)
    widths = np.array(sorted(set(models[NEURONS])))
    for layer, axis in zip(layers, panels[0], strict=True):
        axis.set_title(layer)
        axis.set_xscale("log", base=2)
        axis.set_xticks(widths, [str(width) for width in widths])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlim(widths[0] / 1.25, widths[-1] * 1.25)
    figure.supxlabel("neurons", fontsize=8)
    keys = [Line2D([], [], label=f"{space:g} dimensions", **look) for space, look in looks.items()]
    figure.legend(handles=keys, loc="outside upper center", ncols=min(4, len(keys)))
    return figure


def _looks(spaces: pd.Series) -> dict[float, dict]:
    """Of each size of the embedding its colour, from strong to weak, and its marker."""
    sizes = sorted(set(spaces))
    return {
        size: {"color": shade, "marker": MARKERS[place % len(MARKERS)], "markersize": 4}
        for place, (size, shade) in enumerate(zip(sizes, sequence(len(sizes)), strict=True))
    }


def _panel(axis: Axes, rows: pd.DataFrame, looks: dict[float, dict]) -> None:
    for space, of in rows.groupby(SPACE):
        look = looks[float(str(space))]
        axis.scatter(of[NEURONS], of[COUNT], s=5, color=[look["color"]], alpha=0.4, linewidths=0)
        means = of.groupby(NEURONS)[COUNT].mean()
        axis.plot(means.index, means, linewidth=1.2, **look)
    widths = np.geomspace(rows[NEURONS].min(), rows[NEURONS].max(), 64) if len(rows) else np.array([])
    axis.plot(widths, widths, color=ink(1), linewidth=0.8, linestyle="--", zorder=0)
