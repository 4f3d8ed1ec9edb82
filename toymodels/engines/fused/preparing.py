"""Preparing: the kernels of a process, compiled or loaded before the first model needs them."""

from __future__ import annotations

from threading import Thread

import numpy as np

from toymodels.bottleneck import Bottleneck
from toymodels.engines.fused.batch import Batch
from toymodels.features import Features
from toymodels.kernels import moments, rotated, steps
from toymodels.kernels.workspace import workspace
from toymodels.training.experiment import Experiment
from toymodels.training.recipe import Training

HEARD_SECONDS = 0.1
"""How often Python is asked meanwhile whether to go on."""


def prepared(wide: bool = False) -> bool:
    """Whether this process has the kernels already."""
    needed = (steps.part_gradient,) if wide else (steps.train, moments.collect, rotated.rotate)
    return all(kernel.signatures for kernel in needed)


def prepare(wide: bool = False) -> None:
    """Compile the kernels, or load them: those of few models on many threads if ``wide``, else those of many models.

    Interrupting this is heard at once.
    """
    if prepared(wide):
        return
    failures: list[BaseException] = []

    def compile_all() -> None:
        try:
            batch = Batch.of([Experiment(Features(1, 0.5), Bottleneck(1), Training(steps=1, batch=1))])
            shape, work = batch.shape, workspace(batch.shape)
            arguments = batch.arguments(work)
            if wide:
                steps.part_gradient(*arguments, 0, 1, 0)
                steps.add_part(shape, 0, work, work)
                steps.finish_step(*arguments, 0, 1, np.float32(0))
            else:
                steps.train(*arguments, 0, 1, 1, 2)
                sums = np.zeros((1, moments.places(shape).by_lane))
                sheet = moments.sheet(shape)
                theta, own, source = batch.state.theta, batch.own, batch.source
                moments.collect(shape, source, theta, own, 1, work, sheet, sums, 0, 1, 0, 1)
                held, one = rotated.held(shape, 1), np.ones((1, 1, 1), np.float32)
                rotated.keep(shape, source, theta, own, 0, 1, work, held, 0, 0, 1)
                rotated.rotate(shape, theta, own, one, 1, work, held, np.zeros((1, 1, 1)), 0, 0, 1)
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=compile_all, daemon=True)  # abandoned, not waited for, where the program is to end
    thread.start()
    while thread.is_alive():
        thread.join(HEARD_SECONDS)
    if failures:
        raise failures[0]
