"""more_neurons: hidden layers against their budget, an architecture a colour; and experts against dense layers.

A row a regime for each budget, parameters and multiply-adds: loss fraction, features in a neuron, and how monosemantic
neurons are, by responses to single features; lines are the dense layers, by activation. The last row is of experts:
what they have more than dense ReLU layers of the same budget, how their load and each feature's examples are shared,
and how monosemantic their neurons would be if all worked. Bars are 95 % intervals over seeds.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from toymodels.figures.colours import Colour, colour_of, hue, ink, page
from toymodels.figures.drawing import WIDTH
from toymodels.figures.reaches import reach
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import more_neurons
from toymodels.sweeps.studies.document import read

HUES = {"blocks": "brown", "top": "orange", "experts": "violet", "bilinear": "sky", "gated": "sky"}
"""of what a layer is beside its activation"""
MARKERS = "osD^vP"
MEASURES = {
    "loss_fraction": "loss fraction",
    "in_neurons": "features in a neuron",
    "monosemanticity": "monosemanticity\nof neurons",
}
IN_NEURONS = ("in_neurons", "in_neurons_beyond_null")
BUDGETS = {"parameters": "parameters", "multiply_adds": "multiply-adds an example"}
SHARES = {
    "balance": "even load",
    "home": "a feature's\nmain expert",
    "monosemanticity": "mono-\nsemanticity",
    "monosemanticity_unrouted": "if all worked",
}


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer more_neurons`` ran."""
    reply = read(run, "more_neurons")
    layers, equal = reply.tables[more_neurons.LAYERS], reply.tables[more_neurons.EQUAL]
    regimes = list(dict.fromkeys(layers["regime"]))
    rows = [(regime, spent) for regime in regimes for spent in BUDGETS]
    names = list(dict.fromkeys(layers["layer"]))
    heights = [1.5] * len(rows) + [2.3]
    figure = Figure(figsize=(WIDTH, 1.3 + sum(heights)))
    grid = figure.subplots(len(heights), len(MEASURES), squeeze=False, height_ratios=heights)
    for (regime, spent), axes in zip(rows, grid, strict=False):
        for (measure, words), axis in zip(MEASURES.items(), axes, strict=True):
            here = layers[(layers["regime"] == regime) & (layers["measure"] == measure)]
            _against_budget(axis, here, spent, names)
            axis.set_ylabel(words, fontsize=8)
            axis.set_xlabel(BUDGETS[spent], fontsize=8)
        axes[0].set_title(regime, fontsize=8, loc="left")
    figure.legend(handles=_legend(layers), loc="outside upper center", ncols=4, fontsize=7)
    for spent, axis in zip(BUDGETS, grid[-1], strict=False):
        _differences(axis, equal, spent)
    regimes = list(dict.fromkeys(equal["regime"]))
    figure.legend(handles=_of_regimes(regimes), loc="outside lower center", ncols=2, fontsize=7)
    if layers["measure"].eq("balance").any():
        _shares(grid[-1, -1], layers, names)
    else:
        grid[-1, -1].set_visible(False)
    return figure


def colour(layer: str) -> Colour:
    """The colour of a layer by its name: of what it is beside its activation, or of a dense one by that."""
    return next((hue(each) for word, each in HUES.items() if word in layer), colour_of(layer))


def marker(layer: str, layers: list[str]) -> str:
    """A marker that tells layers of one colour apart."""
    alike = [each for each in layers if colour(each) == colour(layer)]
    return MARKERS[alike.index(layer) % len(MARKERS)]


def _against_budget(axis: Axes, rows: pd.DataFrame, spent: str, names: list[str]) -> None:
    for name, of in rows.groupby("layer", sort=False):
        of, layer = of.sort_values(spent), str(name)
        dense = bool(of["dense"].iloc[0])
        style = {"color": colour(layer), "markersize": 4, "elinewidth": 0.8}
        axis.errorbar(
            of[spent],
            of["mean"],
            yerr=reach(of),
            fmt="-" if dense else ":",
            marker="." if dense else marker(layer, names),
            linewidth=1.4 if dense else 0.7,
            **style,
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(labelsize=7)


def _legend(layers: pd.DataFrame) -> list[Line2D]:
    dense = dict(zip(layers["layer"], layers["dense"], strict=True))
    names = list(dense)
    return [
        Line2D(
            [],
            [],
            color=colour(name),
            marker="." if of else marker(name, names),
            linestyle="-" if of else ":",
            markersize=4,
            label=name,
        )
        for name, of in dense.items()
    ]


def _differences(axis: Axes, equal: pd.DataFrame, spent: str) -> None:
    """Features in a neuron, less those of a dense ReLU layer of the same budget: a point a layer and regime, full over
    all data, hollow beyond what rotations give."""
    rows = equal[(equal["budget"] == spent) & (equal["reference"] == more_neurons.REFERENCE)]
    names, regimes = (list(dict.fromkeys(equal[column])) for column in ("layer", "regime"))
    for measure, face in zip(IN_NEURONS, (None, page()), strict=True):
        for place, regime in enumerate(regimes):
            of = rows[(rows["regime"] == regime) & (rows["measure"] == measure)]
            axis.errorbar(
                of["mean"],
                [names.index(each) + 0.24 * (place - (len(regimes) - 1) / 2) for each in of["layer"]],
                xerr=reach(of),
                fmt=MARKERS[place % len(MARKERS)],
                color=_grey(place, len(regimes)),
                markerfacecolor=face or _grey(place, len(regimes)),
                markersize=3.5,
                elinewidth=0.9,
            )
    axis.axvline(0, color=ink(0.7), linewidth=0.8)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(labelsize=7)
    axis.set_title(
        f"in a neuron, more than dense\n{more_neurons.REFERENCE} at equal {more_neurons.words_of(spent)}", fontsize=8
    )


def _of_regimes(regimes: list[str]) -> list[Line2D]:
    """The legend of the last row's first panels."""
    told = {regime: _grey(place, len(regimes)) for place, regime in enumerate(regimes)}
    marks = [
        Line2D(
            [], [], color=grey, marker=MARKERS[place % len(MARKERS)], linestyle="", markersize=4, label=regime or "all"
        )
        for place, (regime, grey) in enumerate(told.items())
    ]
    hollow = Line2D([], [], color=ink(0.85), marker="o", markerfacecolor=page(), linestyle="", markersize=4)
    hollow.set_label("hollow: beyond what rotations give")
    return [*marks, hollow]


def _grey(place: int, of: int) -> Colour:
    return ink(0.85 - 0.4 * place / max(1, of - 1))


def _shares(axis: Axes, layers: pd.DataFrame, names: list[str]) -> None:
    """Of every routed layer, how its experts share examples and features: a mark a layer."""
    routed = layers[layers["layer"].str.contains("experts")]
    experts = list(dict.fromkeys(routed["layer"]))
    for place, name in enumerate(experts):
        of = routed[routed["layer"] == name]
        for y, measure in enumerate(SHARES):
            mean = of[of["measure"] == measure]["mean"]
            axis.plot(
                mean,
                [y + 0.14 * (place - (len(experts) - 1) / 2)] * len(mean),
                marker(name, names),
                color=hue(HUES["experts"]),
                markersize=4,
                alpha=0.8,
                label=name if y == 0 else None,
            )
    axis.set_yticks(range(len(SHARES)), SHARES.values(), fontsize=7)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.05)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6, loc="best")
    axis.set_title("how experts share", fontsize=8)
