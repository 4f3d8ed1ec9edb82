"""The loop of the autograd engine: a run from where it stands to its last step, reported and kept on the way."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from toymodels.engines.autograd.run import TrainingRun
from toymodels.engines.engine import Advance, OnStep
from toymodels.training.experiment import Experiment
from toymodels.training.keep import Keep, resume
from toymodels.training.trained import Trained

REPORT_EVERY = 50
REPORT_SECONDS = 0.5
"""Progress is said every so many steps, and where steps are slow every so many seconds."""


def train(
    experiments: Sequence[Experiment], device: str, dtype: torch.dtype, on_step: OnStep | None, keep: Keep | None
) -> Trained:
    """Train these models, of one structure, from where ``keep`` has them or from their start.

    An interruption saves the last whole step into ``keep``.
    """
    run = TrainingRun(experiments, device, dtype)
    with run.aside():
        return _train(run, on_step, keep)


def _train(run: TrainingRun, on_step: OnStep | None, keep: Keep | None) -> Trained:
    """The steps of a run, to the last one."""
    steps = run.recipe.steps
    whole: dict[str, Tensor] = {}
    if keep:
        # The last step and the look at what it did are one: a run that can be continued has a step to go.
        run.put_back(resume(keep, run.state(), steps, steps - 1, in_step=True))
        whole = run.state()
    reported, saved = run.t, time.monotonic()
    said = saved
    try:
        while run.t < steps:
            run.step()
            # Asking how a step went waits for it, and lets a GPU idle.
            often = run.waits and run.t % REPORT_EVERY == 0
            due = often or run.t == steps or time.monotonic() - said >= REPORT_SECONDS
            if keep and run.t < steps and (due or not run.in_place):
                whole = run.state()
                if time.monotonic() - saved >= keep.seconds:
                    keep.save(_on_cpu(whole))
                    saved = time.monotonic()
            if on_step and due:
                on_step(Advance(run.t - reported, run.losses.detach().cpu()))
                reported = run.t
            if due:
                said = time.monotonic()
        run.judge_last_step()
    except BaseException as stop:
        if keep and not isinstance(stop, Exception) and time.monotonic() - saved >= keep.worth_seconds:
            keep.save(_on_cpu(whole))
        raise
    return run.trained()


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
