"""free_lunch: features in neurons against loss, an arm a mark, and the front, which no arm beats in both.

A row a regime. On the left a feature is in a neuron if it is recovered and functionally aligned, in the middle if its
best neuron's R^2 is above .7: an arm that leads at one and not at the other is paid for. On the right dead neurons. A
colour a hidden layer, dark with a triangle where it has a LayerNorm; hollow marks keep only the share of their weights
that stands beside them, and a line joins them to the same layer with all of its weights. Lines are 95 % intervals.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.figures.colours import Colour, ink, layer_colours, page
from toymodels.figures.drawing import WIDTH
from toymodels.figures.reaches import reach
from toymodels.hypotheses.free_lunch import front
from toymodels.sweeps.results.arms import HIDDEN_LAYER, hidden_layer
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.document import read
from toymodels.sweeps.studies.free_lunch import ARMS, COUNTS, DEAD_NEURONS, LOSS

SHOWN = (COUNTS[0], COUNTS[-1])
FURTHEST = 1.3
"""times the least loss: what costs more is not shown, and counted"""
TITLE_WIDTH = 105
NORMED = hidden_layer("", True)

Colours = dict[str, Colour]


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer free_lunch`` ran."""
    table = read(run, "free_lunch").tables[ARMS]
    regimes = list(dict.fromkeys(table["regime"]))
    colours = _colours(list(dict.fromkeys(table["layer"])))
    figure = Figure(figsize=(WIDTH, 1.1 + 2.3 * len(regimes)))
    panels = figure.subplots(len(regimes), 3, squeeze=False, width_ratios=[1, 1, 0.75])
    for regime, row in zip(regimes, panels, strict=True):
        rows = table[table["regime"] == regime]
        for count, axis in zip(SHOWN, row, strict=False):
            _cloud(axis, points(rows, count), colours)
            axis.set_ylabel(f"features, {count}", fontsize=7)
            axis.set_xlabel("loss fraction", fontsize=7)
        _dead(row[2], measured(rows, DEAD_NEURONS), colours)
        row[0].set_title(textwrap.fill(regime, 60), loc="left", fontsize=7)
    marks = [
        Line2D([], [], linestyle="", marker=_marker(layer), color=colour, label=layer)
        for layer, colour in colours.items()
    ]
    step = Line2D([], [], color=ink(0.5), linestyle="--", label="front")
    figure.legend(handles=[*marks, step], loc="outside lower center", ncols=7, fontsize=7)
    return figure


def measured(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One measure of the arms of a regime, a row an arm."""
    return rows[rows["measure"] == measure].set_index("arm").dropna(subset="mean")


def points(rows: pd.DataFrame, count: str) -> pd.DataFrame:
    """The arms of a regime, a row an arm: ``loss`` and ``count``, their ends, whether it is on the ``front``."""
    loss, number = measured(rows, LOSS), measured(rows, count)
    found = number[["layer", "kept"]].copy()
    for name, of in (("loss", loss), ("count", number)):
        for end, column in (("", "mean"), (" low", "low"), (" high", "high")):
            found[name + end] = of[column].astype(float)
    found["front"] = front(torch.tensor(found["loss"].to_numpy()), torch.tensor(found["count"].to_numpy())).numpy()
    return found


def _cloud(axis: Axes, arms: pd.DataFrame, colours: Colours) -> None:
    furthest = FURTHEST * arms["loss"].min()
    shown = arms[arms["loss"] <= furthest]
    ahead = shown[shown["front"]].sort_values("loss")
    axis.step(ahead["loss"], ahead["count"], where="post", color=ink(0.5), linestyle="--", linewidth=1, zorder=1)
    for layer, of in shown.groupby("layer", sort=False):
        by_share = of.sort_values("kept", ascending=False).drop_duplicates("kept")
        axis.plot(by_share["loss"], by_share["count"], color=colours[str(layer)], linewidth=0.6, zorder=1)
        for each in of.to_dict("records"):
            _mark(axis, each["loss"], each["count"], str(layer), each["kept"], colours)
            if each["kept"] < 1:
                label = f"{each['kept']:.3g}".removeprefix("0")
                axis.annotate(label, (each["loss"], each["count"]), (3, 3), textcoords="offset points", fontsize=6)
        x, y = (reach(of, way, f"{way} low", f"{way} high") for way in ("loss", "count"))
        colour = colours[str(layer)]
        axis.errorbar(of["loss"], of["count"], xerr=x, yerr=y, fmt="none", elinewidth=0.8, ecolor=colour)
    if len(shown) < len(arms):
        told = f"{len(arms) - len(shown)} arms beyond"
        axis.text(0.98, 0.02, told, transform=axis.transAxes, ha="right", fontsize=6, color=ink(0.6))
    # The marks decide what is shown: an interval over few seeds may reach far beyond them.
    pad = 0.1 * max(shown["loss"].max() - shown["loss"].min(), 0.01)
    axis.set(
        xlim=(shown["loss"].min() - pad, shown["loss"].max() + 2 * pad), ylim=(-0.5, 1.12 * shown["count"].max() + 1)
    )


def _dead(axis: Axes, arms: pd.DataFrame, colours: Colours) -> None:
    """Dead neurons by the share of weights that is kept, layers side by side."""
    shares = sorted(set(arms["kept"]), reverse=True)
    for place, (layer, of) in enumerate(arms.groupby("layer", sort=False)):
        once = of.sort_values("kept", ascending=False).drop_duplicates("kept")
        x = [shares.index(share) + 0.1 * (place - len(colours) / 2) for share in once["kept"]]
        for at, mean, kept in zip(x, once["mean"], once["kept"], strict=True):
            _mark(axis, at, mean, str(layer), kept, colours)
        axis.errorbar(x, once["mean"], yerr=reach(once), color=colours[str(layer)], linewidth=0.6, elinewidth=0.8)
    axis.set_xticks(range(len(shares)), [f"{share:.3g}" for share in shares])
    axis.set_xlabel("share of weights kept", fontsize=7)
    axis.set_ylabel("dead neurons", fontsize=7)
    axis.set_xlim(-0.6, len(shares) - 0.4)
    axis.set_ylim(bottom=-0.2, top=max(1.0, 1.1 * float(np.nanmax(arms[["mean", "high"]].to_numpy(float)))))


def _mark(axis: Axes, x: float, y: float, layer: str, kept: float, colours: Colours) -> None:
    face = colours[layer] if kept == 1 else page()
    axis.scatter(x, y, marker=_marker(layer), s=22, facecolors=[face], edgecolors=[colours[layer]], zorder=3)


def _marker(layer: str) -> str:
    return "^" if layer.endswith(NORMED) else "o"


def _colours(layers: list[str]) -> Colours:
    named = pd.DataFrame([(layer.removesuffix(NORMED), layer.endswith(NORMED)) for layer in layers])
    named.columns = list(HIDDEN_LAYER)
    return {hidden_layer(*layer): colour for layer, colour in layer_colours(named).items()}
