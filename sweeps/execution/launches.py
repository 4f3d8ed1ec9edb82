"""Launches: packs of one structure trained in one batch, where what trains beside a model changes no bit of it.

A GPU that trains a program a model wants more models at once than a pack has. Which models are in a pack stays the
plan's; what comes of a launch is cut into packs again, each the bytes that it would be by itself, with a checkpoint of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.engines.engine import Engine
from toymodels.sweeps.execution.checkpoints import Checkpoint
from toymodels.sweeps.execution.job import Job
from toymodels.training.experiment import Experiment
from toymodels.training.keep import Keep
from toymodels.training.trained import Trained


@dataclass(frozen=True)
class Launch:
    """Jobs whose packs are trained together, in their order."""

    jobs: Sequence[Job]

    @property
    def experiments(self) -> list[Experiment]:
        """Of all of their models."""
        return [e for job in self.jobs for e in job.experiments]

    @property
    def edges(self) -> list[int]:
        """Where the models of each job begin among all of them, and where the last ones end."""
        edges = [0]
        for job in self.jobs:
            edges.append(edges[-1] + len(job.keys))
        return edges

    def cut(self, trained: Trained) -> Iterator[tuple[Job, Trained]]:
        """Every job with what was trained of it."""
        edges = self.edges
        for job, first, last in zip(self.jobs, edges, edges[1:], strict=False):
            yield job, trained.part(first, last)


def launches(
    jobs: Iterator[Job],
    engine: Engine,
    device: str,
    most_bytes: Callable[[], int | None],
    begun: Callable[[Job], Hashable],
) -> Iterator[Launch]:
    """The jobs in launches: as many packs of one structure in a row as keep the device busy and fit into its memory.

    Of an engine that is not `Engine.independent` each is a launch by itself. ``begun`` says of a pack how far it is:
    packs that can go on from a checkpoint are not mixed with others. It reads a whole checkpoint, so the first pack of
    a launch is asked for once. A job more is asked for than is in the launch.
    """
    waiting: Job | None = next(jobs, None)
    while waiting is not None:
        first, together, size = waiting, [waiting], len(waiting.keys)
        wanted = engine.models_at_once(first.experiments, device) if engine.independent else 0
        waiting = next(jobs, None) if size < wanted else None
        budget = most_bytes()
        step = begun(first) if waiting is not None else None
        while waiting is not None and size < wanted:
            if waiting.like.structure() != first.like.structure() or begun(waiting) != step:
                break
            some = [e for job in (*together, waiting) for e in job.experiments]
            if budget is not None and engine.bytes_needed(some) > budget:
                break
            together.append(waiting)
            size += len(waiting.keys)
            waiting = next(jobs, None) if size < wanted else None
        yield Launch(together)
        waiting = waiting if waiting is not None else next(jobs, None)


class KeptTogether(Keep):
    """Keeps the models of a launch, each pack by the checkpoint that it would have by itself."""

    def __init__(self, parts: Sequence[Keep], edges: Sequence[int]) -> None:
        """``edges`` are where the models of each part begin, and where the last ones end."""
        self.parts, self.edges = parts, edges
        self.seconds = parts[0].seconds
        self._done: list[float] = []

    def load(self) -> dict[str, Tensor] | None:
        """What was saved of all parts; None where there is nothing of one of them, or they differ."""
        states = [part.load() for part in self.parts]
        found = [state for state in states if state is not None]
        if len(found) < len(states) or any(state.keys() != found[0].keys() for state in found):
            return None
        try:
            self._done = [state["step"].sum().item() for state in found]
            return {name: torch.cat([state[name] for state in found]) for name in found[0]}
        except (KeyError, RuntimeError):  # of other shapes: each engine would refuse its own
            return None

    def save(self, state: Mapping[str, Tensor]) -> None:
        """Put away each part's own rows."""
        for part, first, last in self._cut():
            part.save({name: tensor[first:last].contiguous() for name, tensor in state.items()})

    def part(self, first: int, last: int) -> Keep:
        """What keeps models ``first`` to ``last - 1`` of the launch."""
        inside = [
            (part.part(max(first, begin) - begin, min(last, end) - begin), max(first, begin))
            for part, begin, end in self._cut()
            if max(first, begin) < min(last, end)
        ]
        return KeptTogether([part for part, _ in inside], [*(begin - first for _, begin in inside), last - first])

    def refused(self, reason: str) -> None:
        """Every part's state is of no use."""
        for part in self.parts:
            part.refused(reason)

    def resumed(self, models: float) -> None:
        """Every part goes on; of so many models' worth each has what its own rows have of the steps."""
        total = sum(self._done)
        for part, done in zip(self.parts, self._done, strict=True):
            part.resumed(models * done / total if total else 0.0)

    def _cut(self) -> Iterator[tuple[Keep, int, int]]:
        yield from zip(self.parts, self.edges, self.edges[1:], strict=False)


def keep_of(launch: Launch, of: Callable[[Job], Checkpoint]) -> Keep:
    """What keeps the models of a launch."""
    parts = [of(job) for job in launch.jobs]
    return parts[0] if len(parts) == 1 else KeptTogether(parts, launch.edges)
