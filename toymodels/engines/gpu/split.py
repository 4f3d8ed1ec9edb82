"""A run of the gpu_split engine: every step's batch is shared out over the GPU, two kernels a step.

A program a model leaves a GPU idle that has more multiprocessors than there are models. Here a program has a tile of
one model's batch, and what the tiles add up to takes the step. Some steps are recorded as a CUDA graph and replayed
(`toymodels.engines.autograd.replay`), as launching two kernels from Python takes longer than they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from toymodels.engines.autograd.replay import recorded, recorder_for
from toymodels.engines.gpu.form import form_of
from toymodels.engines.gpu.run import MOST_AT_ONCE, GpuRun
from toymodels.training.experiment import Experiment

RECORDED = 32
"""steps of a graph; a stretch that ends within them does nothing in the others"""


def tiles_of(experiment: Experiment) -> int:
    """Into how many tiles a step's batch is cut."""
    return -(-experiment.training.batch // form_of(experiment).tile)


def bytes_needed(experiments: Sequence[Experiment]) -> int:
    """What it needs beside a run of whole models: the gradient of every tile; theta and two moments once more, as a
    `state` is made while the one before is there; the tables of a stretch."""
    size = form_of(experiments[0]).size
    return 4 * (len(experiments) * (tiles_of(experiments[0]) * (1 + size) + 3 * size) + 8 * MOST_AT_ONCE)


class SplitRun(GpuRun):
    """Models on their way as in `GpuRun`; a step changes their tensors in place."""

    def __init__(self, experiments: Sequence[Experiment], device: str, precision: str = "ieee") -> None:
        super().__init__(experiments, device, precision)
        models, self.tiles = len(experiments), tiles_of(experiments[0])
        self.done = torch.zeros(models, dtype=torch.int32, device=device)
        self.window = torch.zeros(2, dtype=torch.int32, device=device)
        """the first step of a stretch, and the one after its last"""
        self.parts = torch.zeros(models, self.tiles, 1 + self.batch.form.size, device=device)
        of_first = self.batch.paces(1, 2), self.batch.points(1, 2), self.batch.kept(1, 2)
        self.tables = [of.repeat_interleave(self.longest_stretch, -2).to(device) for of in of_first]
        """what `GpuBatch.paces`, ``points`` and ``kept`` say of each step of a stretch"""
        self.recorder = recorder_for(self.device)
        self.replay: Callable[[], None] | None = None

    def advance(self, until: int) -> None:
        """Take the steps from the one after ``t`` to ``until``."""
        begin, end, batch = self.t + 1, until + 1, self.batch
        for table, of in zip(self.tables, (batch.paces, batch.points, batch.kept), strict=True):
            table[..., : end - begin, :] = of(begin, end).to(self.device)
        self.window.copy_(torch.tensor([begin, end]))
        with self.recorder.aside() if self.recorder else nullcontext():
            while self.t < until:
                self.t += self._some_steps()
        self.wait()
        self.t = until

    def _some_steps(self) -> int:
        """Launch the next ones; how many. The first is not recorded, as it compiles the kernels."""
        if self.replay is None:
            self._step()
            if self.recorder:
                self.replay = recorded(self.recorder, self._steps) or self._steps
            return 1
        self.replay()
        return RECORDED

    def _steps(self) -> None:
        for _ in range(RECORDED):
            self._step()

    def _step(self) -> None:
        """Launch the two kernels of a step."""
        from toymodels.engines.gpu.kernels import split  # Triton is not everywhere, and slow to import

        batch, (pace, points, kept) = self.batch, self.tables
        self._launch(
            split.part,
            *batch.source,
            *batch.given,
            points,
            self.stood,
            self.diverged_step,
            self.done,
            self.window,
            self.parts,
            self.recipe.batch,
            self.tiles,
            parts=self.tiles,
        )
        self._launch(
            split.step,
            batch.given[-1],
            batch.rotation,
            batch.rule,
            pace,
            points,
            kept,
            batch.share,
            self.stood,
            self.ceiling,
            self.diverged_step,
            self.done,
            self.window,
            self.parts,
            self.before,
            self.curve,
            self.snapshots,
            self.recipe.steps,
            self.recipe.batch,
            self.tiles,
            self.longest_stretch,
            self.curve.shape[1],
            self.snapshots.shape[1],
        )

    def state(self) -> dict[str, Tensor]:
        """See `GpuRun`; copies of what the next step changes."""
        state = super().state()
        return state | {name: state[name].clone() for name in ("stood", "ceiling", "diverged_step")}

    def put_back(self, state: Mapping[str, Tensor] | None) -> None:
        """See `GpuRun`."""
        super().put_back(state)
        self.done.fill_(self.t)
        self.replay = None  # it reads and writes the tensors that were there
