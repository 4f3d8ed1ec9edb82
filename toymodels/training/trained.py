"""What every engine returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.glance import MOST_ROWS, html_page, html_table, number
from toymodels.training.experiment import Experiment


@dataclass(frozen=True)
class Trained:
    """A batch of trained models, on the CPU."""

    experiments: tuple[Experiment, ...]
    parameters: Parameters
    curve_step: np.ndarray
    """[point], counted from 1"""
    curve: Tensor
    """[model, point]: the batch loss at that step, before its update"""
    diverged_step: Tensor
    """[model], int64: the step at which the model diverged and was frozen; 0 for a model that did not"""
    snapshot_step: np.ndarray
    """[snapshot], counted from 1"""
    snapshots: dict[str, Tensor]
    """by parameter, [model, snapshot, ...]: the weights after that step"""
    sub_batches: tuple[int, ...]
    """how many models trained together; one entry unless memory ran out"""

    def __len__(self) -> int:
        return len(self.experiments)

    def part(self, first: int, last: int) -> Trained:
        """Models ``first`` to ``last - 1``, as if they had been trained by themselves."""
        cuts = np.clip(np.cumsum((0, *self.sub_batches)), first, last)
        tensors = {name: each[first:last] for name, each in self.parameters.present().items()}
        return replace(
            self,
            experiments=self.experiments[first:last],
            parameters=Parameters(**tensors),
            curve=self.curve[first:last],
            diverged_step=self.diverged_step[first:last],
            snapshots={name: each[first:last] for name, each in self.snapshots.items()},
            sub_batches=tuple(size for size in np.diff(cuts).tolist() if size),
        )

    @property
    def diverged(self) -> Tensor:
        """Which models diverged, bool [model]."""
        return self.diverged_step > 0

    def __repr__(self) -> str:
        if not len(self):
            return "Trained: no models"
        first, diverged = self.experiments[0], int(self.diverged.sum())
        sizes = f"{first.features.n} features, {first.bottleneck.hidden} neurons"
        how = f"{first.training.steps:,} steps of {first.training.batch:,} samples"
        return f"Trained: {len(self):,} models of {sizes}, {how}" + (f", {diverged:,} diverged" if diverged else "")

    def _repr_html_(self) -> str:
        shown = range(min(len(self), MOST_ROWS))
        rows = [
            [
                model,
                self.experiments[model].seed,
                number(float(self.curve[model, 0])) if self.curve.shape[1] else "-",
                number(float(self.curve[model, -1])) if self.curve.shape[1] else "-",
                f"diverged at step {int(self.diverged_step[model])}" if self.diverged[model] else "ok",
            ]
            for model in shown
        ]
        titles = ["model", "seed", "first batch's loss", "last batch's loss", ""]
        return html_page(
            "Trained", [repr(self).removeprefix("Trained: ")], html_table(titles, rows, len(self) - len(rows))
        )


def concatenate(parts: Sequence[Trained]) -> Trained:
    """Batches of one structure as one batch, in order."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]

    def join(tensors: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([t[name] for t in tensors]) for name in tensors[0]}

    return Trained(
        experiments=tuple(e for part in parts for e in part.experiments),
        parameters=Parameters(**join([part.parameters.present() for part in parts])),
        curve_step=first.curve_step,
        curve=torch.cat([part.curve for part in parts]),
        diverged_step=torch.cat([part.diverged_step for part in parts]),
        snapshot_step=first.snapshot_step,
        snapshots=join([part.snapshots for part in parts]),
        sub_batches=tuple(size for part in parts for size in part.sub_batches),
    )
