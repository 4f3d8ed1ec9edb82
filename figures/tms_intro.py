"""tms_intro: the feature directions in the plane, a panel a density and an arm, of the best of its restarts.

As features get sparser, two orthogonal ones become two antipodal pairs, then a pentagon (Elhage et al. 2022, *Toy
Models of Superposition*, section 2). Colour is importance. Restarts differ in their seed alone. The best of them has
the least population loss where that is known of all of them, else the least loss on fresh samples: that one looks a
little better than it is, so its standard error stands beside it.
"""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.figure import Figure

from toymodels.figures.colours import by_importance
from toymodels.figures.directions import draw_directions
from toymodels.figures.drawing import WIDTH
from toymodels.figures.restarts import best, loss_fraction
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import label
from toymodels.sweeps.results.reading import Run

PANELS_A_ROW = 5
MOST_PANELS = 60
TITLE_WIDTH = 25
DENSITY = "features.density"


def draw(run: Run) -> Figure:
    """The figure of a run with two hidden neurons; raises `FolderError` for any other, and for too many panels."""
    models = run.models[(run.models["status"] == "ok") & run.models["loss"].notna()]
    if models.empty or set(models["model.hidden"]) != {2}:
        raise FolderError(f"{run.path}: this figure needs trained models with 2 hidden neurons")
    arms = run.arms(models)
    if len(arms) > MOST_PANELS:
        raise FolderError(
            f"{run.path}: this figure has a panel for each of {len(arms)} combinations of "
            f"{', '.join(arms[0].settings)}, more than {MOST_PANELS}: run a part of the sweep, with --set or --grid"
        )
    columns = min(PANELS_A_ROW, len(arms))
    rows = -(-len(arms) // columns)
    titles = [_title(arm.settings, arm.models) for arm in arms]
    lines = max(title.count("\n") for title in titles) + 1
    figure = Figure(figsize=(min(WIDTH, 1.7 * columns + 0.8), (1.4 + 0.11 * lines) * rows + 0.2))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, title, arm in zip(axes.flat, titles, arms, strict=False):
        model = run.model(int(best(arm.models)["model"]))
        draw_directions(axis, model.parameters.W_in[0], by_importance(model.experiment.importance()))
        axis.set_title(title, fontsize=6.5)
    for axis in axes.flat[len(arms) :]:
        axis.set_visible(False)
    for axis in axes.flat[len(arms) - columns : len(arms)]:  # the last of each column
        axis.tick_params(labelbottom=True)
    return figure


def _title(settings: dict[str, object], restarts: pd.DataFrame) -> str:
    """What tells the panel from the others, of how many restarts it shows the best, and how good that is."""
    chosen = best(restarts)
    named = label({DENSITY: chosen[DENSITY]} | settings)
    said = f"best of {len(restarts)}, loss fraction {loss_fraction(chosen)}"
    return "\n".join(line for part in (named, said) for line in textwrap.wrap(part, TITLE_WIDTH))
