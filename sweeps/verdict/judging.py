"""The verdict: a finished run put to the two-tier battery, regime by regime.

A regime is what all settings but the seed and the hidden layer (activation, LayerNorm and its eps) say. Its models are
paired by seed; a seed of which any arm diverged or is missing is left out. The regime that the sweep file names
``[primary]``, or the only one there is, is judged as it stands; all others are exploratory, and corrected for their
number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from toymodels.hypotheses import battery
from toymodels.hypotheses.arms import LN_ONLY, MAIN, PLAIN, Arm, Regime
from toymodels.hypotheses.battery import Verdict
from toymodels.hypotheses.measuring import Measured, gather, halves
from toymodels.hypotheses.prediction import PREDICTIONS, Statistics, statistics
from toymodels.hypotheses.statistics.findings import Finding
from toymodels.hypotheses.tiers import EPS, Setting
from toymodels.surroundings import undisturbed
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.summary import plain, varying
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unwritable
from toymodels.sweeps.verdict import evidence

ARM = ("model.activation", "model.layer_norm", "model.layer_norm_eps", "seed")
"""The settings that tell the models of one regime apart."""
DICTIONARIES = ("none", "primary", "all")
SGD_WITHIN = 0.05
"""of Adam's loss: SGD counts as a control only where it learns as well"""

MOST_SEEDS = 256
PAIRS_AT_ONCE = 2**25
"""pairs of features of the seeds that are measured at once, an arm"""

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class RunRegime:
    """A regime of a run: model numbers by eps and arm, in the order of ``seeds``."""

    name: str
    settings: Mapping[str, Any]
    primary: bool
    seeds: tuple[int, ...]
    arms: Mapping[str, Mapping[str, list[int]]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """The verdicts of a run, the primary regime's first, and what to say of all of them."""

    verdicts: list[Verdict]
    regimes: list[RunRegime]
    notes: tuple[str, ...] = field(default=())


def _enough_samples(run: Run, regime: RunRegime) -> None:
    try:
        halves(regime.settings["eval.samples"])
    except ValueError as error:
        raise FolderError(f"{run.path}: {error}") from None


@undisturbed
def judge(run: Run, with_dictionaries: str = "primary", on_progress: OnProgress = lambda _: None) -> Judgement:
    """The verdict of every regime of a run; what each rests on goes into the run folder's tables of evidence.

    Raises `FolderError` where the run holds no regime that can be judged.
    """
    found, notes = regimes(run)
    for regime in found:
        _enough_samples(run, regime)
    of_all: list[list[Statistics]] = []
    with evidence.writing(run.path) as tables:
        for place, regime in enumerate(found):
            on_progress(f"regime {place + 1} of {len(found)}: {regime.name}, {len(regime.seeds)} seeds")
            wanted = with_dictionaries == "all" or (with_dictionaries == "primary" and regime.primary)
            of_all.append(_statistics(run, regime, wanted, tables))
    first = found[0].primary
    verdicts = battery.judge(of_all[0] if first else [], of_all[1:] if first else of_all)
    verdicts = [replace(v, notes=(*v.notes, *r.notes)) for v, r in zip(verdicts, found, strict=True)]
    return Judgement(verdicts, found, notes)


def _statistics(run: Run, regime: RunRegime, with_dictionaries: bool, tables: evidence.Writer) -> list[Statistics]:
    """What a regime is judged by, an eps each; measured some seeds at a time, so that memory does not grow."""
    (settings,) = run.plan.settings([next(iter(next(iter(regime.arms.values())).values()))[0]])
    at_once = max(1, min(MOST_SEEDS, PAIRS_AT_ONCE // settings["features.n"] ** 2))
    parts: dict[str, list[Statistics]] = {eps: [] for eps in regime.arms}
    for start in range(0, len(regime.seeds), at_once):
        some = slice(start, start + at_once)
        # GeLU without LayerNorm is the same models at every eps.
        known: dict[str, Measured] = {}
        for eps, arms in regime.arms.items():
            models = {name: of[some] for name, of in arms.items()}
            loaded = Regime(regime.name, {name: Arm(*run.batch(numbers)) for name, numbers in models.items()})
            measured = gather(loaded, eps, settings["eval.samples"], with_dictionaries, known)
            known = {PLAIN: measured.arms[PLAIN]} if PLAIN in measured.arms else {}
            tables.add(measured, regime.primary, regime.seeds[some], models)
            parts[eps].append(statistics(measured))
    return [Statistics.together(of) for of in parts.values()]


def regimes(run: Run) -> tuple[list[RunRegime], tuple[str, ...]]:
    """The regimes of a run that can be judged, the primary one first, and what to say of the others."""
    models = run.models
    names = [name for name in models.columns[1 : models.columns.get_loc("key")] if name not in ARM]
    spelled = models[names].map(repr).agg("\x1f".join, axis=1) if names else pd.Series("", index=models.index)
    told_apart = [name for name in varying(models) if name not in ARM]
    found, left_out = [], []
    for _, rows in models.groupby(spelled, sort=False):
        name = ", ".join(_told(setting, rows[setting].iloc[0]) for setting in told_apart) or "the only regime"
        seeds, arms, sentences = _arms(rows)
        if not seeds:
            left_out.append(f"{name}: {'; '.join(sentences)}")
            continue
        primary = run.plan.is_primary(int(rows["model"].iloc[0]))
        settings = {setting: plain(rows[setting].iloc[0]) for setting in names}
        found.append(RunRegime(name, settings, primary, seeds, arms, sentences))
    if not found:
        reason = left_out[0] if left_out else "it has no models"
        raise FolderError(f"{run.path}: nothing to judge: {reason}")
    if len(found) == 1 and not run.plan.sweep.primary:
        found = [replace(found[0], primary=True)]
    primary = [regime for regime in found if regime.primary]
    if len(primary) > 1:
        raise FolderError(f"{run.path}: [primary] names {len(primary)} regimes, not one: {primary[0].name}; ...")
    notes = tuple(f"left out: {sentence}" for sentence in left_out)
    if run.missing:
        notes = (run.missing, *notes)
    if not primary:
        why = "is not in this run" if run.plan.sweep.primary else "was not named: see [primary] in docs/SWEEPS.md"
        notes = (f"the primary regime {why}; all are exploratory", *notes)
    found = [_with_optimizer_note(regime, found, models) for regime in found]
    return sorted(found, key=lambda regime: not regime.primary), notes


def _arms(rows: pd.DataFrame) -> tuple[tuple[int, ...], dict[str, dict[str, list[int]]], tuple[str, ...]]:
    """Seeds that every arm has, models by eps and arm in their order, and what to say of the rest; no seeds where there
    is nothing to judge, and why."""
    by_arm: dict[tuple[str, str], dict[int, int]] = {}
    for activation, norm, eps, seed, model, status in rows[[*ARM, "model", "status"]].itertuples(index=False):
        name = f"{activation} + LN" if norm else str(activation)
        of_arm = by_arm.setdefault((eps_label(eps) if norm else "", name), {})
        if status == "ok":
            of_arm[int(seed)] = int(model)
    notes = [
        f"{name}{f' at LayerNorm eps {eps}' if eps else ''}: every model diverged"
        for (eps, name), of_arm in by_arm.items()
        if not of_arm and name in (MAIN, *LN_ONLY, PLAIN)
    ]
    by_arm = {key: of_arm for key, of_arm in by_arm.items() if of_arm}
    judged: dict[str, dict[str, dict[int, int]]] = {}
    for eps in [e for e, name in by_arm if name == MAIN]:
        arms = {name: by_arm[eps, name] for name in (MAIN, *LN_ONLY) if (eps, name) in by_arm}
        if len(arms) == 1:
            notes.append(f"no LN-only control ({', '.join(LN_ONLY)}) at LayerNorm eps {eps}")
            continue
        judged[eps] = arms | ({PLAIN: by_arm["", PLAIN]} if ("", PLAIN) in by_arm else {})
    if not judged:
        return (), {}, tuple(notes) or (f"no models of {MAIN}",)
    shared = set.intersection(*(set(of) for arms in judged.values() for of in arms.values()))
    seeds = tuple(sorted(shared))
    if not seeds:
        return (), {}, ("no seed is there in every arm", *notes)
    if missing := rows["seed"].nunique() - len(seeds):
        notes.append(f"{missing} seeds left out: an arm of theirs diverged or is missing")
    order = sorted(judged, key=lambda eps: EPS.index(eps) if eps in EPS else len(EPS))
    return seeds, {eps: {n: [of[s] for s in seeds] for n, of in judged[eps].items()} for eps in order}, tuple(notes)


def eps_label(value: object) -> str:
    """How an eps is named: ``1e-05``, ``matched``."""
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value)


def _told(setting: str, value: Any) -> str:
    short = setting.partition(".")[2] or setting
    value = plain(value)
    if isinstance(value, bool):
        return short if value else f"no {short}" if short != "tied" else "untied"
    return value if isinstance(value, str) else f"{short} {value:g}" if isinstance(value, float) else f"{short} {value}"


def _with_optimizer_note(regime: RunRegime, all_of_them: Sequence[RunRegime], models: pd.DataFrame) -> RunRegime:
    """SGD is a control only where its loss is near Adam's: say so where it is not."""
    if regime.settings.get("train.optimizer") != "sgd":
        return regime

    def rest(of: RunRegime) -> str:
        return repr({name: value for name, value in of.settings.items() if not name.startswith("train.")})

    adam = [r for r in all_of_them if r.settings.get("train.optimizer") == "adam" and rest(r) == rest(regime)]
    if not adam:
        return replace(regime, notes=(*regime.notes, "no Adam beside it to compare its loss with"))
    losses = [
        models.set_index("model")["loss_fraction"].loc[next(iter(of.arms.values()))[MAIN]].mean()
        for of in (regime, adam[0])
    ]
    if losses[0] <= (1 + SGD_WITHIN) * losses[1]:
        return regime
    sentence = f"does not count as a control: SGD's loss fraction of {MAIN} is {losses[0]:.3f}, Adam's {losses[1]:.3f}"
    return replace(regime, notes=(*regime.notes, sentence))


# ------------------------------------------------------------------------------------------------------------- as JSON


def document(judgement: Judgement) -> dict[str, Any]:
    """What ``verdicts.json`` holds: every finding at every setting, with its interval."""
    return {
        "schema": 1,
        "toymodels": version("toymodels"),
        "notes": list(judgement.notes),
        "regimes": [
            {
                "name": verdict.regime,
                "primary": verdict.primary,
                "settings": dict(regime.settings),
                "seeds": list(regime.seeds),
                "overall": verdict.overall.value,
                "verdict": verdict.said,
                "notes": list(verdict.notes),
                "predictions": {
                    p.key: {
                        "claim": p.claim,
                        "margin": p.margin,
                        "decisive": list(p.decisive),
                        "status": verdict.predictions[p.key].value,
                    }
                    for p in PREDICTIONS
                },
                "settings_of_analysis": [_at(verdict, setting) for setting in verdict.findings],
            }
            for verdict, regime in zip(judgement.verdicts, judgement.regimes, strict=True)
        ],
    }


def _at(verdict: Verdict, setting: Setting) -> dict[str, Any]:
    one, two = verdict.tiers[setting]
    return {
        "eps": setting.eps,
        "recovered": setting.recovered,
        "percentile": setting.percentile,
        "default": setting == verdict.default,
        "tier_one": one,
        "tier_two": two,
        "dip_p": [round(p, 6) for p in verdict.marks[setting]["dip p"].tolist()],
        "predictions": {
            key: {"status": verdict.at(setting)[key].value, "statistics": [_finding(f) for f in kinds.values()]}
            for key, kinds in verdict.findings[setting].items()
        },
    }


def _finding(finding: Finding) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "statistic": finding.kind,
        "mean": number(finding.mean),
        "low": number(finding.low),
        "high": number(finding.high),
        "seeds": finding.n,
        "p_above": finding.p_above,
        "p_below": finding.p_below,
        "status": finding.status.value,
        "reason": finding.reason,
    }


def write(run: Run, judgement: Judgement) -> Path:
    """Write ``verdicts.json`` into the run folder; returns its path."""
    text = json.dumps(document(judgement), indent=1, sort_keys=True, allow_nan=False)
    path = run.path / "verdicts.json"
    try:
        atomic.write(path, text.encode() + b"\n")
    except OSError as error:
        raise unwritable(path, error) from None
    return path
