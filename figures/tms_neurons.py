"""tms_neurons: what each ReLU neuron is made of, a column a neuron, a panel an arm, of the best of its restarts.

A block is the weight of a feature, the largest next to the axis, negative ones below it; its colour is the feature's
importance. A column of one colour is a monosemantic neuron, and its number is bold (after Elhage et al. 2022, *Toy
Models of Superposition*, section 7). Neurons are ordered by their main features, the most important first.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from toymodels.figures.stacks import draw_arms
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run

MOST_NEURONS = 20


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where neurons are too many to tell apart, or linear, and for too many
    panels."""
    models = run.models[(run.models["status"] == "ok") & run.models["loss"].notna()]
    shown = models[(models["model.hidden"] <= MOST_NEURONS) & (models["model.activation"] != "linear")]
    if shown.empty:
        raise FolderError(f"{run.path}: this figure needs trained models with up to {MOST_NEURONS} neurons that bend")
    return draw_arms(run, shown, columns=5, height=1.5)
