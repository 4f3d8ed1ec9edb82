"""Judging: a finished run put to the two-tier battery, regime by regime."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from toymodels.engines.engine import OnNote, unheard
from toymodels.hypotheses import battery
from toymodels.hypotheses.arms import WITHOUT_NORM, Arm, Regime
from toymodels.hypotheses.battery import Verdict
from toymodels.hypotheses.evidence import Measured, halves
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.numbers import Statistics
from toymodels.surroundings import undisturbed
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
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


@undisturbed
def judge(run: Run, with_dictionaries: str = "primary", on_note: OnNote = unheard, *, null_seed: int = 0) -> Judgement:
    """The verdict of every regime of a run; what each rests on goes into the run folder's tables of evidence.

    ``null_seed`` is that of the rotations which the null of alignment is drawn from. Raises `FolderError` where the run
    holds no regime that can be judged.
    """
    found, notes = regimes(run)
    for regime in found:
        _enough_samples(run, regime)
    of_all: list[list[Statistics]] = []
    with evidence.writing(run.path) as tables:
        for place, regime in enumerate(found):
            on_note(f"regime {place + 1} of {len(found)}: {regime.name}, {len(regime.seeds)} seeds")
            wanted = with_dictionaries == "all" or (with_dictionaries == "primary" and regime.primary)
            of_all.append(_statistics(run, regime, wanted, null_seed, tables))
    first = found[0].primary
    verdicts = battery.judge(of_all[0] if first else [], of_all[1:] if first else of_all)
    verdicts = [replace(v, notes=(*v.notes, *r.notes)) for v, r in zip(verdicts, found, strict=True)]
    return Judgement(verdicts, found, tuple(run.tuned), null_seed, notes)


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


def _statistics(
    run: Run, regime: RunRegime, with_dictionaries: bool, null_seed: int, tables: evidence.Writer
) -> list[Statistics]:
    """What a regime is judged by, an eps each; measured some seeds at a time, so that memory does not grow."""
    (settings,) = run.plan.settings([next(iter(next(iter(regime.arms.values())).values()))[0]])
    at_once = max(1, min(MOST_SEEDS, PAIRS_AT_ONCE // settings["features.n"] ** 2))
    parts: dict[str, list[Statistics]] = {eps: [] for eps in regime.arms}
    for start in range(0, len(regime.seeds), at_once):
        some = slice(start, start + at_once)
        # Without LayerNorm it is the same models at every eps.
        known: dict[str, Measured] = {}
        for eps, arms in regime.arms.items():
            models = {name: of[some] for name, of in arms.items()}
            loaded = Regime(regime.name, {name: Arm(*run.batch(numbers)) for name, numbers in models.items()})
            measured = gather(
                loaded,
                eps,
                settings["eval.samples"],
                dictionaries=with_dictionaries,
                known=known,
                null_seed=null_seed,
            )
            known = {name: measured.arms[name] for name in WITHOUT_NORM if name in measured.arms}
            tables.add(measured, regime.primary, regime.seeds[some], models)
            parts[eps].append(battery.statistics(measured))
    return [Statistics.together(of) for of in parts.values()]


def _enough_samples(run: Run, regime: RunRegime) -> None:
    try:
        halves(regime.settings["eval.samples"])
    except ValueError as error:
        raise FolderError(f"{run.path}: {error}") from None
