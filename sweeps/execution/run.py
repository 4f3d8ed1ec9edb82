"""Run: from a plan to a finished run folder.

Pack by pack: train, measure, write. A pack that is there and whole is never trained again, so the same command
continues an interrupted sweep and returns at once from a finished one.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from toymodels.surroundings import undisturbed
from toymodels.sweeps.errors import DiskFull, InUse, Unreadable
from toymodels.sweeps.execution import checkpoints
from toymodels.sweeps.execution.deriving import derive, say_unmeasured
from toymodels.sweeps.execution.executor import Executor, Failed
from toymodels.sweeps.execution.heartbeat import Heartbeat
from toymodels.sweeps.execution.job import Finished, Job
from toymodels.sweeps.execution.local import InProcess
from toymodels.sweeps.execution.machines import kind_of
from toymodels.sweeps.execution.reporter import SILENT, Reporter
from toymodels.sweeps.plan.extending import extends
from toymodels.sweeps.plan.plan import Pack, Plan
from toymodels.sweeps.store.contents import least_bytes
from toymodels.sweeps.store.folder import worded_as
from toymodels.sweeps.store.locks import Shard
from toymodels.sweeps.store.store import Store

ATTEMPTS = 2
"""tries after which a pack that failed in each is left out"""


@dataclass
class Outcome:
    """How a run ended: model counts, and the packs that could not be trained, with the reason."""

    models: int
    trained: int = 0
    diverged: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    missing: int = 0
    """packs of other shards that are not there yet"""
    untabled: str = ""
    """why the tables could not be derived though all packs are there, and who can"""


@undisturbed
def run(
    plan: Plan,
    folder: Path,
    engine: str,
    device: str,
    reporter: Reporter = SILENT,
    *,
    shard: Shard | None = None,
    retry_failed: bool = False,
    executor: Executor | None = None,
) -> Outcome:
    """Train, measure and store every model of ``plan`` that ``folder`` does not hold yet, and derive the tables.

    A pack that could not be trained in `ATTEMPTS` tries is left out of later runs, unless ``retry_failed``. With a
    ``shard``, only its packs; the tables are derived by the last shard, once all packs are there. ``engine`` and
    ``device`` are resolved ones; the ``reporter`` hears how it goes on; ``executor`` trains what is not there, this
    process if none is named. Raises `FolderError` where the folder is refused.
    """
    executor = executor or InProcess(engine, device)
    made_with = executor.made_with(reporter, begun=_goes_on(folder, plan))
    store = Store.create_or_open(folder, plan, engine, kind_of(device), shard, made_with)
    packs, heartbeat = own_packs(plan, shard), Heartbeat(store)
    try:
        reporter.opened()
        wording = store.take_over_wording(plan.sweep, may_write=shard is None)
        source = store.take_over_code(plan.sweep.code, may_write=shard is None)
        told = heartbeat.beside(reporter)
        for sentence in (wording, source, *store.version_changes(made_with)):
            if sentence:
                told.note_once(sentence)
        _check_room(store, plan, packs)
        outcome = Outcome(models=models_of(packs))
        finished: dict[int, Finished] = {}

        def to_do() -> Iterator[Job]:
            """The jobs of packs that are not stored; what is stored joins ``finished`` on the way."""
            for pack in packs:
                job = Job.of(store, plan, pack)
                stored = job.finished(reporter)
                if stored is not None:
                    checkpoints.forget(store, pack)  # it was killed before it could
                    reporter.stored(stored.models)
                    finished[pack.index] = stored
                    continue
                if retry_failed:
                    store.forget_failure(pack)
                failure = store.failure(pack)
                if failure is not None and failure.attempts >= ATTEMPTS:
                    outcome.failed[pack.index] = failure.reason
                    reporter.note(
                        f"pack {pack.index} (models {job.span}) failed {failure.attempts} times and is left out"
                    )
                    continue
                yield job

        # Closed before the folder is let go: closing keeps what is unfinished.
        with closing(executor.finish(to_do(), told)) as each:
            for job, ended in each:
                heard = ended.trained if isinstance(ended, Failed) else None
                heartbeat.ended(len(job.pack.models) if heard is None else heard)
                if isinstance(ended, Failed):
                    outcome.failed[ended.index] = ended.reason
                    store.record_failure(job.pack, ended.reason, ended.tries)
                    reporter.note(f"pack {ended.index} (models {job.span}) failed: {ended.reason}")
                else:
                    outcome.trained += ended.models
                    finished[ended.index] = ended
                    store.forget_failure(job.pack)
        outcome.diverged = sum(each.diverged for each in finished.values())
        in_order = [finished[index] for index in sorted(finished)]
        say_unmeasured(in_order, reporter)
        if shard is None:
            checkpoints.tidy(store)
            derive(store, plan, in_order)
    finally:
        store.release()
    if shard is not None:
        outcome.missing = len(plan.packs) - len(store.packs_there())
        if not outcome.missing:
            outcome.untabled = _derive_as_last(plan, folder, engine, device, reporter)
    return outcome


def is_finished(folder: Path, plan: Plan, shard: Shard | None = None) -> bool:
    """Whether a folder is that of ``plan`` and has a file for each of its packs, those of the shard if it is one: then
    nothing is to be trained, unless one turns out to be damaged."""
    store = Store(folder)
    if not store.begun or store.manifest.plan != plan.hash:
        return False
    return store.packs_there().issuperset(pack.index for pack in own_packs(plan, shard))


def _goes_on(folder: Path, plan: Plan) -> bool:
    """Whether a folder is begun, and this plan does not extend it."""
    store = Store(folder)
    return store.begun and (plan.hash == store.manifest.plan or not extends(plan, store.plan()))


def _check_room(store: Store, plan: Plan, packs: Sequence[Pack]) -> None:
    """Raise `DiskFull`, before anything is trained, where the packs to come cannot fit on the disk."""
    needed = 0
    for pack in packs:
        if not store.pack_path(pack).exists():
            (like,) = plan.experiments(plan.settings(pack.models[:1]))
            needed += least_bytes(like, len(pack.models))
    free = shutil.disk_usage(store.path).free
    if free < needed:
        raise DiskFull(
            f"{store.path}: its packs take {needed / 2**20:,.1f} MiB and more, {free / 2**20:,.1f} MiB are free: make "
            "room, or choose another --out"
        )


def own_packs(plan: Plan, shard: Shard | None) -> list[Pack]:
    """The packs of a shard; all of them without one."""
    return [pack for pack in plan.packs if shard is None or shard.has(pack.index)]


def models_of(packs: Sequence[Pack]) -> int:
    """How many models are in these packs."""
    return sum(len(pack.models) for pack in packs)


def _derive_as_last(plan: Plan, folder: Path, engine: str, device: str, reporter: Reporter) -> str:
    """Derive the tables of a folder whose packs are all there; a shard that is still at work will, when it ends.

    Returns why that cannot be done, where the packs of another user cannot be read.
    """
    as_it_is = replace(plan, sweep=worded_as(plan.sweep, Store(folder).sweep()))
    try:
        run(as_it_is, folder, engine, device, Reporter(note=reporter.note))
    except InUse:
        pass
    except Unreadable as error:
        command = f"toymodels tables {shlex.quote(str(folder))}"
        return f"the tables are not built: {error}; '{command}' builds them for whoever can read every pack"
    return ""
