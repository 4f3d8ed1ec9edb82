"""more_neurons: hidden layers against their budget, an architecture a colour; and experts against dense layers.

A row a regime for each budget, parameters and multiply-adds: loss fraction, features in a neuron, and how monosemantic
neurons are, by responses to single features; lines are the dense layers, by activation. The last row is of experts:
what they have more than dense ReLU layers of the same budget, how their load and each feature's examples are shared,
and how monosemantic their neurons would be if all worked. Bars are 95 % intervals over seeds.
"""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import more_neurons
from toymodels.sweeps.studies.document import read

COLOURS = {"blocks": "#8c510a", "top": "#e08214", "experts": "#762a83", "bilinear": "#35978f", "gated": "#35978f"}
DENSE = {"relu": "#1b7837", "gelu": "#2166ac", "solu + LN": "#b2182b"}
OTHER = "#888888"
MARKERS = "osD^vP"
MEASURES = {
    "loss_fraction": "loss fraction",
    "in_neurons": "features in a neuron",
    "monosemanticity": "monosemanticity\nof neurons",
}
BUDGETS = {"parameters": "parameters", "multiply_adds": "multiply-adds an example"}
SHARES = {
    "balance": "even load",
    "home": "examples of a feature\nin one expert",
    "monosemanticity": "monosemanticity",
    "monosemanticity_unrouted": "the same if all worked",
}


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer more_neurons`` ran."""
    reply = read(run, "more_neurons")
    layers, equal = reply.tables[more_neurons.LAYERS], reply.tables[more_neurons.EQUAL]
    regimes = list(dict.fromkeys(layers["regime"]))
    rows = [(regime, spent) for regime in regimes for spent in BUDGETS]
    experts = layers["measure"].eq("balance").any()
    figure = Figure(figsize=(7.2, 0.9 + 1.75 * len(rows) + (2.3 if experts else 0)))
    parts = figure.subfigures(2, 1, height_ratios=[1.75 * len(rows), 2.3]) if experts else [figure]
    grid = parts[0].subplots(len(rows), len(MEASURES), squeeze=False)
    for (regime, spent), axes in zip(rows, grid, strict=True):
        for (measure, words), axis in zip(MEASURES.items(), axes, strict=True):
            here = layers[(layers["regime"] == regime) & (layers["measure"] == measure)]
            _against_budget(axis, here, spent)
            axis.set_ylabel(words, fontsize=8)
            axis.set_xlabel(BUDGETS[spent], fontsize=8)
        axes[0].set_title(regime, fontsize=8, loc="left")
    parts[0].legend(handles=_legend(layers), loc="outside upper center", ncols=4, fontsize=7)
    if experts:
        left, right = parts[1].subplots(1, 2, width_ratios=[1.2, 1])
        _differences(left, equal)
        _shares(right, layers)
    return figure


def colour(layer: str) -> str:
    """The colour of a layer by its name: of what it is beside its activation, or of a dense one by that."""
    return next((each for word, each in COLOURS.items() if word in layer), DENSE.get(layer, OTHER))


def marker(layer: str, layers: list[str]) -> str:
    """A marker that tells layers of one colour apart."""
    alike = [each for each in layers if colour(each) == colour(layer)]
    return MARKERS[alike.index(layer) % len(MARKERS)]


def _against_budget(axis: Axes, rows: pd.DataFrame, spent: str) -> None:
    names = list(dict.fromkeys(rows["layer"]))
    for name, of in rows.groupby("layer", sort=False):
        of, layer = of.sort_values(spent), str(name)
        dense = bool(of["dense"].iloc[0])
        error = [of["mean"] - of["low"], of["high"] - of["mean"]]
        style = {"color": colour(layer), "markersize": 4, "elinewidth": 0.8}
        axis.errorbar(
            of[spent],
            of["mean"],
            yerr=error,
            fmt="-" if dense else ":",
            marker="." if dense else marker(layer, names),
            linewidth=1.4 if dense else 0.7,
            **style,
        )
    axis.set_xscale("log")
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


def _differences(axis: Axes, equal: pd.DataFrame) -> None:
    """Features in a neuron, less those of a dense ReLU layer of the same budget: a point a layer, regime and budget."""
    rows = equal[(equal["measure"] == "in_neurons") & (equal["reference"] == more_neurons.REFERENCE)]
    names = list(dict.fromkeys(rows["layer"]))
    keys = list(dict.fromkeys(zip(rows["regime"], rows["budget"], strict=True)))
    for place, key in enumerate(keys):
        of = rows[(rows["regime"] == key[0]) & (rows["budget"] == key[1])]
        y = [names.index(each) + 0.16 * (place - (len(keys) - 1) / 2) for each in of["layer"]]
        axis.errorbar(
            of["mean"],
            y,
            xerr=[of["mean"] - of["low"], of["high"] - of["mean"]],
            fmt=MARKERS[place % len(MARKERS)],
            color="0.15" if key[1] == "parameters" else "0.6",
            markersize=3.5,
            elinewidth=0.9,
            label=f"{key[0]}{', ' if key[0] else ''}equal {more_neurons.words_of(key[1])}",
        )
    axis.axvline(0, color="0.3", linewidth=0.8)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.invert_yaxis()
    axis.legend(fontsize=6, loc="best")
    axis.set_xlabel("features in a neuron, more than in a dense layer", fontsize=8)


def _shares(axis: Axes, layers: pd.DataFrame) -> None:
    """Of every routed layer, how its experts share examples and features: a mark a layer."""
    routed = layers[layers["layer"].str.contains("experts")]
    names = list(dict.fromkeys(routed["layer"]))
    for place, name in enumerate(names):
        of = routed[routed["layer"] == name]
        for y, measure in enumerate(SHARES):
            mean = of[of["measure"] == measure]["mean"]
            axis.plot(
                mean,
                [y + 0.14 * (place - (len(names) - 1) / 2)] * len(mean),
                MARKERS[place % len(MARKERS)],
                color=COLOURS["experts"],
                markersize=4,
                alpha=0.8,
                label=name if y == 0 else None,
            )
    axis.set_yticks(range(len(SHARES)), [textwrap.fill(words, 22) for words in SHARES.values()], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.03)
    axis.legend(fontsize=6, loc="best")
    axis.set_xlabel("share", fontsize=8)
