"""tms_sets: the best restart of each arm in the plane, coloured by set, beside what angles all restarts' sets stand at.

A row a size with two neurons and a firing law, a panel a density: the features of a set share a colour (Elhage et al.
2022, *Toy Models of Superposition*). On the right the pairs within sets over all restarts, by kind; of independent
features the same pairs, which nothing ties together.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymodels.figures.colours import HUES, Colour, hue, ink
from toymodels.figures.directions import draw_directions
from toymodels.figures.drawing import WIDTH
from toymodels.figures.restarts import best
from toymodels.metrics.arrangement import PairKind
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import tms_sets
from toymodels.sweeps.studies.document import read
from toymodels.sweeps.studies.tms_sets import DENSITY, FIRING, HIDDEN, N

KINDS = {PairKind.SAME: "vermillion", PairKind.ORTHOGONAL: "blue", PairKind.ANTIPODAL: "green"}
"""the hues of kinds; others are grey"""
GREYS = {PairKind.OTHER: 0.3, PairKind.ABSENT: 0.08}


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer tms_sets`` ran, or without a plane."""
    pairs = read(run, "tms_sets").tables[tms_sets.PAIRS]
    pairs = pairs[pairs["pairs"] == "within"]
    planes = pairs[pairs["size"].str.endswith(" in 2")]
    rows = [(str(size), str(firing), of) for (size, firing), of in planes.groupby(["size", "firing"], sort=False)]
    if not rows:
        raise FolderError(f"{run.path}: this figure needs models with 2 hidden neurons")
    densities = list(dict.fromkeys(pairs["density"]))
    figure = Figure(figsize=(WIDTH, 0.6 + 1.32 * len(rows)))
    widths = [1.0] * len(densities) + [1.9]
    panels = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    for (size, firing, of), axes in zip(rows, panels, strict=True):
        for density, axis in zip(densities, axes, strict=False):
            _best_restart(run, axis, size, firing, density)
        axes[0].set_ylabel(f"{size}\n{firing}", fontsize=7)
        _kinds(axes[-1], of)
    for density, axis in zip(densities, panels[0], strict=False):
        axis.set_title(f"density {density:g}", fontsize=8)
    panels[0][-1].set_title("pairs within sets, all restarts", fontsize=8)
    handles = [panels[0][-1].patches[len(densities) * k] for k in range(len(PairKind))]
    figure.legend(handles, [kind.value for kind in PairKind], loc="outside lower right", ncols=5, fontsize=7)
    return figure


def _best_restart(run: Run, axis: Axes, size: str, firing: str, density: float) -> None:
    models = run.models[run.models["status"] == "ok"]
    n, hidden = (int(number) for number in size.split(" in "))
    chosen = models[(models[N] == n) & (models[HIDDEN] == hidden) & (models[FIRING] == firing)]
    chosen = chosen[chosen[DENSITY] == density]
    W = run.model(int(best(chosen)["model"])).parameters.W_in[0]
    draw_directions(axis, W, [hue(list(HUES)[feature // 2]) for feature in range(n)])
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _kinds(axis: Axes, of: pd.DataFrame) -> None:
    labels, foot = [f"{density:g}" for density in of["density"]], pd.Series(0.0, of.index)
    for kind in PairKind:
        axis.bar(labels, of[kind.value], bottom=foot, color=_colour(kind), edgecolor=ink(0.5), linewidth=0.4, width=0.8)
        foot = foot + of[kind.value]
    axis.set_ylim(0, 1)
    axis.tick_params(labelsize=7)


def _colour(kind: PairKind) -> Colour:
    return hue(KINDS[kind]) if kind in KINDS else ink(GREYS[kind])
