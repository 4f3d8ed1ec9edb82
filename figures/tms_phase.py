"""tms_phase: what becomes of a second feature in one neuron, by density and importance, trained beside worked out.

Left the best restart of each setting, in the middle the best of three fixed candidates (`toymodels.metrics.phases`),
after Elhage et al. 2022, *Toy Models of Superposition*, section 3. Colour is how far the second feature overlaps with
the first, from a dimension of its own to superposition, and fades into the page where the feature is not represented.
The line is the density at which the candidates change. Trained models choose lengths and biases that the candidates do
not have: on the right how much less they lose than the best of these, or more (orange), where training ended early.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from toymodels.figures.colours import Colour, hue, ink, page
from toymodels.figures.drawing import WIDTH
from toymodels.figures.restarts import best
from toymodels.metrics.phases import Phase, boundary, candidate_losses, second_feature
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run

RATIO, DENSITY = "features.importance.ratio", "features.density"
SETTING = {
    "features.n": 2,
    "model.hidden": 1,
    "model.activation": "linear",
    "model.output": "relu",
    "model.output_bias": True,
    "model.tied": True,
    "features.values": "uniform",
    "features.firing": "independent",
    "features.signed": False,
}
"""for which the candidates are worked out"""
OF_CANDIDATES = {Phase.DROPPED: (0.0, 0.0), Phase.DEDICATED: (1.0, 0.0), Phase.SUPERPOSED: (1.0, 1.0)}
"""length and overlap of the second feature"""


def draw(run: Run) -> Figure:
    """The figure of a run of 2 features in 1 neuron; raises `FolderError` for any other."""
    models = run.models[(run.models["status"] == "ok") & run.models["loss"].notna()]
    others = [name for name, value in SETTING.items() if name in models and set(models[name]) != {value}]
    if others or models.empty or set(run.varying(models)) != {RATIO, DENSITY}:
        said = f": {', '.join(others)}" if others else ""
        raise FolderError(
            f"{run.path}: this figure needs 2 features of uniform values in 1 linear neuron, where {DENSITY} and "
            f"{RATIO} vary and nothing else{said}"
        )
    chosen = pd.DataFrame([best(rows) for _, rows in models.groupby([DENSITY, RATIO])])
    _, parameters = run.batch([int(model) for model in chosen["model"]])
    length, overlap = second_feature(parameters.W_in)
    p, r = (torch.tensor(chosen[name].to_numpy(float)) for name in (DENSITY, RATIO))
    losses = candidate_losses(p, r)
    least, which = torch.stack(list(losses.values())).min(0)
    found = chosen.assign(
        length=length.numpy(),
        overlap=overlap.numpy(),
        candidate=which.numpy(),
        gain=1 - losses_of(chosen) / least.numpy(),
    )

    figure = Figure(figsize=(WIDTH, 2.9))
    trained, fixed, gain = axes = figure.subplots(1, 3, sharex=True, sharey=True)
    _map(trained, found, np.array([_colour(*each) for each in zip(found["length"], found["overlap"], strict=True)]))
    _map(fixed, found, np.array([_colour(*OF_CANDIDATES[list(losses)[each]]) for each in found["candidate"]]))
    most = max(0.01, float(found["gain"].abs().max()))
    image = _map(gain, found, found["gain"].to_numpy(float), vmin=-most, vmax=most, cmap="PuOr")
    figure.colorbar(image, ax=gain, format=PercentFormatter(1, 0))
    restarts = models.groupby([DENSITY, RATIO]).size()
    trained.set_title(f"trained, best of {restarts.max()}")
    fixed.set_title("the best fixed candidate")
    gain.set_title("trained ones lose\nso much less")
    trained.set_ylabel("density")
    ratios = np.geomspace(r.min(), r.max(), 200)
    for axis in axes:
        axis.plot(
            ratios,
            boundary(torch.tensor(ratios)),
            color="black" if axis is gain else ink(1),
            linewidth=1,
            linestyle="--",
        )
        axis.set(xscale="log", yscale="log", xlabel="importance of the second")
        axis.grid(visible=False)
    trained.set_ylim(*reversed(trained.get_ylim()))
    looks = {str(phase): _colour(*of) for phase, of in OF_CANDIDATES.items()}
    keys = [Patch(facecolor=colour, edgecolor=ink(0.5), label=said) for said, colour in looks.items()]
    figure.legend(handles=keys, loc="outside lower center", ncols=3)
    return figure


def losses_of(chosen: pd.DataFrame) -> np.ndarray:
    """The population loss of each model where all of them have one, else that on fresh samples."""
    exact = "loss_exact" in chosen and chosen["loss_exact"].notna().all()
    return chosen["loss_exact" if exact else "loss"].to_numpy(float)


def _colour(length: float, overlap: float) -> Colour:
    """Of a dimension of its own blue, in superposition vermillion, and not represented the page's colour."""
    there, shared = np.clip([length, overlap], 0, 1)
    full = (1 - shared) * np.array(hue("blue")) + shared * np.array(hue("vermillion"))
    red, green, blue = there * full + (1 - there) * np.array(page())
    return red, green, blue


def _map(axis: Axes, found: pd.DataFrame, values: np.ndarray, **style: Any) -> QuadMesh:
    """Squares of ``values``, numbers or colours of the rows of ``found``; without a model there is none."""
    ratios, densities = (np.unique(found[name]) for name in (RATIO, DENSITY))
    grid = np.full((len(densities), len(ratios), *values.shape[1:]), np.nan)
    grid[np.searchsorted(densities, found[DENSITY]), np.searchsorted(ratios, found[RATIO])] = values
    missing = np.isnan(grid) if grid.ndim == 2 else np.isnan(grid).any(2, keepdims=True) & np.ones(grid.shape, bool)
    return axis.pcolormesh(_edges(ratios), _edges(densities), np.ma.array(grid, mask=missing), **style)


def _edges(centres: np.ndarray) -> np.ndarray:
    """Where squares about ``centres`` meet on a logarithmic axis."""
    logs = np.log(centres)
    between = (logs[1:] + logs[:-1]) / 2
    step = logs[1] - logs[0] if len(logs) > 1 else 1.0
    return np.exp([logs[0] - step / 2, *between, logs[-1] + step / 2])
