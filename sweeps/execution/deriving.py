"""Deriving: the tables of a run folder from its packs and their measures, which may be made anew."""

from __future__ import annotations

from collections.abc import Sequence

from toymodels.surroundings import undisturbed
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.cores import on_threads
from toymodels.sweeps.execution.job import Finished, Job
from toymodels.sweeps.execution.reporter import SILENT, Reporter
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.results import curves, tables
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.store import Store


def say_unmeasured(finished: Sequence[Finished], reporter: Reporter) -> None:
    """A sentence for every column that could not be measured in some pack."""
    reasons: dict[str, list[str]] = {}
    for each in finished:
        for column, reason in each.unmeasured.items():
            reasons.setdefault(column, []).append(reason)
    for column, of_packs in sorted(reasons.items()):
        reporter.note(
            f"{column} could not be measured in {len(of_packs)} packs ({of_packs[0]}): it is empty there; "
            "'toymodels tables' tries again"
        )


def derive(store: Store, plan: Plan, finished: Sequence[Finished]) -> None:
    """Build the tables unless they already say what these packs, in the order of the plan, say."""
    fingerprint = "\n".join(each.digests for each in finished).encode()
    marker = store.tables_digest
    there = all((store.path / f"{name}.parquet").exists() for name in (*tables.TABLES, curves.NAME))
    try:
        as_they_are = there and atomic.read(marker, len(fingerprint)) == fingerprint
    except OSError:
        as_they_are = False
    if finished and not as_they_are:
        marker.unlink(missing_ok=True)
        packs = [plan.packs[each.index] for each in finished]
        tables.build(store, plan, packs)
        curves.build(store, packs)
        store.write_bytes(marker, fingerprint)


@undisturbed
def rebuild(store: Store, reporter: Reporter = SILENT) -> int:
    """Measure every stored pack anew and build the tables from scratch; returns how many packs there were."""
    plan = store.plan()
    if store.code is None and (store.manifest.code or plan.sweep.metrics):
        raise FolderError(f"{store.path}: is measured with code of your own: --allow-code lets it be imported")
    if source := store.take_over_code(plan.sweep.code, may_write=True):
        reporter.note(source)
    anew = (Job.of(store, plan, pack).measured_anew(reporter) for pack in plan.packs)
    with on_threads():
        finished = [each for each in anew if each is not None]
    if not finished:
        raise FolderError(f"{store.path}: none of its {len(plan.packs)} packs is there and whole: run the sweep again")
    say_unmeasured(finished, reporter)
    store.tables_digest.unlink(missing_ok=True)
    derive(store, plan, finished)
    return len(finished)
