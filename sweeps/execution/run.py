"""Run: from a plan to a finished run folder.

Pack by pack: train, measure, write. A pack that is there and whole is never trained again, so the same command
continues an interrupted sweep and returns at once from a finished one.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from toymodels.engines import ENGINES, Unsupported, choose
from toymodels.engines.engine import OnProgress
from toymodels.surroundings import undisturbed
from toymodels.sweeps.errors import DiskFull, FolderError, InUse, SpecError, Unreadable
from toymodels.sweeps.execution import checkpoints
from toymodels.sweeps.execution.cores import on_threads
from toymodels.sweeps.execution.executor import Executor, Failed, InProcess
from toymodels.sweeps.execution.job import Finished, Job, OnNote
from toymodels.sweeps.plan.plan import Pack, Plan
from toymodels.sweeps.results import curves, tables
from toymodels.sweeps.store import packing, regular
from toymodels.sweeps.store.folder import worded_as
from toymodels.sweeps.store.locks import Shard
from toymodels.sweeps.store.store import Store

DEVICES = ("cpu", "cuda")
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


def resolve_engine(engine: str, device: str, plan: Plan, recorded: Mapping[str, str], on_note: OnNote) -> str:
    """The engine named; for ``auto`` the run folder's, or the fastest that can train every model of the plan.

    Raises `SpecError` for one that this version lacks, or that cannot train this plan.
    """
    if engine == "auto":
        engine = recorded.get("engine", "auto")
    if engine not in ("auto", *ENGINES):
        raise SpecError(f"--engine: '{engine}' is not in this version (choose auto, {' or '.join(ENGINES)})")
    firsts = (plan.experiments(plan.settings(pack.models[:1])) for pack in plan.packs)
    try:
        chosen = choose(engine, firsts, device)
    except Unsupported as refusal:
        raise SpecError(f"--engine: {refusal}") from None
    if chosen.passed_over:
        name = chosen.engine.name
        on_note(f"engine {name}: {chosen.passed_over.removesuffix(f': use engine {name}')}")
    return chosen.engine.name


def resolve_device(device: str, recorded: Mapping[str, str], here: bool = True) -> str:
    """The device named, or for ``auto`` the run folder's or the best there is; raises `SpecError` for none of these.

    One CUDA device of several is named by its number, ``cuda:1``. Where training is not to be ``here``, a CUDA device
    may be named that this machine lacks.
    """
    if device == "auto":
        device = recorded.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = device.partition(":")
    numbered = kind == "cuda" and number.isascii() and number.isdecimal()
    if kind not in DEVICES or (colon and not numbered):
        raise SpecError(
            f"--device: expected auto, {', '.join(DEVICES)} or a numbered one such as cuda:1, got '{device}'"
        )
    if kind == "cuda" and here:
        if not torch.cuda.is_available():
            raise SpecError("--device: this machine has no CUDA device that torch can use (choose auto or cpu)")
        there = torch.cuda.device_count()
        if numbered and int(number) >= there:
            raise SpecError(
                f"--device: this machine has {there} CUDA devices, cuda:0 to cuda:{there - 1}, got '{device}'"
            )
    return f"{kind}:{int(number)}" if numbered else kind


def kind_of(device: str) -> str:
    """``cuda`` of ``cuda:1``: what a run folder records, as the number changes nothing."""
    return device.partition(":")[0]


@undisturbed
def run(
    plan: Plan,
    folder: Path,
    engine: str,
    device: str,
    on_progress: OnProgress,
    on_note: OnNote,
    on_stored: OnProgress = lambda _: None,
    shard: Shard | None = None,
    retry_failed: bool = False,
    executor: Executor | None = None,
) -> Outcome:
    """Train, measure and store every model of ``plan`` that ``folder`` does not hold yet, and derive the tables.

    A pack that could not be trained in `ATTEMPTS` tries is left out of later runs, unless ``retry_failed``. With a
    ``shard``, only its packs; the tables are derived by the last shard, once all packs are there. ``engine`` and
    ``device`` are resolved ones; ``on_stored`` counts models that were there already; ``executor`` trains what is not,
    this process if none is named. Raises `FolderError` where the folder is refused.
    """
    executor = executor or InProcess(engine, device)
    store = Store.create_or_open(folder, plan, engine, kind_of(device), shard)
    packs = own_packs(plan, shard)
    try:
        wording = store.take_over_wording(plan.sweep, may_write=shard is None)
        for sentence in (wording, *store.version_changes()):
            if sentence:
                on_note(sentence)
        _check_room(store, plan, packs)
        outcome = Outcome(models=models_of(packs))
        finished: dict[int, Finished] = {}

        def to_do() -> Iterator[Job]:
            """The jobs of packs that are not stored; what is stored joins ``finished`` on the way."""
            for pack in packs:
                job = Job.of(store, plan, pack)
                stored = job.finished(on_note)
                if stored is not None:
                    checkpoints.forget(store, pack)  # it was killed before it could
                    on_stored(stored.models)
                    finished[pack.index] = stored
                    continue
                if retry_failed:
                    store.forget_failure(pack)
                failure = store.failure(pack)
                if failure is not None and failure.attempts >= ATTEMPTS:
                    outcome.failed[pack.index] = failure.reason
                    on_note(f"pack {pack.index} (models {job.span}) failed {failure.attempts} times and is left out")
                    continue
                yield job

        # Closed before the folder is let go: closing keeps what is unfinished.
        with closing(executor.finish(to_do(), on_progress, on_note)) as each:
            for job, ended in each:
                if isinstance(ended, Failed):
                    outcome.failed[ended.index] = ended.reason
                    store.record_failure(job.pack, ended.reason, ended.tries)
                    on_note(f"pack {ended.index} (models {job.span}) failed: {ended.reason}")
                else:
                    outcome.trained += ended.models
                    finished[ended.index] = ended
                    store.forget_failure(job.pack)
        outcome.diverged = sum(each.diverged for each in finished.values())
        in_order = [finished[index] for index in sorted(finished)]
        say_unmeasured(in_order, on_note)
        if shard is None:
            checkpoints.tidy(store)
            derive(store, plan, in_order)
    finally:
        store.release()
    if shard is not None:
        outcome.missing = len(plan.packs) - store.packs_done()
        if not outcome.missing:
            outcome.untabled = _derive_as_last(plan, folder, engine, device, on_note)
    return outcome


def _check_room(store: Store, plan: Plan, packs: Sequence[Pack]) -> None:
    """Raise `DiskFull`, before anything is trained, where the packs to come cannot fit on the disk."""
    needed = 0
    for pack in packs:
        if not store.pack_path(pack).exists():
            (like,) = plan.experiments(plan.settings(pack.models[:1]))
            needed += packing.least_bytes(like, len(pack.models))
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


def _derive_as_last(plan: Plan, folder: Path, engine: str, device: str, on_note: OnNote) -> str:
    """Derive the tables of a folder whose packs are all there; a shard that is still at work will, when it ends.

    Returns why that cannot be done, where the packs of another user cannot be read.
    """
    as_it_is = replace(plan, sweep=worded_as(plan.sweep, Store(folder).sweep()))
    try:
        run(as_it_is, folder, engine, device, lambda _: None, on_note)
    except InUse:
        pass
    except Unreadable as error:
        command = f"toymodels tables {shlex.quote(str(folder))}"
        return f"the tables are not built: {error}; '{command}' builds them for whoever can read every pack"
    return ""


def say_unmeasured(finished: Sequence[Finished], on_note: OnNote) -> None:
    """A sentence for every column that could not be measured in some pack."""
    reasons: dict[str, list[str]] = {}
    for each in finished:
        for column, reason in each.unmeasured.items():
            reasons.setdefault(column, []).append(reason)
    for column, of_packs in sorted(reasons.items()):
        on_note(
            f"{column} could not be measured in {len(of_packs)} packs ({of_packs[0]}): it is empty there; "
            "'toymodels tables' tries again"
        )


def derive(store: Store, plan: Plan, finished: Sequence[Finished]) -> None:
    """Build the tables unless they already say what these packs, in the order of the plan, say."""
    fingerprint = "\n".join(each.digests for each in finished).encode()
    marker = store.tables_digest
    there = all((store.path / f"{name}.parquet").exists() for name in (*tables.TABLES, curves.NAME))
    try:
        as_they_are = there and regular.read(marker, len(fingerprint)) == fingerprint
    except OSError:
        as_they_are = False
    if finished and not as_they_are:
        marker.unlink(missing_ok=True)
        packs = [plan.packs[each.index] for each in finished]
        tables.build(store, plan, packs)
        curves.build(store, packs)
        store.write_bytes(marker, fingerprint)


@undisturbed
def rebuild(store: Store, on_note: OnNote) -> int:
    """Measure every stored pack anew and build the tables from scratch; returns how many packs there were."""
    plan = store.plan()
    anew = (Job.of(store, plan, pack).measured_anew(on_note) for pack in plan.packs)
    with on_threads():
        finished = [each for each in anew if each is not None]
    if not finished:
        raise FolderError(f"{store.path}: none of its {len(plan.packs)} packs is there and whole: run the sweep again")
    say_unmeasured(finished, on_note)
    store.tables_digest.unlink(missing_ok=True)
    derive(store, plan, finished)
    return len(finished)
