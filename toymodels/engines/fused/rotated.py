"""R^2 of single neurons of rotated models by the fused kernels.

What `toymodels.engines.autograd.rotated` computes, on the same data, for what the fused engine can run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.engines.fused.batch import own_of, source_of
from toymodels.engines.fused.layout import pack, shape_of
from toymodels.engines.fused.moments import as_given
from toymodels.engines.fused.preparing import prepare
from toymodels.kernels import rotated as kernels
from toymodels.kernels.shape import Shape
from toymodels.kernels.workspace import workspace
from toymodels.training.experiment import Experiment, sampler

TASKS_A_THREAD = 4
WORK_A_CALL = 2e9
"""multiplications; about a tenth of a second: an interruption is heard between calls"""


def r2(
    experiments: Sequence[Experiment], parameters: Parameters, rotations: Tensor, first: int, samples: int
) -> Tensor:
    """float64 [model, draw, target]; see `Engine.rotated_r2`."""
    shape = shape_of(as_given(experiments[0], parameters))._replace(batch=samples)
    source, theta, own = (
        source_of(sampler(experiments)),
        pack(shape, parameters),
        own_of(experiments, shape, parameters),
    )
    Q = np.ascontiguousarray(rotations.detach().float().numpy())
    found = np.full((len(theta), len(Q), shape.outputs), np.nan)
    threads = torch.get_num_threads()
    chunks, draws = _at_once(shape, samples)

    stop = Event()

    def measure(models: range, drawn: range) -> None:
        work, held = workspace(shape), kernels.held(shape, samples)
        for model in models:
            for begin in range(0, kernels.chunks(samples), chunks):
                if stop.is_set():
                    return
                end = min(kernels.chunks(samples), begin + chunks)
                kernels.keep(shape, source, theta, own, first, samples, work, held, model, begin, end)
            for begin in range(drawn.start, drawn.stop, draws):
                if stop.is_set():
                    return
                end = min(drawn.stop, begin + draws)
                kernels.rotate(shape, theta, own, Q, samples, work, held, found, model, begin, end)

    prepare()
    with ThreadPoolExecutor(threads) as pool:
        try:
            list(pool.map(lambda task: measure(*task), _tasks(len(theta), len(Q), TASKS_A_THREAD * threads)))
        finally:
            stop.set()  # an interruption ends here, and the threads at their next call
    return torch.from_numpy(found)


def _at_once(shape: Shape, samples: int) -> tuple[int, int]:
    """How many chunks, and how many draws, are about `WORK_A_CALL`; at least one."""
    a_sample = (shape.n + shape.outputs) * (shape.m + 64) + shape.n * shape.input_pitch
    a_draw = samples * shape.m * (shape.m + shape.outputs + 64)
    return max(1, int(WORK_A_CALL / a_sample) // kernels.CHUNK), max(1, int(WORK_A_CALL / a_draw))


def _tasks(models: int, draws: int, tasks: int) -> Iterator[tuple[range, range]]:
    """About so many tasks, of some models and all draws; of one model and some draws where models are fewer."""
    at_once = -(-models // tasks)
    drawn = -(-draws // -(-tasks // models)) if draws else 1
    for first in range(0, models, at_once):
        for begin in range(0, draws, drawn):
            yield range(first, min(models, first + at_once)), range(begin, min(draws, begin + drawn))
