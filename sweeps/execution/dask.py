"""The executor of a cluster: packs trained by Dask workers, on this machine or on others that share the run folder.

A worker writes its own packs and returns what is said of them in short. Dask restarts workers that die and gives their
packs to others; a pack with which two workers died is given up. Nothing is lost with a worker, a scheduler or a client:
what is stored is stored, and the same command goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from queue import Empty, Queue
from typing import Any, TypeVar, cast

import dask.config
from distributed import CancelledError, Client, Future, KilledWorker
from distributed.comm.core import CommClosedError

from toymodels.engines import ENGINES
from toymodels.sweeps.errors import GO_ON, SweepError
from toymodels.sweeps.execution.executor import Executor, Failed
from toymodels.sweeps.execution.job import Finished, Job
from toymodels.sweeps.execution.local import InProcess
from toymodels.sweeps.execution.machines import Machine, check_here, made_with
from toymodels.sweeps.execution.processes import local_cluster, visible_gpus
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.workers import (
    CarriedOut,
    Order,
    carry_out,
    check_able,
    check_same,
    order_of,
    public,
)
from toymodels.sweeps.store.manifest import versions

T = TypeVar("T")
TRIES = 2
"""workers that may die with a pack before it is given up"""
DASK_SETTINGS = {"distributed": {"scheduler": {"allowed-failures": TRIES - 1, "worker-ttl": "60s"}}}
"""of a scheduler that is begun here, unless the user's own Dask configuration says otherwise"""
PATIENCE_SECONDS = 60.0
"""how long to wait for a worker where there is none"""
ANSWER_SECONDS = 10.0
"""how long to wait for a scheduler"""
TICK_SECONDS = 0.5
"""how often to look who is there"""


class ClusterLost(SweepError):
    """The scheduler, or every worker, is gone; the same command goes on from what is stored."""


@dataclass(frozen=True)
class Cluster(Executor):
    """An executor on Dask: the ``scheduler`` at an address, or so many ``workers`` on this machine."""

    engine: str
    device: str
    scheduler: str | None = None
    workers: int = 0

    def finish(self, jobs: Iterator[Job], reporter: Reporter) -> Generator[tuple[Job, Finished | Failed]]:
        """Every job with what became of it, in the order in which workers end them."""
        first = next(jobs, None)
        if first is None:
            return  # nothing to train: no cluster is begun
        if self.scheduler is None:
            check_here(self.engine, self.device, first.store.path)
        with self._client(reporter) as client:
            said = self._made_with(client, reporter)
            for sentence in chain.from_iterable(first.store.version_changes(each) for each in said):
                reporter.note_once(sentence)
            order = partial(order_of, engine=self.engine, device=self.device, made_with=said[0])
            reporter.trained(0.0)  # training begins: the first packs end much later, and all at once
            yield from _finish_on(client, order, chain([first], jobs), reporter)

    def made_with(self, reporter: Reporter, *, begun: bool) -> Mapping[str, str]:
        """See `Executor`: of the workers of a scheduler, what the first says. Raises as `workers_of`, `WorkerLacks`."""
        if self.scheduler is None:
            return InProcess(self.engine, self.device).made_with(reporter, begun=begun)
        if begun:
            return {}
        _quieten()
        with _client_of(self.scheduler) as client:
            return self._made_with(client, reporter)[0]

    def _made_with(self, client: Client, reporter: Reporter) -> list[Mapping[str, str]]:
        """What each worker makes packs with. Raises `WorkerLacks`, and `VersionsDiffer` where they differ by more than
        rounding."""
        for machine in _machines(client, reporter):
            check_able(machine, self.engine, self.device)
        said = sorted(_asked(client, made_with, self.engine, self.device).items())
        first, mine = said[0]
        for address, theirs in said[1:]:
            check_same(mine, theirs, f"at {address}", f"at {first}")
        return [each for _, each in said]

    @contextmanager
    def _client(self, reporter: Reporter) -> Iterator[Client]:
        dask.config.update_defaults(DASK_SETTINGS)
        _quieten()
        if self.scheduler is None:
            ENGINES[self.engine].prepare(reporter.note)  # once here, so that the workers only load it
            gpus = len(visible_gpus()) if self.device == "cuda" else self.workers
            if gpus < self.workers:
                reporter.note(f"--workers {self.workers} on {gpus} CUDA devices: workers share them, and their memory")
            with local_cluster(self.workers, self.device) as cluster, Client(cluster) as client:
                yield client
            return
        with _client_of(self.scheduler) as client:
            yield client


def workers_of(scheduler: str, reporter: Reporter) -> list[Machine]:
    """What every worker of the scheduler at an address says that it has, those that are there when the first is.

    Raises `ClusterLost` where there is no scheduler or no worker comes, `VersionsDiffer`.
    """
    _quieten()
    with _client_of(scheduler) as client:
        return _machines(client, reporter)


@contextmanager
def _client_of(scheduler: str) -> Iterator[Client]:
    """A client of the scheduler at an address. Raises `ClusterLost` where none answers."""
    try:
        client = Client(scheduler, timeout=ANSWER_SECONDS)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ClusterLost(f"--scheduler: no Dask scheduler answers at {scheduler} ({error})") from None
    try:
        yield client
    finally:
        client.close(timeout=1)


def _quieten() -> None:
    """What Dask would log is said here in a sentence, or is of no use to who runs a sweep."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _machines(client: Client, reporter: Reporter) -> list[Machine]:
    """What every worker says that it has. Raises `ClusterLost` where none comes, `VersionsDiffer` before it asks."""
    if not _workers(client):
        reporter.note(f"waiting for a worker at {client.scheduler_info()['address']}")
    end = time.monotonic() + PATIENCE_SECONDS
    while not _workers(client):
        if time.monotonic() > end:
            raise ClusterLost(f"no worker came in {PATIENCE_SECONDS:.0f} seconds: start some with 'dask worker'")
        time.sleep(TICK_SECONDS)
    mine = {name: public(of) for name, of in versions().items()}
    found = client.get_versions(packages=[name for name in mine if name != "python"])
    for address, of_worker in cast("dict[str, Any]", found)["workers"].items():
        packages = dict(of_worker["packages"])
        packages["python"] = ".".join(packages["python"].split(".")[:3])
        theirs = {name: public(packages[name]) for name in mine if packages.get(name)}
        check_same(mine, theirs, f"at {address}", "here")
    said = _asked(client, Machine.here)
    return [replace(machine, worker=address) for address, machine in sorted(said.items())]


def _asked(client: Client, what: Callable[..., T], *about: str) -> dict[str, T]:
    """What every worker answers, by its address. Raises `ClusterLost` where one, or all, are gone."""
    try:
        said = cast("dict[str, T]", client.run(what, *about))
    except (OSError, CommClosedError) as error:
        raise ClusterLost(f"a worker is gone that was asked what it has ({error}); {GO_ON}") from error
    if not said:
        raise ClusterLost(f"no worker is left; {GO_ON}")
    return said


def _finish_on(
    client: Client, order: Callable[..., Order], jobs: Iterator[Job], reporter: Reporter
) -> Iterator[tuple[Job, Finished | Failed]]:
    """As many packs at once as there are workers: none waits on a worker that another pack may kill."""
    at_work: dict[Any, tuple[Job, Future[CarriedOut]]] = {}
    done: Queue[Future[CarriedOut]] = Queue()
    heard: Queue[tuple[int, float]] = Queue()
    told: dict[int, float] = {}
    topic = f"toymodels-{client.id}"
    client.subscribe_topic("all", partial(_say_lost, at_work, reporter))
    client.subscribe_topic(topic, lambda event: heard.put(tuple(event[1])))
    more, seen = True, time.monotonic()
    while more or at_work:
        workers = _workers(client)
        seen = time.monotonic() if workers else seen
        if time.monotonic() - seen > PATIENCE_SECONDS:
            raise ClusterLost(f"no worker is left, and none came in {PATIENCE_SECONDS:.0f} seconds; {GO_ON}")
        while more and len(at_work) < workers:
            job = next(jobs, None)
            more = job is not None
            if job is not None:
                future = client.submit(carry_out, order(job, topic=topic), pure=False)
                at_work[future.key] = job, future
                future.add_done_callback(done.put)
        _report(heard, told, reporter)
        try:
            future = done.get(timeout=TICK_SECONDS if more or at_work else 0)
        except Empty:
            continue
        job, _ = at_work.pop(future.key)
        answer = _answer(future, job)
        future.release()  # else Dask would train it again when the worker that did dies
        for note in answer.notes:
            reporter.note_once(note)  # several packs of a worker say the same of it
        ended, trained = answer.ended, told.get(job.pack.index, 0.0)
        told[job.pack.index] = float("inf")  # what comes now is late
        if isinstance(ended, Finished):
            reporter.trained(ended.models - trained)
            yield job, ended
        else:
            yield job, replace(ended, trained=trained)


def _report(heard: Queue[tuple[int, float]], told: dict[int, float], reporter: Reporter) -> None:
    """Report what workers have said of packs in training, where it is more than was ``told`` of them before.

    A pack that begins again, as its worker was lost, is not told of until it is further than it was.
    """
    while not heard.empty():
        pack, trained = heard.get()
        more = trained - told.get(pack, 0.0)
        if more > 0:
            told[pack] = trained
            reporter.trained(more)


def _workers(client: Client) -> int:
    """How many are there now. Raises `ClusterLost` where the scheduler does not say."""
    try:
        return len(cast("dict[str, int]", client.nthreads()))
    except (OSError, RuntimeError) as error:
        raise ClusterLost(f"the Dask scheduler is gone; {GO_ON}") from error


def _answer(future: Future[CarriedOut], job: Job) -> CarriedOut:
    """What became of a pack. Raises what the worker raised, and `ClusterLost` where the scheduler is gone."""
    if future.status not in ("finished", "error"):
        raise ClusterLost(f"the Dask scheduler is gone; {GO_ON}")
    try:
        return future.result()
    except KilledWorker as killed:
        tries = killed.allowed_failures + 1
        return CarriedOut(Failed(job.pack.index, f"{tries} workers died with it", tries))
    except (CancelledError, CommClosedError) as error:
        raise ClusterLost(f"the Dask scheduler is gone; {GO_ON}") from error


def _say_lost(at_work: Mapping[Any, tuple[Job, object]], reporter: Reporter, event: tuple[float, Any]) -> None:
    """A sentence where a worker is gone that had a pack."""
    _, said = event
    if not isinstance(said, dict) or said.get("action") != "remove-worker" or said.get("expected"):
        return
    for found in [at_work.get(key) for key in said["processing-tasks"]]:
        if found:
            job, _ = found
            reporter.note(f"worker {said['worker']} was lost with pack {job.pack.index} (models {job.span})")
