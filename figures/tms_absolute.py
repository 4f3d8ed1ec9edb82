"""tms_absolute: what each neuron of a model of |x| is made of, a row a density, of the best of its restarts.

Above the axis the weights with which a neuron reads features in, upon each other, the largest next to the axis; below
it the negative ones. A feature takes two neurons, one for either sign, while there are enough; as features get sparser
neurons are shared. Colour is importance, a bold number a monosemantic neuron (after Elhage et al. 2022, *Toy Models of
Superposition*, section 8). Neurons are ordered by their main features.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from toymodels.figures.stacks import draw_arms
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run


def draw(run: Run) -> Figure:
    """The figure of a run whose targets are |x|; raises `FolderError` for any other, and for too many panels."""
    models = run.models[(run.models["status"] == "ok") & run.models["loss"].notna()]
    shown = models[models["task.target"] == "absolute"]
    if shown.empty:
        raise FolderError(f"{run.path}: this figure needs trained models whose task.target is 'absolute'")
    return draw_arms(run, shown, columns=1, height=1.0)
