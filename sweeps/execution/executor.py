"""The executor: who trains the packs that are not there yet.

Whoever it is, a pack is the same bytes: which models are in it is the plan's, and an executor only chooses who runs it.
This process is one (`toymodels.sweeps.execution.local`), the workers of a cluster are another
(`toymodels.sweeps.execution.dask`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

from toymodels.sweeps.execution.job import Finished, Job
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.store.manifest import of_bytes


@dataclass(frozen=True)
class Failed:
    """A pack that could not be trained, why, and in how many tries."""

    index: int
    reason: str
    tries: int = 1
    trained: float | None = None
    """models' worth of it that a reporter heard of; None where nobody knows"""


class Executor(ABC):
    """Trains, measures and writes packs."""

    def made_with(self, reporter: Reporter, *, begun: bool) -> Mapping[str, str]:
        """What the bytes of packs depend on where it trains, beside their plan and engine, by name.

        Nothing where others train into a folder that is ``begun``, and is not extended now: it may be finished, so they
        are asked when they are to train, and what differs then is noted.
        """
        return of_bytes()

    @abstractmethod
    def finish(self, jobs: Iterator[Job], reporter: Reporter) -> Generator[tuple[Job, Finished | Failed]]:
        """Every job with what became of it, as they end. Jobs are asked for as there is room for them."""
