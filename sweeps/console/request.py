"""The request: what ``toymodels sweep`` was asked to do, every choice resolved and nothing trained or written yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.execution.choosing import (
    check_options,
    choose_executor,
    machines_to_ask,
    resolve_device,
    resolve_engine,
)
from toymodels.sweeps.execution.executor import Executor
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import is_finished, models_of, own_packs
from toymodels.sweeps.execution.tuning import chosen_by, to_be_tuned, with_choices_of
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.spec.assignments import parse_assignment, parse_axis
from toymodels.sweeps.spec.code import own_code
from toymodels.sweeps.spec.sweep import Sweep, find, read
from toymodels.sweeps.store.locks import Shard
from toymodels.sweeps.store.store import Store, recorded_choice
from toymodels.sweeps.store.tuning import tuning_folder


@dataclass(frozen=True)
class Request:
    """A sweep, its plan in a run folder, and who trains it."""

    sweep: Sweep
    plan: Plan
    folder: Path
    engine: str
    device: str
    shard: Shard | None
    executor: Executor
    extend: bool = False
    part: str = ""
    """which part of a tuned sweep this is: ``tuning`` or ``sweep``; empty of one that is not tuned"""
    tuning: Request | None = None
    """what must be trained before, so that settings can be chosen for the arms of this one"""

    @property
    def models(self) -> int:
        """How many models are to be there in the end: those of the shard, if it is one."""
        return models_of(own_packs(self.plan, self.shard))

    def __str__(self) -> str:
        which = f"{self.models:,} models"
        if self.shard:
            which = f"{self.models:,} of {len(self.plan):,} models, shard {self.shard}"
        return f"{self.sweep.stem}{self.part and f', {self.part}'}: {which}, engine {self.engine}, {self.device}"

    def chosen(self, reporter: Reporter) -> Request:
        """The request with settings chosen for every arm, once its tuning is finished."""
        tuning = self.tuning
        assert tuning is not None
        sweep = chosen_by(self.plan.sweep, tuning.plan, tuning.folder, reporter)
        plan = Store(self.folder).plan_for(sweep, self.extend)
        for note in plan.notes:
            reporter.note_once(note)
        return replace(self, sweep=sweep, plan=plan, tuning=None)


def sweep_named(
    name_or_file: str, *, fixed: Sequence[str], axes: Sequence[str], tune: bool = True, allow_code: bool = False
) -> Sweep:
    """The sweep of this name or file, with ``--grid`` taken as ``axes`` and ``--set`` as ``fixed``; without its
    ``[tune]`` unless ``tune``. Code of one's own that it names is imported only where that is allowed.

    Raises `SpecError` where there is none, or where what is asked of it cannot be.
    """
    path = find(name_or_file)
    found = read(path)
    found = replace(found, code=own_code(path)) if allow_code else found
    settings = [parse_assignment(text, "--set") for text in fixed]
    return changed(found, fixed=settings, axes=[parse_axis(text) for text in axes], tune=tune)


def changed(
    sweep: Sweep, *, fixed: Iterable[tuple[str, Any]], axes: Iterable[tuple[str, Any]], tune: bool = True
) -> Sweep:
    """The sweep with these axes, then with these settings fixed, each by its dotted name; without its ``[tune]`` unless
    ``tune``.

    Raises `SpecError` where that cannot be.
    """
    sweep = sweep if tune else replace(sweep, tuning=None)
    for name, values in axes:
        sweep = sweep.with_axis(name, values)
    for name, value in fixed:
        sweep = sweep.with_setting(name, value)
    return sweep


def resolve(
    sweep: Sweep,
    *,
    out: Path | None,
    device: str,
    engine: str,
    shard: str | None,
    workers: int | None,
    scheduler: str | None,
    extend: bool,
    reporter: Reporter,
) -> Request:
    """The request that the options of ``toymodels sweep`` mean; what should be known of it goes to the reporter.

    Raises `SpecError` for options that cannot be, `FolderError` where the folder is no run folder.
    """
    if extend and shard is not None:
        raise SpecError("--extend: needs the whole folder, not a shard of it: extend it first, then share it")
    own = Shard.parse(shard) if shard is not None else None
    check_options(engine, device, workers, scheduler, own)
    folder = out if out is not None else Path("runs") / sweep.stem
    recorded = recorded_choice(folder)
    sweep = with_choices_of(folder, sweep)
    plan = Store(folder).plan_for(sweep, extend)
    trials = to_be_tuned(folder, plan, extend)
    # The tuning has every arm with every candidate, so whatever trains it can train what will be chosen.
    recorded = recorded or (recorded_choice(tuning_folder(folder)) if trials is not None else {})
    machines = machines_to_ask(scheduler, recorded, reporter, finished=is_finished(folder, plan, own))
    device = resolve_device(device, recorded, reporter, machines, engine)
    engine = resolve_engine(engine, device, plan if trials is None else trials, recorded, reporter, machines)
    if plan.repeated:
        reporter.note(
            f"{plan.repeated:,} models have no LayerNorm and differ from others only in its settings: they train "
            "alike; 'case' varies settings together"
        )
    for note in (*plan.notes, *sweep.code.said()):
        reporter.note_once(note)
    executor = choose_executor(engine, device, workers, scheduler)
    part = "sweep" if sweep.tuning is not None else ""
    asked = Request(sweep, plan, folder, engine, device, own, executor, extend, part)
    if trials is None:
        return asked
    inside = Request(trials.sweep, trials, tuning_folder(folder), engine, device, own, executor, part="tuning")
    return replace(asked, tuning=inside)
