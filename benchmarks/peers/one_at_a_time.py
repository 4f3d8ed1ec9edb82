"""One model after the other in plain PyTorch: what is written first."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from benchmarks.peers.recipe import Recipe
from benchmarks.workload import Workload

MOST = 20
"""Models that are trained; the time of more is scaled up, for it is the same loop."""


class OneAtATime:
    """A `Recipe` of one model, over and over."""

    name = "one at a time"

    def __init__(self, workload: Workload, density: float) -> None:
        alone = dataclasses.replace(workload, models=1)
        self.scale = max(1.0, workload.models / MOST)
        self.models = [Recipe(alone, density) for _ in range(min(workload.models, MOST))]

    @property
    def density(self) -> float:
        """Of all its models."""
        return self.models[0].density

    @density.setter
    def density(self, value: float) -> None:
        for model in self.models:
            model.density = value

    def run(self, steps: int) -> Tensor:
        """Train on; the losses of the last step."""
        return torch.cat([model.run(steps) for model in self.models])

    def close(self) -> None:
        """Nothing is held."""
