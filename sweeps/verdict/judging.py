"""Judging: a finished run put to the two-tier battery, regime by regime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from toymodels.engines.engine import OnNote, unheard
from toymodels.hosts import Models
from toymodels.hypotheses import battery
from toymodels.hypotheses.arms import WITHOUT_NORM, Regime
from toymodels.hypotheses.battery import Verdict
from toymodels.hypotheses.evidence import Measured, halves
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.numbers import Statistics
from toymodels.hypotheses.side_by_side import each
from toymodels.surroundings import undisturbed
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution import measuring
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.verdict import evidence
from toymodels.sweeps.verdict.regimes import RunRegime, regimes

DICTIONARY_CHOICES = ("none", "primary", "all")
"""The regimes in which dictionaries can be trained."""
MOST_SEEDS = 24
"""How many seeds are measured at once at most."""
PAIRS_AT_ONCE = 2**25
"""How many pairs of features the seeds that are measured at once may have together, in one arm."""


@dataclass(frozen=True)
class Judgement:
    """The verdicts of a run, the primary regime's first, and what to say of all of them."""

    verdicts: list[Verdict]
    regimes: list[RunRegime]
    tuned: tuple[str, ...] = ()
    """the settings that were chosen for each arm; without any the arms have what the sweep file says"""
    null_seed: int = 0
    """of the rotations which the null of alignment was drawn from"""
    notes: tuple[str, ...] = field(default=())
    measured_on: str = "cpu"
    """the kind of device that the arms were measured on; what did not fit there is in the notes"""


@undisturbed
def judge(
    run: Run,
    with_dictionaries: str = "primary",
    on_note: OnNote = unheard,
    *,
    null_seed: int = 0,
    processes: int | None = 1,
) -> Judgement:
    """The verdict of every regime of a run; what each rests on goes into the run folder's tables of evidence.

    ``null_seed`` is that of the rotations which the null of alignment is drawn from. Seeds are measured on the device
    of `toymodels.sweeps.execution.measuring`: on a GPU of this machine by this process alone, on a CPU in so many
    ``processes``, begun anew, or a core each if None. Raises `FolderError` where the run holds no regime that can be
    judged, `DeviceLost` where the GPU is.
    """
    found, notes = regimes(run)
    device = measuring.device_of(run.manifest)
    for regime in found:
        _enough_samples(run, regime)
    if device != "cpu":
        processes = 1
        on_note(f"the arms are measured on {device}, the kind of device that trained them")
    elif processes is None:
        processes = torch.get_num_threads()
    parts: list[list[SomeSeeds]] = []
    for regime in found:
        wanted = with_dictionaries == "all" or (with_dictionaries == "primary" and regime.primary)
        parts.append(_parts(run, regime, wanted, null_seed, processes))
    every, unfit = [part for of_regime in parts for part in of_regime], list[str]()
    if processes == 1:
        measured: Iterator[Measurement] = (
            measuring.where_it_fits(device, partial(_measure, run, part), part.named, unfit.append) for part in every
        )
    else:
        measured = each(measure, every, processes)
    of_all: list[list[Statistics]] = []
    with measuring.naming_the_lost(device), evidence.writing(run.path) as tables:
        for place, (regime, of_regime) in enumerate(zip(found, parts, strict=True)):
            on_note(f"regime {place + 1} of {len(found)}: {regime.name}, {len(regime.seeds)} seeds")
            of_parts: list[list[Statistics]] = []
            for found_of_part in islice(measured, len(of_regime)):
                of_parts.append([statistics for statistics, _ in found_of_part])
                for _, rows in found_of_part:
                    tables.write(rows)
            of_all.append([Statistics.together(of_eps) for of_eps in zip(*of_parts, strict=True)])
    first = found[0].primary
    verdicts = battery.judge(of_all[0] if first else [], of_all[1:] if first else of_all)
    verdicts = [replace(v, notes=(*v.notes, *r.notes)) for v, r in zip(verdicts, found, strict=True)]
    return Judgement(verdicts, found, tuple(run.tuned), null_seed, (*notes, *unfit), device)


def untuned_beside(run: Run, untuned: Run) -> dict[str, Any]:
    """The primary regime of the verdict of an untuned run, to be shown beside this run's.

    Raises `FolderError` where that run has no verdict or was tuned, or where its primary regime is another.
    """
    (first, *_), said = untuned.verdicts["regimes"], untuned.verdicts
    if said["tuned"]:
        raise FolderError(f"{untuned.path}: its arms are tuned: expected the same sweep run with --no-tune")
    own = next((regime for regime in regimes(run)[0] if regime.primary), None)
    other = {name: value for name, value in first["settings"].items() if name not in run.tuned}
    if own is None or not first["primary"] or other != json.loads(json.dumps(own.settings)):
        raise FolderError(f"{untuned.path}: its primary regime is not that of {run.path}")
    return first


@dataclass(frozen=True)
class SomeSeeds:
    """Some seeds of a regime, to be measured at every eps."""

    run: Path
    regime: RunRegime
    some: slice
    dictionaries: bool
    null_seed: int

    @property
    def named(self) -> str:
        """Which they are, as a sentence names them."""
        seeds = self.regime.seeds[self.some]
        return f"{self.regime.name}, seeds {seeds[0]} to {seeds[-1]}"


Measurement = list[tuple[Statistics, list[tuple[str, pa.Table]]]]
"""By eps: what some seeds are judged by, and their rows of the tables of evidence."""


def _parts(run: Run, regime: RunRegime, dictionaries: bool, null_seed: int, processes: int) -> list[SomeSeeds]:
    """A regime in parts of so few seeds that what is measured at once does not grow, one a process at least."""
    largest = max(1, min(MOST_SEEDS, PAIRS_AT_ONCE // regime.settings["features.n"] ** 2))
    at_once = max(1, min(largest, -(-len(regime.seeds) // processes)))
    starts = range(0, len(regime.seeds), at_once)
    return [SomeSeeds(run.path, regime, slice(start, start + at_once), dictionaries, null_seed) for start in starts]


def measure(part: SomeSeeds) -> Measurement:
    """What is measured of a part, in a process that has only that."""
    return _measure(_loaded(part.run), part, "cpu")


def _measure(run: Run, part: SomeSeeds, device: str) -> Measurement:
    regime, found = part.regime, []
    known: dict[str, Measured] = {}  # without LayerNorm it is the same models at every eps
    for eps, arms in regime.arms.items():
        models = {name: of[part.some] for name, of in arms.items()}
        loaded = {name: run.batch(numbers) for name, numbers in models.items()}
        there = {name: Models(of, measuring.on(device, parameters)) for name, (of, parameters) in loaded.items()}
        measured = gather(
            Regime(regime.name, there),
            eps,
            regime.settings["eval.samples"],
            dictionaries=part.dictionaries,
            known=known,
            null_seed=part.null_seed,
        )
        known = {name: measured.arms[name] for name in WITHOUT_NORM if name in measured.arms}
        rows = evidence.rows_of(measured, regime.primary, regime.seeds[part.some], models)
        found.append((battery.statistics(measured), list(rows)))
    return found


@lru_cache(maxsize=1)
def _loaded(path: Path) -> Run:
    return load(path)


def _enough_samples(run: Run, regime: RunRegime) -> None:
    try:
        halves(regime.settings["eval.samples"])
    except ValueError as error:
        raise FolderError(f"{run.path}: {error}") from None
