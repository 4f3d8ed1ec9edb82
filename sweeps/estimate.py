"""The estimate: what a plan will take, from a short measured burst of each group."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Hashable
from dataclasses import dataclass

from toymodels.metrics import measure
from toymodels.sweeps.executor import memory_budget
from toymodels.sweeps.plan import Plan
from toymodels.training import bytes_needed_by, train
from toymodels.training.experiment import Experiment
from toymodels.training.trained import Trained

BURST_SECONDS = 1.0
ALL_BURSTS_SECONDS = 10.0
"""A sweep of many groups gives each a shorter burst."""
FIRST_STEPS = 3
MEASURED_SAMPLES = 4096
MEASURED_MODELS = 2


@dataclass(frozen=True)
class Estimate:
    """What a sweep will take."""

    models: int
    groups: int
    packs: int
    memory_bytes: int
    """of the largest pack"""
    disk_bytes: int
    seconds: float


def estimate(plan: Plan, engine: str, device: str) -> Estimate:
    """Train a full pack of every group for a second or less, measure a few of its models, and scale up."""
    seconds, memory, disk = 0.0, 0, 0
    rate: dict[Hashable, float] = {}
    for pack in plan.packs:
        settings = plan.settings(pack.models)
        experiments = plan.experiments(settings)
        memory = max(memory, bytes_needed_by(engine)(experiments))
        disk += sum(_disk_bytes(e) for e in experiments)
        group = (experiments[0].structure(), settings[0].eval)
        if group not in rate:
            rate[group] = _seconds_per_model(experiments, settings[0].eval.samples, engine, device, plan.n_groups)
        seconds += rate[group] * len(pack.models)
    return Estimate(len(plan), plan.n_groups, len(plan.packs), memory, disk, seconds)


def _seconds_per_model(experiments: list[Experiment], samples: int, engine: str, device: str, groups: int) -> float:
    def burst(steps: int) -> tuple[float, Trained]:
        short = [dataclasses.replace(e, training=dataclasses.replace(e.training, steps=steps)) for e in experiments]
        begin = time.perf_counter()
        trained = train(short, device, memory_bytes=memory_budget(device), engine=engine)
        return time.perf_counter() - begin, trained

    burst(1)
    few, _ = burst(FIRST_STEPS)
    steps = max(2 * FIRST_STEPS, min(500, int(min(BURST_SECONDS, ALL_BURSTS_SECONDS / groups) / few * FIRST_STEPS)))
    many, trained = burst(steps)
    per_step = max(many - few, 0.0) / (steps - FIRST_STEPS)

    few_models, measured = experiments[:MEASURED_MODELS], min(samples, MEASURED_SAMPLES)
    parameters = trained.parameters[: len(few_models)]
    begin = time.perf_counter()
    measure(few_models, parameters, 1)
    fixed = time.perf_counter() - begin
    measure(few_models, parameters, measured)
    per_sample = max(time.perf_counter() - begin - 2 * fixed, 0.0) / measured
    training = experiments[0].training.steps * per_step / len(experiments)
    return training + (fixed + samples * per_sample) / len(few_models)


def _disk_bytes(e: Experiment) -> int:
    """Near what one model takes in its pack and its measures."""
    n, m, t = e.features.n, e.bottleneck.hidden, e.training
    return 4 * (2 * n * m * (1 + t.snapshots) + 3 * m + n + t.curve_points) + 8 * (25 * n + 3 * m + 20) + 500
