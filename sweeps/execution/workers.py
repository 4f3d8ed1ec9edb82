"""The workers: what a process of a cluster does with a pack that it was sent, and says of it in short.

A worker writes its own packs, into the run folder that it shares with whoever sent them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from distributed import get_worker

from toymodels.sweeps.errors import FolderError, SweepError
from toymodels.sweeps.execution.executor import Failed
from toymodels.sweeps.execution.job import Finished, Job
from toymodels.sweeps.execution.local import InProcess
from toymodels.sweeps.execution.machines import ROUNDING, Machine
from toymodels.sweeps.execution.memory import SHARE
from toymodels.sweeps.execution.reporter import SILENT, Reporter
from toymodels.sweeps.plan.plan import Pack
from toymodels.sweeps.spec.code import Imported
from toymodels.sweeps.spec.settings import Settings
from toymodels.sweeps.store.manifest import NUMERICS
from toymodels.sweeps.store.store import Store

OF_NUMERICS = {"numerics": str(NUMERICS)}
ONE_AT_A_TIME = threading.Lock()
"""a worker trains one pack at a time, on all the threads that it was given, however many tasks Dask hands it"""

TELLS_SECONDS = 1.0
"""between two times that a worker says how far it is with a pack"""


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
    made_with: tuple[tuple[str, str], ...]
    """with what the workers that were there first make packs, and the number of the numerics"""
    topic: str = ""
    """under which the client hears how far the pack is; nobody does without one"""


@dataclass(frozen=True)
class CarriedOut:
    """What a worker says of an order."""

    ended: Finished | Failed
    notes: tuple[str, ...] = ()


def order_of(job: Job, engine: str, device: str, made_with: Mapping[str, str], topic: str = "") -> Order:
    """The order by which a worker finishes this job as others do, and tells of it under a topic."""
    store = job.store
    return Order(
        folder=str(store.path.absolute()),
        plan=store.manifest.plan,
        pack=job.pack,
        keys=tuple(job.keys),
        settings=tuple(job.settings),
        engine=engine,
        device=device,
        made_with=tuple({**made_with, **OF_NUMERICS}.items()),
        topic=topic,
    )


def carry_out(order: Order) -> CarriedOut:
    """On a worker: train, measure and write a pack, unless it is there already."""
    check_able(Machine.here(_address()), order.engine, order.device)
    here = InProcess(order.engine, order.device, _worker_bytes(), _worker_threads())
    mine = here.made_with(SILENT, begun=True)
    check_same(dict(order.made_with), {**mine, **OF_NUMERICS}, "that came later", "on the others")
    code = order.settings[0].code
    if isinstance(code, Imported):
        code.check_same()
    store = Store(Path(order.folder))
    if not store.begun or store.manifest.plan != order.plan:
        raise FolderError(
            f"{order.folder}: a worker does not find this run folder: all of them must share its file system"
        )
    notes = store.version_changes(mine)
    reporter = Reporter(note=notes.append, trained=_teller(order))
    with ONE_AT_A_TIME:
        job = Job(store, order.pack, order.keys, lambda some: order.settings[some])
        stored = job.finished(reporter)
        if stored is not None:
            return CarriedOut(stored, tuple(notes))
        ((_, ended),) = here.finish(iter([job]), reporter)
        return CarriedOut(ended, tuple(notes))


def _teller(order: Order) -> Callable[[float], None]:
    """Tells the client, now and then, how much of a pack is trained: all of it so far, so that no message is missed."""
    trained, last = 0.0, time.monotonic()

    def tell(models: float) -> None:
        nonlocal trained, last
        trained += models
        if order.topic and time.monotonic() - last >= TELLS_SECONDS:
            last = time.monotonic()
            get_worker().log_event(order.topic, [order.pack.index, trained])

    return tell


def _address() -> str:
    """Where this worker is reached."""
    try:
        return get_worker().address
    except ValueError:  # no worker
        return ""


def _worker_bytes() -> int | None:
    """What a batch may take in this worker, which Dask kills where it takes much more than its limit."""
    try:
        limit = get_worker().memory_manager.memory_limit
    except ValueError:  # no worker
        return None
    return int(SHARE * limit) if limit else None


def _worker_threads() -> int | None:
    """How many threads this worker was begun with, ``--nthreads``: whatever OMP, MKL and torch were told, its share."""
    try:
        return get_worker().state.nthreads
    except ValueError:  # no worker
        return None


def public(version: str) -> str:
    """A version without its local part: 2.13.0 of 2.13.0+cu130, which says for what it was built."""
    return version.partition("+")[0]


class VersionsDiffer(SweepError):
    """A worker has other versions than the client, or than the other workers: its packs would be other bytes."""

    exit_code = 2


class WorkerLacks(SweepError):
    """A worker that cannot train by the engine of the run on its device."""

    exit_code = 2


def check_able(machine: Machine, engine: str, device: str) -> None:
    """Raise `WorkerLacks` where a worker lacks what the engine, or the device, takes."""
    if reason := machine.cannot(engine, device):
        raise WorkerLacks(
            f"{reason}; every worker of this run must train by engine {engine} on {device}: have none that cannot, or "
            "name another --engine or --device"
        )


def check_same(mine: Mapping[str, str], theirs: Mapping[str, str], which: str, where: str) -> None:
    """Raise `VersionsDiffer` where a worker, which one in words, has other versions than are said of another place.

    Another processor or GPU is none: its packs differ by rounding, which is said of the run folder.
    """
    others = ", ".join(
        f"{name} {theirs.get(name, 'missing')} there and {mine[name]} {where}"
        for name in mine
        if name not in ROUNDING and theirs.get(name) != mine[name]
    )
    if others:
        raise VersionsDiffer(
            f"a worker {which} has {others}: its packs would be other bytes; install the same versions"
        )
