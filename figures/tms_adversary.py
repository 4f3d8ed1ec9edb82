"""tms_adversary: what an attack does, and features per dimension, as features get sparser; and one against the other.

On the left both against 1 / density, of the first host, on two axes; in the middle the squared slope against features
per dimension, a mark a model, with the line on which they are equal; on the right what the best attack of length
`RADIUS` does to an output of each host, a model without superposition being 1. Lines are means over seeds, bars 95 %
intervals.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodels.figures.colours import OF_ACTIVATIONS, OF_OTHERS, Colour, colour_of, hue, ink
from toymodels.figures.drawing import WIDTH
from toymodels.figures.reaches import reach
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import tms_adversary
from toymodels.sweeps.studies.document import read

SECOND = "orange"
"""the hue of features per dimension"""


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer tms_adversary`` ran."""
    reply = read(run, "tms_adversary")
    rows, models = reply.tables[tms_adversary.BY_DENSITY], reply.tables[tms_adversary.MODELS]
    hosts = list(dict.fromkeys(rows["host"]))
    colours = colours_of(hosts)
    figure = Figure(figsize=(WIDTH, 3.0))
    left, middle, right = figure.subplots(1, 3)
    _both(left, rows[rows["host"] == hosts[0]], hosts[0])
    _against(middle, models[models["host"] == hosts[0]])
    for host in hosts:
        _line(right, rows, host, tms_adversary.ATTACK, colours[host])
    right.axhline(1, color=ink(0.4), linewidth=0.8)
    right.set(xscale="log", xlabel="1 / density", ylabel=f"attack of length {tms_adversary.RADIUS:g}, relative")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=7)
    return figure


def colours_of(hosts: list[str]) -> dict[str, Colour]:
    """A colour a host: the activation's, where no host before has it."""
    found: dict[str, Colour] = {}
    others = iter(OF_OTHERS * len(hosts))
    for host in hosts:
        word = host.partition(" ")[0]
        own = ink(0.85) if word == "bottleneck" else colour_of(word) if word in OF_ACTIVATIONS else None
        found[host] = hue(next(others)) if own is None or own in found.values() else own
    return found


def _both(axis: Axes, rows: pd.DataFrame, host: str) -> None:
    other = axis.twinx()
    _line(axis, rows, host, tms_adversary.SLOPE, ink(0.85))
    _line(other, rows, host, tms_adversary.PER_DIMENSION, hue(SECOND))
    axis.set(xscale="log", xlabel="1 / density", title=host)
    axis.set_ylabel("squared slope", color=ink(0.85))
    other.set_ylabel("features per dimension", color=hue(SECOND))
    other.spines["right"].set_visible(True)
    other.grid(visible=False)
    top = 1.1 * rows[rows["measure"].isin([tms_adversary.SLOPE, tms_adversary.PER_DIMENSION])]["mean"].max()
    for each in (axis, other):
        each.set_ylim(0, top)


def _against(axis: Axes, models: pd.DataFrame) -> None:
    x, y = models[tms_adversary.PER_DIMENSION], models[tms_adversary.SLOPE]
    axis.scatter(x, y, s=9, color=ink(0.85), alpha=0.5, linewidths=0)
    ends = [float(x.min()), float(x.max())]
    axis.plot(ends, ends, color=ink(0.4), linewidth=0.8)
    axis.set(xlabel="features per dimension", ylabel="squared slope", title="line: equal")


def _line(axis: Axes, rows: pd.DataFrame, host: str, measure: str, colour: Colour) -> None:
    of = rows[(rows["host"] == host) & (rows["measure"] == measure)].dropna(subset=["mean"])
    of = of[2 * of["seeds"] >= of["seeds"].max()]  # what most seeds lack is a mean of few
    mean = of["mean"].astype(float)
    axis.errorbar(1 / of["density"], mean, yerr=reach(of), color=colour, marker="o", markersize=3, label=host)
