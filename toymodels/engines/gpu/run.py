"""A run of the gpu engine: models of one structure on their way, stretch by stretch, a program a model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toymodels.engines.engine import Advance, OnStep, Unsupported
from toymodels.engines.gpu.batch import GpuBatch
from toymodels.engines.gpu.form import Form
from toymodels.training.experiment import Experiment
from toymodels.training.keep import Keep, resume
from toymodels.training.trained import Trained

CALL_SECONDS = 0.1
"""About how long a kernel runs before Python is asked whether to go on: Ctrl-C is heard within a second."""
MOST_AT_ONCE = 2**14
"""steps of a stretch: so many factors of the schedule are written down for it, and for each share of weights that some
model keeps as many numbers"""


def train(run: GpuRun, on_step: OnStep | None, keep: Keep | None) -> Trained:
    """Train the models of a run, from where ``keep`` has them or from their start.

    An interruption saves the last whole stretch into ``keep``.
    """
    steps, whole = run.recipe.steps, dict[str, Tensor]()
    if keep:
        # The last step and the look at what it did are one: a run that can be continued has a step to go.
        run.put_back(resume(keep, run.state(), steps, steps - 1, in_step=True))
        whole = run.state()
    saved, at_once = time.monotonic(), 1
    try:
        while run.t < steps:
            begun, before = time.perf_counter(), run.t
            run.advance(min(steps, run.t + at_once))
            taken = time.perf_counter() - begun
            at_once = max(1, min(4 * at_once, int(at_once * CALL_SECONDS / max(taken, 1e-6)), run.longest_stretch))
            if keep and run.t < steps:
                whole = run.state()
                if time.monotonic() - saved >= keep.seconds:
                    keep.save(_on_cpu(whole))
                    saved = time.monotonic()
            if on_step:
                on_step(Advance(run.t - before, run.newest_losses()))
        run.judge_last_step()
    except BaseException as stop:
        if keep and not isinstance(stop, Exception) and time.monotonic() - saved >= keep.worth_seconds:
            keep.save(_on_cpu(whole))
        raise
    return run.trained()


class GpuRun:
    """Models on their way: where they stand after ``t`` steps.

    A stretch puts new tensors in the place of old ones; the curve and the snapshots alone are filled in place, beyond
    what is there. So a `state` stays what it was, wherever the next stretch is interrupted.
    """

    def __init__(self, experiments: Sequence[Experiment], device: str, precision: str = "ieee") -> None:
        self.batch, self.t, self.device = GpuBatch.of(experiments, device, precision), 0, torch.device(device)
        self.recipe, models = experiments[0].training, len(experiments)
        theta = self.batch.packed()
        self.stood = torch.stack([theta, torch.zeros_like(theta), torch.zeros_like(theta)], dim=1).to(device)
        """[model, 3, parameter]: theta, the optimizer's mean or momentum, its mean square"""
        self.before = torch.zeros_like(theta, device=device)
        """theta before the last step, once that was taken; then what came of it"""
        self.ceiling = self.batch.ceilings().to(device)
        self.diverged_step = torch.zeros(models, dtype=torch.int64, device=device)
        self.curve_step, self.snapshot_step = self.recipe.curve_steps(), self.recipe.snapshot_steps()
        self.curve = torch.full((models, len(self.curve_step)), torch.nan, device=device)
        self.snapshots = torch.zeros(models, len(self.snapshot_step), theta.shape[1], device=device)

    @property
    def longest_stretch(self) -> int:
        """The steps that a stretch has at most."""
        return MOST_AT_ONCE // len(self.batch.shares)

    def advance(self, until: int) -> None:
        """Take the steps from the one after ``t`` to ``until``."""
        from toymodels.engines.gpu.kernels import steps  # Triton is not everywhere, and slow to import

        batch, begin, end = self.batch, self.t + 1, until + 1
        stretch = [of(begin, end).to(self.device) for of in (batch.paces, batch.points, batch.kept)]
        after = torch.empty_like(self.stood), torch.empty_like(self.ceiling), torch.empty_like(self.diverged_step)
        self._launch(
            steps.train,
            *batch.source,
            *batch.given,
            batch.rotation,
            batch.rule,
            *stretch,
            batch.share,
            self.stood,
            self.ceiling,
            self.diverged_step,
            *after,
            self.before,
            self.curve,
            self.snapshots,
            begin,
            end,
            self.recipe.steps,
            self.recipe.batch,
            self.curve.shape[1],
            self.snapshots.shape[1],
        )
        self.wait()
        (self.stood, self.ceiling, self.diverged_step), self.t = after, until

    def judge_last_step(self) -> None:
        """What the last step did to the loss: a model that it made diverge goes back before it."""
        from toymodels.engines.gpu.kernels import steps

        outcome, diverged_step = torch.empty_like(self.before), torch.empty_like(self.diverged_step)
        self._launch(
            steps.judge,
            *self.batch.source,
            *self.batch.given,
            self.stood,
            self.ceiling,
            self.diverged_step,
            self.before,
            outcome,
            diverged_step,
            self.snapshots,
            self.recipe.steps,
            self.recipe.batch,
            self.snapshots.shape[1],
        )
        self.wait()
        self.before, self.diverged_step = outcome, diverged_step

    def _launch(self, kernel: Any, *arguments: Any, parts: int = 1) -> None:
        """Launch a kernel, so many programs a model.

        Raises `Unsupported` where this GPU has less shared memory than a program takes; that of a data centre has not.
        """
        from triton.runtime.errors import OutOfResources

        form = self.batch.form
        with self.where(), np.errstate(all="ignore"):  # interpreted, what overflows is NumPy's
            try:
                kernel[(len(self.batch) * parts,)](*arguments, **options(form))
            except OutOfResources as error:
                raise Unsupported(
                    f"the gpu engine: a multiprocessor of this GPU has too little {error.name} for a "
                    f"model of {form.n} features and {form.m} neurons: use engine autograd"
                ) from None

    @property
    def on_gpu(self) -> bool:
        """Whether kernels run on one, and a launch returns before they have."""
        return self.device.type == "cuda"

    def where(self) -> AbstractContextManager[Any]:
        """Within it Triton's kernels are this device's."""
        return torch.cuda.device(self.device) if self.on_gpu else nullcontext()

    def wait(self) -> None:
        """Return when the kernels that were launched are done."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def newest_losses(self) -> Tensor:
        """The loss at the last point of the curve that was reached, on the CPU: [model]."""
        reached = int(np.searchsorted(self.curve_step, self.t, side="right"))
        return self.curve[:, max(0, reached - 1)].cpu()

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a stretch changes, by name: what is kept of an unfinished run, and put back."""
        return {
            "step": torch.full((len(self.batch),), self.t),
            "stood": self.stood,
            "ceiling": self.ceiling,
            "diverged_step": self.diverged_step,
            "curve": self.curve,
            "snapshots": self.snapshots,
        }

    def put_back(self, state: Mapping[str, Tensor] | None) -> None:
        """Go on from a `state`, if there is one."""
        if state is None:
            return
        self.t = int(state["step"][0])
        for name in ("stood", "ceiling", "diverged_step", "curve", "snapshots"):
            setattr(self, name, state[name].to(self.device, copy=True).contiguous())

    def trained(self) -> Trained:
        """The models as their parameters, curves and snapshots stand after the last step was judged, on the CPU."""
        return Trained(
            experiments=self.batch.experiments,
            parameters=self.batch.with_theta(self.before),
            curve_step=self.curve_step,
            curve=self.curve.cpu(),
            diverged_step=self.diverged_step.cpu(),
            snapshot_step=self.snapshot_step,
            snapshots=self.batch.unpacked(self.snapshots) if len(self.snapshot_step) else {},
            sub_batches=(len(self.batch),),
        )


def options(form: Form) -> dict[str, Any]:
    """What a kernel is compiled with, beside the types of what it is given."""
    return {"form": form, "num_warps": form.warps, "num_stages": 1, "enable_fp_fusion": True}


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in state.items()}
