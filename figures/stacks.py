"""Stacks: the weights of each neuron upon each other, the largest at the axis, negative ones below; a panel an arm."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from toymodels.figures.colours import Colour, by_importance, ink, page
from toymodels.figures.drawing import WIDTH
from toymodels.figures.restarts import best, loss_fraction
from toymodels.metrics.gauge import gauged_directions
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import label
from toymodels.sweeps.results.reading import Run

SEEN = 0.02
"""times the largest weight: what is smaller would be no more than a line, and is left out"""
MONOSEMANTIC = 0.8
"""the share of one feature in a neuron's responses above which its number is bold"""
MOST_PANELS, MOST_NEURONS = 20, 128
TITLE_WIDTH = 26
DENSITY = "features.density"


def draw_arms(run: Run, models: pd.DataFrame, columns: int, height: float) -> Figure:
    """A panel for each arm of ``models``, ``columns`` in a row and ``height`` inches high, of its best restart.

    Raises `FolderError` for too many panels, or neurons.
    """
    arms = run.arms(models)
    if len(arms) > MOST_PANELS or models["model.hidden"].max() > MOST_NEURONS:
        raise FolderError(
            f"{run.path}: this figure has room for {MOST_PANELS} combinations of settings and {MOST_NEURONS} neurons, "
            f"and here are {len(arms)} and {models['model.hidden'].max()}: run a part of the sweep, by --set or --grid"
        )
    columns = min(columns, len(arms))
    rows = -(-len(arms) // columns)
    figure = Figure(figsize=(WIDTH, (height + (0.5 if columns > 1 else 0.3)) * rows + 0.3))
    axes = figure.subplots(rows, columns, sharey="row", squeeze=False)
    for axis, arm in zip(axes.flat, arms, strict=False):
        chosen = best(arm.models)
        model = run.model(int(chosen["model"]))
        experiment = model.experiment
        W = gauged_directions(experiment.bottleneck, model.parameters)[0].numpy()
        neurons = run.neurons[run.neurons["model"] == chosen["model"]].sort_values("neuron")
        order = np.argsort(np.abs(W).argmax(1), kind="stable")
        draw_stacks(axis, W[order], by_importance(experiment.feature_importance()))
        alone = neurons["monosemanticity"].to_numpy(float)[order] > MONOSEMANTIC
        _number(axis, alone)
        named = label({DENSITY: chosen[DENSITY]} | arm.settings)
        said = (
            named,
            f"{alone.sum()} of {len(alone)} monosemantic",
            f"best of {len(arm.models)}, {loss_fraction(chosen)}",
        )
        lines = [line for part in said for line in textwrap.wrap(part, TITLE_WIDTH)]
        axis.set_title((", " if columns == 1 else "\n").join(lines), fontsize=6.5)
    for axis in axes.flat[len(arms) :]:
        axis.set_visible(False)
    figure.supxlabel("neurons; bold: monosemantic (above: the loss fraction)", fontsize=8)
    figure.supylabel("weights of features", fontsize=8)
    if len(models) < len(run.models):
        figure.suptitle(f"{len(run.models) - len(models)} other models are left out", fontsize=7, color=ink(0.7))
    return figure


def draw_stacks(axis: Axes, W: np.ndarray, colours: Sequence[Colour]) -> PolyCollection:
    """W ``[hidden, feature]``: a column a neuron from 1 on, a block a weight in the colour of its feature."""
    corners, faces, least = [], [], SEEN * np.abs(W).max(initial=0)
    for place, weights in enumerate(W, start=1):
        ends = {True: 0.0, False: 0.0}
        for feature in np.argsort(-np.abs(weights), kind="stable"):
            weight = float(weights[feature])
            if abs(weight) <= least:
                break
            foot = ends[weight > 0]
            top = ends[weight > 0] = foot + weight
            left, right = place - 0.4, place + 0.4
            corners.append([(left, foot), (right, foot), (right, top), (left, top)])
            faces.append(colours[feature])
    blocks = PolyCollection(corners, facecolors=faces, edgecolors=[page()], linewidths=0.3)
    axis.add_collection(blocks)
    axis.axhline(0, color=ink(0.6), linewidth=0.6)
    axis.set_xlim(0.4, len(W) + 0.6)
    axis.autoscale_view(scalex=False)
    axis.grid(visible=False, axis="x")
    return blocks


def _number(axis: Axes, bold: np.ndarray) -> None:
    axis.set_xticks(range(1, len(bold) + 1), [str(place) for place in range(1, len(bold) + 1)], fontsize=6)
    for text, each in zip(axis.get_xticklabels(), bold, strict=True):
        text.set(weight="bold" if each else "normal", color=ink(1 if each else 0.6))
    axis.tick_params(axis="x", length=0)
