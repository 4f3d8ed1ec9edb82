"""The contents of a pack: one table of its tensors, from which packs are made, checked when read, and sized.

Axes are ``model, hidden, feature, embedding, expert, target, point`` (of the loss curve) and ``snapshot``. Every pack
has every tensor, whatever its architecture: what that lacks is 0, a gain that it lacks is 1. An embedding E, gates and
a router are there only where there are some, snapshots where asked for.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch

from toymodels.training.experiment import Experiment

PARAMETERS = {
    "W_in": ("hidden", "feature"),
    "W_out": ("target", "hidden"),
    "b_in": ("hidden",),
    "b_out": ("target",),
    "ln_gain": ("hidden",),
    "ln_bias": ("hidden",),
    "ln_eps": (),
}
"""those that every pack has, with their axes after ``model``, where an architecture has not got others"""
AXES = {
    "model": ("model",),
    **{name: ("model", *axes) for name, axes in PARAMETERS.items()},
    "curve_step": ("point",),
    "curve": ("model", "point"),
    "loss": ("model",),
    "status": ("model",),
    "diverged_step": ("model",),
}
TYPES = {
    "model": torch.int64,
    "ln_eps": torch.float64,
    "curve_step": torch.int64,
    "loss": torch.float64,
    "status": torch.uint8,
    "diverged_step": torch.int64,
    "snapshot_step": torch.int64,
}
"""of all tensors that are not float32"""
LACKING = {"b_in": 0.0, "b_out": 0.0, "ln_gain": 1.0, "ln_bias": 0.0, "ln_eps": 0.0}
"""what stands for a parameter that the architecture lacks"""
SNAPSHOT = "snapshot_"
"""begins the name of a tensor ``[model, snapshot, ...]`` of what a parameter was while it was trained"""


@dataclass(frozen=True)
class Contents:
    """What one tensor of a pack is."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numbers(self) -> int:
        """How many numbers the tensor has, the product of its shape."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """How many bytes its numbers take."""
        return self.numbers * self.dtype.itemsize


def tensors_of(e: Experiment, n_models: int) -> dict[str, Contents]:
    """The tensors of a pack of so many models like ``e``, by name."""
    b, recipe = e.bottleneck, e.training
    points, snapshots = len(recipe.curve_steps()), len(recipe.snapshot_steps())
    sizes = {"model": n_models, "point": points, **asdict(e.sizes)}
    own = {name: ("model", *axes) for name, axes in {**b.axes, **b.fixed}.items()}
    shapes = {name: tuple(sizes[axis] for axis in axes) for name, axes in (AXES | own).items()}
    if snapshots:
        kept = {f"{SNAPSHOT}{name}": (n_models, snapshots, *shapes[name][1:]) for name in b.axes}
        shapes |= kept | {f"{SNAPSHOT}step": (snapshots,)}
    return {name: Contents(shape, TYPES.get(name, torch.float32)) for name, shape in shapes.items()}


def least_bytes(e: Experiment, n_models: int) -> int:
    """Less than the file of a pack of so many models like ``e`` takes: its tensors, without what it says of them."""
    return sum(each.n_bytes for each in tensors_of(e, n_models).values())


def most_bytes(e: Experiment, n_models: int) -> int:
    """More than the file of a pack of so many models like ``e`` takes, or what is kept of it in training.

    That is, whatever it says of its models: listed laws are numbers in words, and kernels pad rows to 16.
    """
    numbers = sum(each.numbers for each in tensors_of(e, n_models).values())
    return 2**9 * numbers + 2**14 * n_models + 2**20
