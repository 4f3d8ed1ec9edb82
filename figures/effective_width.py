"""effective_width: each hidden layer's loss beside GeLU's by width, and how much smaller a GeLU model is as good.

A row a regime. On the left loss against width, both logarithmic: the line is the fit of GeLU's losses, dots are arms,
and an arrow leads from a SoLU layer to the GeLU model that is as good, a bar being the 95 % interval of its width. On
the right how much smaller that model is, in % of the layer's own width, for every layer, with 95 % intervals; below 0
it is larger. What GeLU's range does not reach has no dot.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from toymodels.figures.colours import colour_of, layer_colours
from toymodels.figures.drawing import WIDTH
from toymodels.figures.reaches import reach
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.document import read
from toymodels.sweeps.studies.effective_width import ASKED, AT_A_WIDTH, FIT, GELU
from toymodels.sweeps.studies.reply import ESTIMATE

STYLES = ("-", "--", ":")
"""of a LayerNorm's first, second and third eps"""
MOST_REGIMES = 12
SHOWN = (-120, 100)
"""% smaller, at most: an interval may be longer"""


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer effective_width`` ran, and for too many
    regimes."""
    tables = read(run, "effective_width").tables
    numbers = dict.fromkeys(ESTIMATE[:3], float)  # a column that is null throughout has no type
    arms, fits = (tables[title].astype(numbers) for title in (AT_A_WIDTH, FIT))
    regimes = list(dict.fromkeys(arms["regime"]))
    if len(regimes) > MOST_REGIMES:
        raise FolderError(
            f"{run.path}: this figure has a row for each of {len(regimes)} regimes, more than {MOST_REGIMES}"
        )
    figure = Figure(figsize=(WIDTH, 0.9 + 2.1 * len(regimes)))
    panels = figure.subplots(len(regimes), 2, squeeze=False)
    looks = _looks(list(dict.fromkeys(arms["layer"])))
    for regime, (left, right) in zip(regimes, panels, strict=True):
        rows = arms[arms["regime"] == regime]
        _losses(left, rows, fits[fits["regime"] == regime], looks)
        _smaller(right, rows, looks)
        left.set_title(regime, loc="left")
        for axis in (left, right):
            _by_width(axis, sorted({*fits["width"]}))
    for axis in panels[-1]:
        axis.set_xlabel("neurons")
    panels[0][1].set_title(f"a {GELU} model so much smaller is as good", loc="left")
    lines = [Line2D([], [], label=layer, markersize=5, **look) for layer, look in looks.items()]
    lines.append(Line2D([], [], color=colour_of(GELU), marker=".", label=f"{GELU}, fitted"))
    figure.legend(handles=lines, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _losses(axis: Axes, rows: pd.DataFrame, fit: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    axis.errorbar(fit["width"], fit["mean"], yerr=reach(fit), fmt=".", color=colour_of(GELU), elinewidth=1)
    axis.plot(fit["width"], fit["fitted"], color=colour_of(GELU), linewidth=1)
    for row in rows.to_dict("records"):
        look = looks[row["layer"]]
        axis.plot(row["width"], row["loss"], marker=look["marker"], color=look["color"], markersize=4)
        if not row["layer"].startswith(ASKED):
            continue
        low, to, high = (row["width"] * (1 - row[end] / 100) for end in ("high", "mean", "low"))
        if to == to:
            arrow = {
                "arrowstyle": "-|>",
                "color": look["color"],
                "linewidth": 0.8,
                "shrinkA": 2,
                "shrinkB": 0,
                "mutation_scale": 6,
            }
            axis.annotate("", (to, row["loss"]), (row["width"], row["loss"]), arrowprops=arrow)
        axis.plot([low, high], [row["loss"]] * 2, color=look["color"], linewidth=3.5, alpha=0.35, solid_capstyle="butt")
    axis.set(yscale="log", ylabel="loss fraction")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else tuple(range(1, 10))))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _smaller(axis: Axes, rows: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    axis.axhline(0, color=colour_of(GELU), linewidth=1)
    layers = list(dict.fromkeys(rows["layer"]))
    for place, layer in enumerate(layers):
        of = rows[rows["layer"] == layer].sort_values("width")
        beside = of["width"] * 1.025 ** (place - (len(layers) - 1) / 2)
        axis.errorbar(beside, of["mean"], yerr=reach(of), elinewidth=1, linewidth=1, markersize=4, **looks[layer])
    low, high = axis.get_ylim()
    axis.set(ylim=(max(low, SHOWN[0]), min(high, SHOWN[1])), ylabel="% smaller")


def _by_width(axis: Axes, widths: list[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xlim(widths[0] / 1.15, widths[-1] * 1.15)
    axis.set_xticks(widths, [str(width) for width in widths], fontsize=6.5)
    axis.xaxis.set_minor_formatter(NullFormatter())


def _looks(layers: list[str]) -> dict[str, dict[str, Any]]:
    """A colour an activation, lighter without LayerNorm; with it a triangle, and a line for each eps."""
    parts = [(layer.partition(", eps ")[0].partition(" + "), layer.partition(", eps ")[2]) for layer in layers]
    hidden = pd.DataFrame(
        {"model.activation": [of[0] for of, _ in parts], "model.layer_norm": [bool(of[2]) for of, _ in parts]}
    )
    colours, known = layer_colours(hidden), list(dict.fromkeys(eps for _, eps in parts if eps))
    return {
        layer: {
            "color": colours[of[0], bool(of[2])],
            "marker": "^" if of[2] else "o",
            "linestyle": STYLES[known.index(eps) % len(STYLES)] if eps else "-",
        }
        for layer, (of, eps) in zip(layers, parts, strict=True)
    }
