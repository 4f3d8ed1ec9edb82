"""hosts: what each kind of dictionary finds of the features of every host, at post, with as many latents as features.

A row a host, a mark a kind, with its 95 % interval over dictionary seeds. In the first panel a hollow mark is what
random directions have, a cross what the neurons themselves have. Last, how much better features of tier neuron are
detected than those of tier hidden, of hosts that have both.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.figures.colours import HUES, hue, ink
from toymodels.figures.drawing import WIDTH
from toymodels.figures.reaches import reach
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import hosts
from toymodels.sweeps.studies.document import read

TITLES = {"mcc": "MCC", "f1": "F1", "r2": "R²"}
SHARES = ("mcc", "f1")
"""what is never below 0, as R² of a poor dictionary is"""
APART = "F1, tier neuron - hidden"
MARKERS = ("o", "s", "^", "v", "D")
SPREAD = 0.6
"""the share of a row over which the kinds are spread"""


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer hosts`` ran."""
    tables = read(run, "hosts").tables
    of_hosts = tables[hosts.HOSTS]
    rows = {model: place for place, model in enumerate(of_hosts["model"])}
    several = of_hosts["host"].duplicated(keep=False)
    names = of_hosts["host"].where(~several, of_hosts["host"] + ", model " + of_hosts["model"].astype(str))
    figure = Figure(figsize=(WIDTH, 1.4 + 0.36 * len(rows)))
    panels = figure.subplots(1, len(TITLES) + 1, sharey=True)
    scores, tiers = (_asked(tables[each]) for each in (hosts.SCORES, hosts.TIERS))
    kinds = list(dict.fromkeys(scores["kind"]))
    for axis, (measure, title) in zip(panels, TITLES.items(), strict=False):
        _marks(axis, scores[scores["measure"] == measure], kinds, rows)
        axis.set_title(title, fontsize=8)
        axis.set_xlim(*((0, 1) if measure in SHARES else (None, 1)))
    _marks(panels[-1], tiers[(tiers["measure"] == "f1") & (tiers["tier"] == hosts.APART)], kinds, rows)
    panels[-1].axvline(0, color=ink(0.5), linewidth=0.8)
    panels[-1].set_title(APART, fontsize=8)
    chance = scores[scores["measure"] == "mcc_by_chance"].drop_duplicates("model")
    beside = {
        "random directions": ("o", chance),
        "the neurons": ("x", of_hosts.rename(columns={"neurons_mcc": "mean"})),
    }
    for marker, each in beside.values():
        panels[0].plot(each["mean"], each["model"].map(rows), marker, color=ink(0.8), markersize=4, fillstyle="none")
    panels[0].set_yticks(list(rows.values()), names, fontsize=7)
    panels[0].invert_yaxis()
    marks = [
        Line2D([], [], linestyle="", marker=MARKERS[k % len(MARKERS)], color=_colour(k), markersize=4, label=kind)
        for k, kind in enumerate(kinds)
    ]
    marks += [
        Line2D([], [], linestyle="", marker=marker, color=ink(0.8), fillstyle="none", markersize=4, label=name)
        for name, (marker, _) in beside.items()
    ]
    figure.legend(handles=marks, loc="outside lower left", ncols=4, fontsize=7)
    return figure


def _asked(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at post of as many latents as features."""
    at_post = table[table["tap"] == hosts.TAPS[0]]
    return at_post[at_post["latents"] == at_post.groupby("model")["latents"].transform("min")]


def _marks(axis: Axes, of_measure: pd.DataFrame, kinds: list[str], rows: dict[int, int]) -> None:
    for k, kind in enumerate(kinds):
        of_kind = of_measure[of_measure["kind"] == kind]
        y = of_kind["model"].map(rows) + SPREAD * (k / max(1, len(kinds) - 1) - 0.5)
        style = {"color": _colour(k), "ecolor": _colour(k), "elinewidth": 1, "markersize": 3}
        axis.errorbar(of_kind["mean"], y, xerr=reach(of_kind), fmt=MARKERS[k % len(MARKERS)], **style)


def _colour(k: int) -> tuple[float, float, float]:
    return hue(list(HUES)[k % len(HUES)])
