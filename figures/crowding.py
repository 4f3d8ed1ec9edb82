"""crowding: R^2 of either tier by how many features of tier neuron are active beside it, and at equal company without.

Of the first regime, the primary one before others; a panel a hidden layer, whose models are run anew. Full lines are
R^2 with 0, 1, 2, and 3 or more *other* features of tier neuron active; dashed ones with as many other features active,
none of them of tier neuron. Crowding hurts everybody: it is how far dashed lines fall. What features of tier neuron do
beyond that is the gap from the dashed line down to the full one; a gate would show as a wide gap in tier hidden alone.
Thin lines are models, thick ones their mean. Tiers are each model's own, as in its tables.
"""

from __future__ import annotations

import textwrap
from itertools import zip_longest

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.figures.colours import OF_TIERS, ink, tier_colour
from toymodels.figures.drawing import COLUMN, WIDTH
from toymodels.figures.shown import regime_title, regimes_with_tiers
from toymodels.hosts import Models
from toymodels.hypotheses.crowding import COMPANY, NUMBERS, by_company, equal_company, observe
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run

MODELS, SAMPLES = 3, 24576
"""How many models a layer are run anew, and on how many samples each, so that the figure takes seconds."""
COLUMNS = 4
STYLES = ("-", "--")
MARKERS = {"neuron": "o", "hidden": "^"}
TITLE_WIDTH = 110


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` if nothing was trained, no target is of features, or no model of the
    regime has a feature of tier neuron."""
    regimes, primary, said = regimes_with_tiers(run)
    models = regimes[0].models
    models = models[models["features_neuron"] > 0]
    if models.empty:
        raise FolderError(f"{run.path}: this figure is about company of tier neuron, and no feature is in that tier")
    arms = list(dict.fromkeys(models["arm"]))
    rows, across = -(-len(arms) // COLUMNS), min(COLUMNS, len(arms))
    figure = Figure(figsize=(min(WIDTH, max(COLUMN, 0.8 + 1.6 * across)), 1.1 + 1.6 * rows))
    panels = figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False)
    for arm, axis in zip(arms, panels.flat, strict=False):
        numbers = models.loc[models["arm"] == arm, "model"].tolist()
        for tier, explained in in_company(run, numbers[:MODELS]).items():
            _lines(axis, explained, tier)
        axis.set_title(f"{arm} ({min(MODELS, len(numbers))} of {len(numbers)} models)", fontsize=7.5)
    for axis, below in zip_longest(panels.flat, panels.flat[across:]):
        axis.set_visible(bool(axis.lines))
        if below is None or not below.lines:
            axis.tick_params(labelbottom=True)
            axis.set_xlabel("others of tier neuron active", fontsize=7.5)
    panels[0][0].set_xticks(range(COMPANY), [*map(str, range(COMPANY - 1)), f"{COMPANY - 1}+"])
    figure.supylabel("R² of a tier's features", fontsize=8)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4)
    figure.suptitle(textwrap.fill("; ".join([regime_title(regimes, primary), *said]), TITLE_WIDTH), fontsize=7)
    return figure


def in_company(run: Run, models: list[int]) -> dict[str, np.ndarray]:
    """Of each tier R^2 of its features, float64 [model, 2, company]: with so many features of tier neuron active, and
    in company of the same size with none."""
    tiers = run.features.set_index(["model", "feature"])["tier"].loc[models].to_numpy().reshape(len(models), -1)
    arm, n = Models(*run.batch(models)), tiers.shape[1]
    is_of = {tier: torch.from_numpy(np.equal(tiers, tier)) for tier in OF_TIERS}
    samples = min(SAMPLES, *(int(number) for number in run.models.set_index("model").loc[models, "eval.samples"]))
    at_once = max(4, NUMBERS // n // 4 * 4)
    sums = torch.zeros(())
    for first in range(0, samples, at_once):
        sums = sums + by_company(observe(arm, first, min(first + at_once, samples)), is_of["neuron"])
    return {tier: equal_company(sums, of).numpy() for tier, of in is_of.items()}


def _lines(axis: Axes, explained: np.ndarray, tier: str) -> None:
    """A thin line a model and kind of company, a thick one their mean where most models say something."""
    places, colour = np.arange(COMPANY), tier_colour(tier)
    for kind, style in enumerate(STYLES):
        of_kind = explained[:, kind]
        for line in of_kind:
            axis.plot(places, line, style, color=colour, linewidth=0.4, alpha=0.5)
        there = np.isfinite(of_kind).sum(0)
        mean = np.where(2 * there > len(of_kind), np.nansum(of_kind, 0) / np.maximum(1, there), np.nan)
        face = colour if kind == 0 else "none"
        axis.plot(places, mean, style, color=colour, marker=MARKERS[tier], markerfacecolor=face, markersize=4)


def _legend() -> list[Line2D]:
    tiers = [Line2D([], [], color=tier_colour(tier), marker=MARKERS[tier], label=tier) for tier in OF_TIERS]
    kinds = ("with so many", "as many others, none of them")
    return [*tiers, *(Line2D([], [], color=ink(1), linestyle=s, label=k) for s, k in zip(STYLES, kinds, strict=True))]
