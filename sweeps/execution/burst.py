"""A burst: a group of models trained and measured for a moment, to see how long it takes.

Two times are told. *Now* is the wall clock. *Idle* is what it would have been with the machine to itself: the processor
time used, over the threads there are; or, where less than that was to be had, over what this process and all others
used together. On CUDA, where a processor's time says nothing, both are the wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import psutil
import torch

from toymodels.bottleneck import Parameters
from toymodels.engines import train
from toymodels.metrics import measure
from toymodels.sweeps.execution.costs import PARTS, TIMES, of_step, reference
from toymodels.sweeps.execution.memory import memory_budget
from toymodels.training.experiment import Experiment

FEW_SAMPLES, SAMPLES = 1024, 4096
"""on which models are measured, to tell what a sample costs from what a model does"""
MEASURED_MODELS = 2
LEAST_BATCH = 64
LEAST_STEPS = 4
"""that a burst takes: one to warm up, and some to be timed"""


class Enough(Exception):
    """Raised in the midst of training, when it has been watched for long enough."""


@dataclass(frozen=True)
class Moment:
    """What the clocks say at some moment, in seconds: the wall's, this process's, that of all cores together."""

    wall: float
    own: float
    all: float

    @staticmethod
    def now(device: str) -> Moment:
        """This moment, when all that was asked of the device is done."""
        if device != "cpu":
            torch.cuda.synchronize(device)
        spent = psutil.cpu_times()
        busy = sum(spent) - spent.idle - getattr(spent, "iowait", 0.0)
        return Moment(time.perf_counter(), time.process_time() if device == "cpu" else 0.0, busy)

    def until(self, end: Moment) -> np.ndarray:
        """The seconds [time] from this moment to another one."""
        wall, own = end.wall - self.wall, end.own - self.own
        if wall <= 0 or own <= 0:
            return np.full(len(TIMES), max(wall, 1e-9))
        cores = min(torch.get_num_threads(), max(end.all - self.all, own) / wall)
        return np.array([min(own / cores, wall), wall])


def shrunk(experiments: Sequence[Experiment], seconds: float, slower: float) -> list[Experiment]:
    """As many of these models as a burst of ``seconds`` can be made of, one with a smaller batch if it must be.

    ``slower`` is how many times slower than the imagined machine this one is. Empty where it cannot be made of any.
    """
    like = experiments[0]
    most = seconds / (LEAST_STEPS * slower)
    a_step = reference(like, 1)[0] / like.training.steps
    if a_step <= most:
        return list(experiments[: int(most / a_step)])
    batch = int(like.training.batch * most / a_step)
    return [replace(like, training=replace(like.training, batch=batch))] if batch >= LEAST_BATCH else []


def training_seconds(experiments: Sequence[Experiment], engine: str, device: str, seconds: float) -> np.ndarray:
    """Seconds [time] that training all of these takes, from what is done in ``seconds`` of it. Raises `OutOfMemory`."""
    moments, done = [Moment.now(device)], [0.0]

    def watch(steps: float) -> None:
        moments.append(Moment.now(device))
        done.append(done[-1] + steps)
        # What was done until the first report is not counted where there is more: it has the beginning in it.
        if len(moments) > 2 and moments[-1].wall - moments[1].wall >= seconds:
            raise Enough

    with suppress(Enough):
        train(experiments, device, memory_bytes=memory_budget(device), engine=engine, on_step=watch)
    first = 1 if len(moments) > 2 else 0
    return moments[first].until(moments[-1]) * experiments[0].training.steps / (done[-1] - done[first])


def measuring_seconds(
    experiments: Sequence[Experiment], parameters: Parameters, samples: int, device: str
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds [time] that measuring a model takes, and what the first model of its width takes beside."""
    few, many = min(samples, FEW_SAMPLES), min(samples, SAMPLES)

    def on(count: int) -> np.ndarray:
        begin = Moment.now(device)
        measure(experiments, parameters, count)
        return begin.until(Moment.now(device))

    first, again = on(few), on(few)
    a_sample = np.maximum(on(many) - again, 0.0) / (many - few) if many > few else np.zeros(len(TIMES))
    return (again + (samples - few) * a_sample) / len(experiments), np.maximum(first - again, 0.0)


def burst(
    experiments: Sequence[Experiment], samples: int, engine: str, device: str, expected: np.ndarray, seconds: float
) -> np.ndarray | None:
    """Seconds [part, time] of one model, told in about ``seconds``; None where so little time tells nothing.

    ``expected`` are the seconds [part] that a model is thought to take: a part that would take too long is NaN. Raises
    `OutOfMemory`.
    """
    whole = experiments[0]
    some = shrunk(experiments, seconds / 2, float(expected[0] / reference(whole, samples)[0]))
    if not some:
        return None
    told = np.full((len(PARTS), len(TIMES)), np.nan)
    once = [replace(e, training=replace(e.training, steps=1)) for e in some]
    begun = train(once, device, memory_bytes=memory_budget(device), engine=engine)
    told[0] = training_seconds(some, engine, device, seconds / 4)
    told[0] *= of_step(whole) / of_step(some[0]) / len(some)
    few = some[:MEASURED_MODELS]
    if expected[2] + 3 * len(few) * expected[1] <= seconds:
        told[1], told[2] = measuring_seconds(few, begun.parameters[: len(few)], samples, device)
    return told
