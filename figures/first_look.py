"""first_look: what LayerNorm costs or wins back at each eps, and what SoLU costs more than GeLU.

A column a regime. Above, the loss fraction of every activation without LayerNorm and with it at each eps: a small mark
a model, a large one their mean; dashed, on from an activation without LayerNorm, is what it has to beat. Below, SoLU
minus GeLU at equal seeds, the mean and its 95 % interval over seeds (Student's t): a claim about LayerNorm whose sign
changes with eps is undetermined.
"""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.figures.colours import colour_of, ink
from toymodels.figures.drawing import WIDTH
from toymodels.figures.shown import EPS, NORM, trained
from toymodels.hypotheses.statistics.intervals import student_interval
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import HIDDEN_LAYER, SEED_ALONE, as_python, conditions, value_text
from toymodels.sweeps.results.reading import Run

ACTIVATION, LOSS = "model.activation", "loss_fraction"
WITHOUT = "no LN"
PLACE = "place"
"""The column that says where on the axis a model stands: `WITHOUT`, or LayerNorm's eps."""
ASKED = ("solu", "gelu")
MOST_REGIMES = 4
TITLE_WIDTH = 34


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where no model has a LayerNorm, and for too many regimes."""
    models = trained(run)
    models = models[models[LOSS].notna()]
    if not models[NORM].any():
        raise FolderError(f"{run.path}: this figure is about LayerNorm's eps, and no trained model has a LayerNorm")
    regimes = run.arms(models, over=(*SEED_ALONE, *HIDDEN_LAYER, EPS, *run.tuned))
    if len(regimes) > MOST_REGIMES:
        raise FolderError(
            f"{run.path}: this figure has a column for each of {len(regimes)} regimes, more than {MOST_REGIMES}: run a "
            "part of the sweep, with --set or --grid"
        )
    figure = Figure(figsize=(min(WIDTH, 0.9 + 3.0 * len(regimes)), 4.6))
    panels = figure.subplots(2, len(regimes), squeeze=False, sharex="col", height_ratios=[2, 1])
    for regime, name, (above, below) in zip(regimes, conditions([r.settings for r in regimes]), panels.T, strict=True):
        rows = regime.models.assign(**{PLACE: places(regime.models)})
        order = in_order(rows)
        _losses(above, rows, order)
        _differences(below, differences(rows, order), order)
        above.set_title(textwrap.fill(name, TITLE_WIDTH), fontsize=8)
        below.set_xticks(range(len(order)), order)
        below.set_xlabel("LayerNorm, by its eps")
    panels[0][0].set_ylabel("loss fraction")
    panels[1][0].set_ylabel("SoLU minus GeLU")
    names = list(dict.fromkeys(models[ACTIVATION]))
    keys = [Line2D([], [], marker="o", linestyle="", color=colour_of(name), label=name) for name in names]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    return figure


def places(models: pd.DataFrame) -> list[str]:
    """`WITHOUT` of a model without LayerNorm, the eps of one that has it, in the order of the rows."""
    return [
        value_text(as_python(eps)) if norm else WITHOUT
        for norm, eps in models[[NORM, EPS]].itertuples(index=False, name=None)
    ]


def in_order(rows: pd.DataFrame) -> list[str]:
    """The places that there are: without LayerNorm, then by rising eps, words such as ``matched`` last."""

    def size(place: str) -> tuple[bool, float]:
        try:
            return False, float(place)
        except ValueError:
            return place != WITHOUT, -1.0

    return sorted(set(rows[PLACE]), key=size)


def differences(rows: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """The loss fraction of SoLU minus that of GeLU at each place, at equal seeds: a row a place at which both are."""
    first, second = (
        rows[rows[ACTIVATION] == name].pivot_table(index="seed", columns=PLACE, values=LOSS) for name in ASKED
    )
    found = []
    for place in order:
        if place in first and place in second:
            interval = student_interval((first[place] - second[place]).to_numpy(float))
            if interval is not None:
                found.append((place, interval.mean, interval.half_width or 0.0))
    return pd.DataFrame(found, columns=["place", "mean", "half_width"])


def _losses(axis: Axes, rows: pd.DataFrame, order: list[str]) -> None:
    for name, of in rows.groupby(ACTIVATION, sort=False):
        colour = colour_of(str(name))
        axis.scatter([order.index(p) for p in of[PLACE]], of[LOSS], s=7, color=colour, alpha=0.4, linewidths=0)
        means = of.groupby(PLACE)[LOSS].mean()
        with_norm = [place for place in order if place in means and place != WITHOUT]
        axis.plot([order.index(p) for p in with_norm], means[with_norm], "-^", color=colour, markersize=6)
        if WITHOUT in means:
            axis.plot([0], [means[WITHOUT]], "o", color=colour, markersize=6)
            axis.plot([0, len(order) - 0.7], [means[WITHOUT]] * 2, "--", color=colour, linewidth=0.8, zorder=0)
    axis.set_xlim(-0.4, len(order) - 0.6)
    axis.set_ylim(bottom=0)


def _differences(axis: Axes, found: pd.DataFrame, order: list[str]) -> None:
    axis.axhline(0, color=ink(0.8), linewidth=0.8)
    for place, mean, half in found.itertuples(index=False):
        axis.errorbar(order.index(place), mean, yerr=half, fmt="D", color=colour_of(ASKED[0]), markersize=4)
        number = f"{mean:+.3f}".replace("-", "\N{MINUS SIGN}").replace("0.", ".")
        over = {"xytext": (0, 6 if mean > 0 else -13), "textcoords": "offset points"}
        axis.annotate(number, (order.index(place), mean), ha="center", fontsize=7, **over)
    axis.margins(y=0.45)
    if found.empty:
        axis.text(0.5, 0.7, "not both are there", transform=axis.transAxes, ha="center", fontsize=7)
