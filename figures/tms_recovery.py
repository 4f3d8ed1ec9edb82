"""tms_recovery: the loss of a linear and a ReLU output against density, and which features each recovers.

Above, on the left the loss fraction, on the right how many features are recovered: a small mark a model, a line the
mean over seeds. Dotted is what no linear model is better than, and the number of neurons. Below, R^2 of every feature,
the mean over seeds: columns densities, rows features, the most important uppermost (Elhage et al. 2022, *Toy Models of
Superposition*, section 2).

Of the linear model with an output bias the least loss fraction is known, the importance that is left out,

    sum of the n - m smallest I_i / sum of I_i

at every density of independent features of equal frequency: its best W^T W is the projector on the m most important.
Losses are of samples, so at densities at which few examples say anything one may lie somewhat below.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from toymodels.figures.colours import colour_of, ink
from toymodels.figures.drawing import WIDTH
from toymodels.figures.shown import trained
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run

DENSITY, OUTPUT = "features.density", "model.output"
LOSS, COUNT = "loss_fraction", "features_recovered"
KNOWN = {
    "model.activation": "linear",
    "model.layer_norm": False,
    "model.output_bias": True,
    "features.frequency.law": "uniform",
    "features.firing": "independent",
    "task.target": "identity",
    "task.loss": "squared",
}
"""Of which models the least loss of a linear one is known."""
LOOKS = {"linear": ("o", "--"), "relu": ("^", "-")}
"""Marker and line of an output."""


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where other outputs are swept, or settings beside output and density,
    and where targets are not features."""
    models = trained(run)
    models = models[models[LOSS].notna() & models[COUNT].notna()]
    if models.empty:
        raise FolderError(f"{run.path}: this figure needs models that say what each feature is, and there are none")
    run.require_named(models, (DENSITY, OUTPUT), "the figure tms_recovery")
    outputs = list(dict.fromkeys(models[OUTPUT]))
    if others := [name for name in outputs if name not in LOOKS]:
        raise FolderError(f"{run.path}: this figure is about outputs {' and '.join(LOOKS)}, the run has {others[0]}")
    figure = Figure(figsize=(WIDTH, 4.8))
    above, below = (figure.add_subfigure(half) for half in figure.add_gridspec(2, 1, height_ratios=[1, 1.05]))
    left, right = above.subplots(1, 2)
    for output in outputs:
        _line(left, models[models[OUTPUT] == output], LOSS, str(output))
        _line(right, models[models[OUTPUT] == output], COUNT, str(output))
    for axis, level in ((left, best_linear(run, models)), (right, models["model.hidden"].iloc[0])):
        if level is not None:
            axis.axhline(level, color=ink(1), linewidth=0.9, linestyle=":", zorder=0)
    left.set(ylabel="loss fraction", ylim=(0, None))
    left.legend(title="output", title_fontsize=7)
    right.set(ylabel="features with R² > .5", ylim=(0, None))
    for axis in (left, right):
        axis.set_xlabel("density, sparser to the right")
        _sparser(axis, models[DENSITY])
    grids = below.subplots(1, len(outputs), squeeze=False, sharey=True)[0]
    image = None
    for output, axis in zip(outputs, grids, strict=True):
        table = by_feature(run, models[models[OUTPUT] == output])
        image = axis.imshow(table.to_numpy(), aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        axis.set_xticks(range(table.shape[1]), [f"{density:g}" for density in table.columns])
        axis.set(title=f"{output} output", xlabel="density")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(visible=False)
    grids[0].set_ylabel("feature, most important first")
    assert image is not None
    below.colorbar(image, ax=list(grids), label="R²")
    return figure


def best_linear(run: Run, models: pd.DataFrame) -> float | None:
    """The least loss fraction of a linear model: the share of importance beyond the m largest; None where another law
    holds."""
    row = models.iloc[0]
    if any(row.get(name) != value for name, value in KNOWN.items()):
        return None
    importance = run.features.loc[run.features["model"] == row["model"], "importance"].to_numpy()
    left_out = np.sort(importance)[: max(0, len(importance) - int(row["model.hidden"]))]
    return float(left_out.sum() / importance.sum())


def by_feature(run: Run, models: pd.DataFrame) -> pd.DataFrame:
    """R^2 of every feature, the mean over these models of a density: a row a feature, densities falling."""
    rows = run.features.merge(models[["model", DENSITY]], on="model")
    table = rows.pivot_table(index="feature", columns=DENSITY, values="r2", aggfunc="mean", dropna=False)
    return table[sorted(table.columns, reverse=True)]


def _line(axis: Axes, rows: pd.DataFrame, measure: str, output: str) -> None:
    colour, (marker, style) = colour_of(output), LOOKS[output]
    axis.scatter(rows[DENSITY], rows[measure], s=8, color=[colour], marker=marker, alpha=0.5, linewidths=0)
    means = rows.groupby(DENSITY)[measure].mean()
    axis.plot(means.index, means, color=colour, marker=marker, linestyle=style, markersize=4, label=output)


def _sparser(axis: Axes, densities: pd.Series) -> None:
    axis.set_xscale("log")
    axis.set_xlim(densities.max() * 1.3, densities.min() / 1.3)
