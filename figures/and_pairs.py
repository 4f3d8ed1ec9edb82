"""and_pairs: of how many pairs each hidden layer computes the AND, and how many have a neuron of their own.

A panel a condition: how many pairs there are, and the loss. A bar a hidden layer, the mean over seeds of its pairs:
those that a single neuron at ``post`` says with an R^2 above one half and the model recovers; those that the model
recovers and no neuron says; and the others. The line is the 95 % interval over seeds of the first (Student's t). On the
right the loss fraction.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from toymodels.figures.colours import ink, page, tier_colour
from toymodels.figures.drawing import WIDTH
from toymodels.figures.shown import trained
from toymodels.hypotheses.statistics.intervals import student_interval
from toymodels.metrics.recovery import RECOVERED
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import HIDDEN_LAYER, SEED_ALONE, hidden_layers, label
from toymodels.sweeps.results.reading import Run

LOSS, R2, BEST = "loss_fraction", "r2", "best_neuron_r2_post"
IN_A_NEURON, IN_NONE, NOT = "in a neuron", "recovered, in none", "not recovered"
TIERS = {IN_A_NEURON: "neuron", IN_NONE: "hidden", NOT: "lost"}
"""The tiers of which the bars have the colours."""
HATCHES = {IN_A_NEURON: "", IN_NONE: "////", NOT: ""}
ACROSS = 2
MOST_CONDITIONS = 8


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where no target is of pairs, and for too many conditions."""
    models = trained(run)
    models = models[(models["task.target"] == "and") & models[LOSS].notna()]
    if models.empty:
        raise FolderError(f"{run.path}: this figure is about the AND of pairs, and no trained model has that target")
    found = run.arms(models, over=(*SEED_ALONE, *HIDDEN_LAYER, *run.tuned))
    if len(found) > MOST_CONDITIONS:
        raise FolderError(
            f"{run.path}: this figure has a panel for each of {len(found)} conditions, more than {MOST_CONDITIONS}: "
            "run a part of the sweep, with --set or --grid"
        )
    counted = counts(run.targets)
    across = min(ACROSS, len(found))
    down = -(-len(found) // across)
    layers = list(dict.fromkeys(hidden_layers(models)))
    figure = Figure(figsize=(min(WIDTH, 0.9 + 3.1 * across), 0.7 + (0.6 + 0.2 * len(layers)) * down))
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    for condition, axis in zip(found, panels.flat, strict=False):
        rows = condition.models.join(counted, on="model").assign(layer=hidden_layers(condition.models))
        _bars(axis, rows, layers)
        axis.set_title(label(condition.settings), loc="left")
    for axis in panels.flat[len(found) :]:
        axis.set_visible(False)
    for axis in panels[-1]:
        axis.set_xlabel("pairs, mean over seeds")
    keys = [
        Patch(facecolor=tier_colour(tier), hatch=HATCHES[kind], edgecolor=page(), label=kind)
        for kind, tier in TIERS.items()
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    return figure


def counts(targets: pd.DataFrame) -> pd.DataFrame:
    """How many pairs of each model are in a neuron, are recovered and in none, and are not recovered: a row a model."""
    recovered, in_neuron = targets[R2] > RECOVERED, targets[BEST] > RECOVERED
    said = {IN_A_NEURON: recovered & in_neuron, IN_NONE: recovered & ~in_neuron, NOT: ~recovered}
    return pd.DataFrame(said).groupby(targets["model"]).sum()


def _bars(axis: Axes, rows: pd.DataFrame, layers: list[str]) -> None:
    means = rows.groupby("layer")[[*TIERS, LOSS]].mean().reindex(layers)
    places, start = np.arange(len(layers)), np.zeros(len(layers))
    for kind, tier in TIERS.items():
        width = means[kind].fillna(0).to_numpy()
        axis.barh(
            places, width, 0.75, left=start, color=tier_colour(tier), hatch=HATCHES[kind], edgecolor=page(), linewidth=0
        )
        start = start + width
    most = max(1.0, start.max())
    for place, layer in enumerate(layers):
        interval = student_interval(rows.loc[rows["layer"] == layer, IN_A_NEURON].to_numpy(float))
        if interval is not None:
            ends = np.clip([interval.low, interval.high], 0, start[place])
            axis.plot(ends, [place] * 2, color=ink(1), linewidth=1)
            loss = f"{means.loc[layer, LOSS]:.3f}".removeprefix("0")
            axis.text(1.02 * most, place, loss, va="center", fontsize=7)
    axis.text(1.02 * most, -0.75, "loss", va="center", fontsize=7)
    axis.set_xlim(0, 1.18 * most)
    axis.set_ylim(len(layers) - 0.5, -1.1)
    axis.set_yticks(places, layers)
    axis.grid(visible=False, axis="y")
