"""The estimate: what a plan will take, from some of its groups, each trained and measured for a moment.

However many groups there are, timing ends after `SECONDS`: those that were not timed are told from those that were
(`toymodels.sweeps.execution.costs`). Memory and disk are counted, from one model of each group, on any machine; time is
told on one that can train the models.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toymodels.engines import ENGINES, OutOfMemory
from toymodels.glance import html_page, html_table
from toymodels.sweeps.execution.burst import burst
from toymodels.sweeps.execution.cores import on_threads
from toymodels.sweeps.execution.costs import NOISE, Costs
from toymodels.sweeps.execution.machines import Machine
from toymodels.sweeps.execution.reporter import SILENT, Reporter
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.store.contents import least_bytes
from toymodels.training.experiment import Experiment

SECONDS = 10.0
"""after which no other group is timed"""
BURST_SHARE = 0.3
"""of the time that is left, for one group; what is expected of it may be wrong by three times"""
LEAST_SHARE = 0.1
"""of the time: when less is left, it is too little for another group"""
MOST_GROUPS = 16


@dataclass(frozen=True)
class Estimate:
    """What a sweep will take on this machine: models, packs, memory, disk, and a range of seconds, which are NaN where
    this machine cannot train the models."""

    models: int
    groups: int
    packs: int
    memory_bytes: int
    """of the largest pack"""
    disk_bytes: int
    seconds: float
    """the best guess"""
    seconds_low: float
    """if the machine had nothing else to do"""
    seconds_high: float
    """if it stays as busy as it is"""
    groups_measured: int

    def __repr__(self) -> str:
        sizes = f"{self.memory_bytes / 2**20:,.0f} MiB of memory, {self.disk_bytes / 2**20:,.1f} MiB on disk"
        return f"Estimate: {self.models:,} models in {self.packs:,} packs, {self.rows()['time']}, {sizes}"

    def _repr_html_(self) -> str:
        return html_page("Estimate", [], html_table(["", ""], list(self.rows().items())))

    def rows(self) -> dict[str, str]:
        """What it says, by what of."""
        timed = f"{self.groups_measured} of {self.groups} groups; the others are told from these"
        return {
            "models": f"{self.models:,} models in {self.groups} groups, {self.packs} packs",
            "memory": f"{self.memory_bytes / 2**20:,.0f} MiB for the largest pack",
            "disk": f"{self.disk_bytes / 2**20:,.1f} MiB",
            "time": time_of(self),
            **({} if math.isnan(self.seconds) else {"timed": timed}),
        }


def time_of(*parts: Estimate) -> str:
    """How long these take on this machine, one after another, as one would say it."""
    seconds = sum(part.seconds for part in parts)
    if math.isnan(seconds):
        return "cannot be told on this machine"
    low, high = span(sum(part.seconds_low for part in parts)), span(sum(part.seconds_high for part in parts))
    return f"about {span(seconds)} ({low} to {high}) on this machine"


def span(seconds: float) -> str:
    """A length of time as one would say it."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 10 else f"{seconds:.1f} seconds"


def estimate(plan: Plan, engine: str, device: str, reporter: Reporter = SILENT) -> Estimate:
    """Time some of the groups, the cheapest and then those least like any that were timed, and add everything up.

    Where this machine cannot train by the engine on the device nothing is timed, and the reporter hears why.
    """
    _, firsts, counts = np.unique(plan.groups, return_index=True, return_counts=True)
    settings = plan.settings(firsts.tolist())
    likes, samples = plan.experiments(settings), [each["eval.samples"] for each in settings]
    costs = Costs.of(likes, samples)
    if reason := Machine.here().cannot(engine, device):
        reporter.note_once(f"--dry-run: how long it takes cannot be told here, where models would be timed: {reason}")
        seconds = [math.nan] * 3
    else:
        ENGINES[engine].prepare(reporter.note)
        with on_threads():
            _time_some(plan, costs, samples, engine, device)
        low, now = _totals(costs, likes, firsts, counts)
        factors = _factors(costs)
        seconds = [np.sqrt(low.sum() * now.sum()), (low / factors).sum(), (now * factors).sum()]

    needed = ENGINES[engine].bytes_needed
    sizes = np.minimum(counts, plan.pack_sizes).tolist()
    best, lowest, highest = map(float, seconds)
    return Estimate(
        models=len(plan),
        groups=plan.n_groups,
        packs=len(plan.packs),
        memory_bytes=max(needed([like] * size) for like, size in zip(likes, sizes, strict=True)),
        disk_bytes=sum(_disk_bytes(like) * count for like, count in zip(likes, counts.tolist(), strict=True)),
        seconds=best,
        seconds_low=lowest,
        seconds_high=highest,
        groups_measured=len(costs.ratios),
    )


def _time_some(plan: Plan, costs: Costs, samples: Sequence[int], engine: str, device: str) -> None:
    """Let ``costs`` know what groups take, until time is up."""
    end = time.monotonic() + SECONDS
    left_out: set[int] = set()
    while len(costs.ratios) < MOST_GROUPS and (left := end - time.monotonic()) > LEAST_SHARE * SECONDS:
        group = costs.farthest(left_out)
        if group is None:
            return
        models = np.flatnonzero(plan.groups == group)[: plan.pack_sizes[group]].tolist()
        experiments = plan.experiments(plan.settings(models))
        expected = costs.seconds()[group, :, 1]
        try:
            told = burst(experiments, samples[group], engine, device, expected, BURST_SHARE * left)
        except OutOfMemory:
            told = None
        if told is None:
            left_out.add(group)
        else:
            costs.know(group, told)


def _totals(costs: Costs, likes: Sequence[Experiment], firsts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Seconds [time, group] that all models of each group take."""
    a_model = costs.seconds()
    in_order = np.argsort(firsts)
    widths = np.array([likes[group].bottleneck.hidden for group in in_order])
    begins = np.zeros(len(likes))
    begins[in_order] = np.diff(widths, prepend=0) != 0
    return (a_model[:, :2].sum(1) * counts[:, None] + a_model[:, 2] * begins[:, None]).T


def _factors(costs: Costs) -> np.ndarray:
    """The factor ``[group]`` by which what is told of each group's time may be off."""
    factors = np.full(len(costs.references), costs.scatter())
    factors[list(costs.ratios)] = NOISE
    return factors


def _disk_bytes(e: Experiment) -> int:
    """Near what one model takes in its pack and its measures."""
    sizes = e.sizes
    of_targets = 0 if e.target.of_features else 15 * sizes.target
    return least_bytes(e, 1) + 8 * (25 * sizes.feature + 3 * sizes.hidden + of_targets + 20) + 500
