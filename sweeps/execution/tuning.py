"""Tuning: what comes before a tuned sweep, and the choice that its models lead to.

A folder that holds choices already, because it is begun, passes them on; only arms without one are tuned. That is so in
a new folder for all of them, and with ``--extend`` for those that are added.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toymodels.surroundings import undisturbed
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.cores import on_threads
from toymodels.sweeps.execution.job import Job
from toymodels.sweeps.execution.reporter import SILENT, Reporter
from toymodels.sweeps.plan.choice import choose
from toymodels.sweeps.plan.extending import extends
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.spec.candidates import carried_over, tuning_sweep, unchosen
from toymodels.sweeps.spec.sweep import Sweep
from toymodels.sweeps.store.manifest import check_choices_fit
from toymodels.sweeps.store.packing import DIVERGED
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import Damaged
from toymodels.sweeps.store.tuning import tuning_folder


def with_choices_of(folder: Path, sweep: Sweep) -> Sweep:
    """The sweep with what a run folder, whether or not it is there, has chosen for the arms that it shares with it."""
    store = Store(folder)
    return carried_over(sweep, store.sweep()) if sweep.tuning is not None and store.begun else sweep


def to_be_tuned(folder: Path, plan: Plan, extend: bool) -> Plan | None:
    """The plan of the tuning that must come before ``plan``, that of a sweep in this folder; None where none must.

    None also where the folder will refuse the sweep. Raises `SpecError` where no manifest could hold the choices.
    """
    check_choices_fit(plan.sweep)
    if not unchosen(plan.sweep):
        return None
    store = Store(folder)
    if store.begun and not (extend and extends(plan, store.plan())):
        return None
    return Store(tuning_folder(folder)).plan_for(tuning_sweep(plan.sweep), extend)


@undisturbed
def chosen_by(sweep: Sweep, trials: Plan, folder: Path, reporter: Reporter = SILENT) -> Sweep:
    """The sweep with settings chosen for its arms by the models of its tuning, all of which are in ``folder``.

    What could not be chosen goes to the reporter. Raises `FolderError` where a model is missing.
    """
    store, losses = Store(folder), np.full(len(trials), np.nan)
    with on_threads():
        for pack in trials.packs:
            losses[list(pack.models)] = _loss_fractions(Job.of(store, trials, pack), reporter)
    chosen, notes = choose(sweep, trials, losses)
    for sentence in notes:
        reporter.note(sentence)
    return chosen


def _loss_fractions(job: Job, reporter: Reporter) -> np.ndarray:
    """The loss fraction of each model of a stored pack, float64; NaN where it diverged."""
    # Not of the tables, which the last of several shards may be building.
    try:
        stored = job.store.read_pack(job.pack, job.keys, job.like)
    except Damaged as damage:
        raise FolderError(f"{damage}: run the same command again to train it anew") from None
    if stored is None:
        raise FolderError(f"{job.store.pack_path(job.pack)}: is gone: run the same command again to train it anew")
    losses = job.measured(stored, reporter).tensors.get("models.loss_fraction")
    if losses is None:
        raise FolderError(
            f"{job.store.path}: loss_fraction could not be measured in pack {job.pack.index}: nothing can be chosen; "
            f"'toymodels tables {job.store.path}' tries again"
        )
    return np.where(stored.tensors["status"].numpy() == DIVERGED, np.nan, losses.numpy().astype(np.float64))
