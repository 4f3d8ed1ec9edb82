"""The request: what ``toymodels sweep`` was asked to do, every choice resolved and nothing trained or written yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.execution.choosing import choose_executor, resolve_device, resolve_engine
from toymodels.sweeps.execution.executor import Executor
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import models_of, own_packs
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.spec.assignments import parse_assignment, parse_axis
from toymodels.sweeps.spec.sweep import Sweep, find, read
from toymodels.sweeps.store.locks import Shard
from toymodels.sweeps.store.store import Store, recorded_choice


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

    @property
    def models(self) -> int:
        """How many models are to be there in the end: those of the shard, if it is one."""
        return models_of(own_packs(self.plan, self.shard))

    def __str__(self) -> str:
        which = f"{self.models:,} models"
        if self.shard:
            which = f"{self.models:,} of {len(self.plan):,} models, shard {self.shard}"
        return f"{self.sweep.stem}: {which}, engine {self.engine}, {self.device}"


def sweep_named(name_or_file: str, *, fixed: Sequence[str], axes: Sequence[str]) -> Sweep:
    """The sweep of this name or file, with ``--grid`` taken as ``axes`` and ``--set`` as ``fixed``.

    Raises `SpecError` where there is none, or where what is asked of it cannot be.
    """
    chosen = read(find(name_or_file))
    for text in axes:
        chosen = chosen.with_axis(*parse_axis(text))
    for text in fixed:
        chosen = chosen.with_setting(*parse_assignment(text, "--set"))
    return chosen


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
    folder = out if out is not None else Path("runs") / sweep.stem
    own = Shard.parse(shard) if shard is not None else None
    recorded = recorded_choice(folder)
    device, plan = resolve_device(device, recorded, here=scheduler is None), Store(folder).plan_for(sweep, extend)
    engine = resolve_engine(engine, device, plan, recorded, reporter)
    if plan.repeated:
        reporter.note(
            f"{plan.repeated:,} models have no LayerNorm and differ from others only in its settings: they train "
            "alike; 'case' varies settings together"
        )
    for note in plan.notes:
        reporter.note(note)
    return Request(sweep, plan, folder, engine, device, own, choose_executor(engine, device, workers, scheduler, own))
