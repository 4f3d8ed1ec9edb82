"""The cluster: packs trained by Dask workers, on this machine or on others that share the run folder.

A worker writes its own packs and returns what is said of them in short. Dask restarts workers that die and gives their
packs to others; a pack with which two workers died is given up. Nothing is lost with a worker, a scheduler or a client:
what is stored is stored, and the same command goes on.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from multiprocessing import resource_tracker
from pathlib import Path
from queue import Empty, Queue
from typing import Any, cast

import dask.config
import psutil
import torch
from distributed import CancelledError, Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, get_worker
from distributed.comm.core import CommClosedError
from distributed.utils import LoopRunner

from toymodels.engines.engine import OnProgress
from toymodels.sweeps.errors import FolderError, SweepError
from toymodels.sweeps.execution.cores import usable
from toymodels.sweeps.execution.executor import MEMORY_SHARE, Failed, InProcess, prepare
from toymodels.sweeps.execution.job import Finished, Job, OnNote
from toymodels.sweeps.plan.plan import Pack
from toymodels.sweeps.spec.settings import Settings
from toymodels.sweeps.store.manifest import NUMERICS, versions
from toymodels.sweeps.store.store import Store

TRIES = 2
"""workers that may die with a pack before it is given up"""
DEFAULTS = {"distributed": {"scheduler": {"allowed-failures": TRIES - 1, "worker-ttl": "60s"}}}
"""of a scheduler that is begun here, unless the user's own Dask configuration says otherwise"""
PATIENCE_SECONDS = 60.0
"""how long to wait for a worker where there is none"""
ANSWER_SECONDS = 10.0
"""how long to wait for a scheduler"""
TICK_SECONDS = 0.5
"""how often to look who is there"""
GO_ON = "what is finished is safe: run the same command again to continue"
ONE_AT_A_TIME = threading.Lock()
"""a worker trains one pack at a time, on all the threads that it was given, however many tasks Dask hands it"""
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""how many threads a worker's libraries begin: Dask would say one, and they count where torch is not told otherwise"""


class ClusterLost(SweepError):
    """The scheduler, or every worker, is gone; the same command goes on from what is stored."""


@dataclass(frozen=True)
class Order:
    """What a worker needs to know of a pack."""

    folder: str
    plan: str
    pack: Pack
    keys: tuple[str, ...]
    settings: tuple[Settings, ...]
    engine: str
    device: str
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """What a worker says of an order."""

    ended: Finished | Failed
    notes: tuple[str, ...] = ()


def carry_out(order: Order) -> Answer:
    """On a worker: train, measure and write a pack, unless it is there already."""
    differing = _differing(dict(order.versions), _versions())
    if differing:
        raise VersionsDiffer(_refusal("that came later", differing))
    store = Store(Path(order.folder))
    if not store.begun or store.manifest()["plan"] != order.plan:
        raise FolderError(
            f"{order.folder}: a worker does not find this run folder: all of them must share its file system"
        )
    notes: list[str] = []
    with ONE_AT_A_TIME:
        job = Job(store, order.pack, order.keys, lambda some: order.settings[some])
        stored = job.finished(notes.append)
        if stored is not None:
            return Answer(stored, tuple(notes))
        here = InProcess(order.engine, order.device, _worker_bytes(), _worker_threads())
        ((_, ended),) = here.finish(iter([job]), _unsaid, notes.append)
        return Answer(ended, tuple(notes))


def _worker_bytes() -> int | None:
    """What a batch may take in this worker, which Dask kills where it takes much more than its limit."""
    try:
        limit = get_worker().memory_manager.memory_limit
    except ValueError:  # no worker
        return None
    return int(MEMORY_SHARE * limit) if limit else None


def _worker_threads() -> int | None:
    """How many threads this worker was begun with, ``--nthreads``: whatever OMP, MKL and torch were told, its share."""
    try:
        return get_worker().state.nthreads
    except ValueError:  # no worker
        return None


def _versions() -> dict[str, str]:
    """What must be the same on every worker."""
    return versions() | {"numerics": str(NUMERICS)}


def _unsaid(_: float) -> None:
    """Progress inside a pack, which nobody is told."""


class VersionsDiffer(SweepError):
    """A worker has other versions than the client: its packs would be other bytes."""

    exit_code = 2


def _differing(mine: dict[str, str], theirs: dict[str, Any]) -> str:
    """What differs, as a sentence's end; empty where nothing does."""
    return ", ".join(
        f"{name} {theirs.get(name) or 'missing'} there and {mine[name]} here"
        for name in mine
        if theirs.get(name) != mine[name]
    )


def _refusal(which: str, differing: str) -> str:
    return f"a worker {which} has {differing}: its packs would be other bytes; install the same versions"


@dataclass(frozen=True)
class Cluster:
    """An executor on Dask: the ``scheduler`` at an address, or so many ``workers`` on this machine."""

    engine: str
    device: str
    scheduler: str | None = None
    workers: int = 0

    def finish(
        self, jobs: Iterator[Job], on_progress: OnProgress, on_note: OnNote
    ) -> Generator[tuple[Job, Finished | Failed]]:
        """See `Executor`."""
        first = next(jobs, None)
        if first is None:
            return  # nothing to train: no cluster is begun
        with self._client(on_note) as client:
            _check_versions(client, on_note)
            on_progress(0.0)  # training begins: the first packs end much later, and all at once
            yield from _finish_on(client, self.engine, self.device, chain([first], jobs), on_progress, on_note)

    @contextmanager
    def _client(self, on_note: OnNote) -> Iterator[Client]:
        dask.config.update_defaults(DEFAULTS)
        _quieten()
        if self.scheduler is None:
            prepare(self.engine, on_note)  # once here, so that the workers only load it
            with local_cluster(self.workers, self.device) as cluster, Client(cluster) as client:
                yield client
            return
        try:
            client = Client(self.scheduler, timeout=ANSWER_SECONDS)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise ClusterLost(f"--scheduler: no Dask scheduler answers at {self.scheduler} ({error})") from None
        try:
            yield client
        finally:
            client.close(timeout=1)


def _quieten() -> None:
    """What Dask would log is said here in a sentence, or is of no use to who runs a sweep."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def local_cluster(workers: int, device: str) -> SpecCluster:
    """A scheduler in this process and worker processes on this machine, which end with it.

    On CUDA every worker sees one GPU, in turn; each has its share of the cores that this process may use.
    """
    gpus = _gpus() if device == "cuda" else []
    threads = max(1, usable() // workers)
    memory = int(psutil.virtual_memory().total / workers)

    def worker(index: int) -> dict[str, Any]:
        env = dict.fromkeys(POOLS, str(threads))
        env |= {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {}
        options = {"nthreads": threads, "memory_limit": memory, "env": env, "silence_logs": logging.CRITICAL}
        return {"cls": Nanny, "options": options | here}

    here = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": Scheduler, "options": {"port": 0} | here}
    runner = LoopRunner()
    resource_tracker.ensure_running()  # or the first worker begins it, which would unblock what is blocked next
    # A terminal sends Ctrl-C to all of its processes. Workers inherit what the thread that begins them has blocked.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return SpecCluster({index: worker(index) for index in range(workers)}, scheduler, loop=runner.loop)


def _gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]


def _check_versions(client: Client, on_note: OnNote) -> None:
    """Raise `VersionsDiffer` before anything is submitted, `ClusterLost` where no worker comes."""
    if not _workers(client):
        on_note(f"waiting for a worker at {client.scheduler_info()['address']}")
    end = time.monotonic() + PATIENCE_SECONDS
    while not _workers(client):
        if time.monotonic() > end:
            raise ClusterLost(f"no worker came in {PATIENCE_SECONDS:.0f} seconds: start some with 'dask worker'")
        time.sleep(TICK_SECONDS)
    mine = versions()
    found = client.get_versions(packages=[name for name in mine if name != "python"])
    for address, of_worker in cast("dict[str, Any]", found)["workers"].items():
        packages = dict(of_worker["packages"])
        packages["python"] = ".".join(packages["python"].split(".")[:3])
        differing = _differing(mine, packages)
        if differing:
            raise VersionsDiffer(_refusal(f"at {address}", differing))


def _finish_on(
    client: Client, engine: str, device: str, jobs: Iterator[Job], on_progress: OnProgress, on_note: OnNote
) -> Iterator[tuple[Job, Finished | Failed]]:
    """As many packs at once as there are workers: none waits on a worker that another pack may kill."""
    at_work: dict[Any, tuple[Job, Future[Answer]]] = {}
    done: Queue[Future[Answer]] = Queue()
    client.subscribe_topic("all", partial(_say_lost, at_work, on_note))
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
                future = client.submit(carry_out, _order(job, engine, device), pure=False)
                at_work[future.key] = job, future
                future.add_done_callback(done.put)
        try:
            future = done.get(timeout=TICK_SECONDS if more or at_work else 0)
        except Empty:
            continue
        job, _ = at_work.pop(future.key)
        answer = _answer(future, job)
        future.release()  # else Dask would train it again when the worker that did dies
        for note in answer.notes:
            on_note(note)
        if isinstance(answer.ended, Finished):
            on_progress(answer.ended.models)
        yield job, answer.ended


def _workers(client: Client) -> int:
    """How many are there now. Raises `ClusterLost` where the scheduler does not say."""
    try:
        return len(cast("dict[str, int]", client.nthreads()))
    except (OSError, RuntimeError) as error:
        raise ClusterLost(f"the Dask scheduler is gone; {GO_ON}") from error


def _order(job: Job, engine: str, device: str) -> Order:
    store = job.store
    return Order(
        folder=str(store.path.absolute()),
        plan=store.manifest()["plan"],
        pack=job.pack,
        keys=tuple(job.keys),
        settings=tuple(job.settings),
        engine=engine,
        device=device,
        versions=tuple(_versions().items()),
    )


def _answer(future: Future[Answer], job: Job) -> Answer:
    """What became of a pack. Raises what the worker raised, and `ClusterLost` where the scheduler is gone."""
    if future.status not in ("finished", "error"):
        raise ClusterLost(f"the Dask scheduler is gone; {GO_ON}")
    try:
        return future.result()
    except KilledWorker as killed:
        tries = killed.allowed_failures + 1
        return Answer(Failed(job.pack.index, f"{tries} workers died with it", tries))
    except (CancelledError, CommClosedError) as error:
        raise ClusterLost(f"the Dask scheduler is gone; {GO_ON}") from error


def _say_lost(at_work: Mapping[Any, tuple[Job, object]], on_note: OnNote, event: tuple[float, Any]) -> None:
    """A sentence where a worker is gone that had a pack."""
    _, said = event
    if not isinstance(said, dict) or said.get("action") != "remove-worker" or said.get("expected"):
        return
    for found in [at_work.get(key) for key in said["processing-tasks"]]:
        if found:
            job, _ = found
            on_note(f"worker {said['worker']} was lost with pack {job.pack.index} (models {job.span})")
