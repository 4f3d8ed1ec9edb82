"""Regimes: which models of a run form the regimes that a verdict is given of.

A regime is what all settings but the seed and the hidden layer (activation, LayerNorm and its eps) say; settings that a
sweep tunes are each arm's own, and tell no regimes apart. Its models are paired by seed; a seed of which any arm
diverged or is missing is left out. The regime that the sweep file names ``[primary]``, or the only one there is, is
judged as it stands; all others are exploratory, and corrected for their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from toymodels.hypotheses.arms import ARMS, LN_ONLY, MAIN, WITHOUT_NORM
from toymodels.hypotheses.tiers import EPS_LABELS
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import as_python, hidden_layer
from toymodels.sweeps.results.reading import Run
from toymodels.targets import TARGETS

WITHIN_REGIME = ("model.activation", "model.layer_norm", "model.layer_norm_eps", "seed")
"""The settings that tell the models of one regime apart."""
SGD_WITHIN = 0.05
"""SGD counts as a control only where its loss is above Adam's by no more than this share."""
NOT_PLAIN = ("model.gated", "model.experts")
"""Settings of layers that the predictions are not about."""


@dataclass(frozen=True)
class RunRegime:
    """A regime of a run: model numbers by eps and arm, in the order of ``seeds``."""

    name: str
    settings: Mapping[str, Any]
    primary: bool
    seeds: tuple[int, ...]
    arms: Mapping[str, Mapping[str, list[int]]]
    notes: tuple[str, ...] = ()


def regimes(run: Run) -> tuple[list[RunRegime], tuple[str, ...]]:
    """The regimes of a run that can be judged, the primary one first, and what to say of the others."""
    within = (*WITHIN_REGIME, *run.tuned)
    names = [name for name in run.setting_columns if name not in within]
    found, left_out = [], []
    for alike in run.arms(over=within):
        rows, target = alike.models, alike.models["task.target"].iloc[0]
        name = _name(alike.settings) or "the only regime"
        if target not in TARGETS or not TARGETS[target].of_features:
            left_out.append(f"{name}: target '{target}' is not of features, which the predictions are about")
            continue
        if any(rows[name].iloc[0] for name in NOT_PLAIN if name in rows):  # an older run has no such columns
            left_out.append(f"{name}: layers are gated or routed, and the predictions are about others")
            continue
        seeds, arms, sentences = _arms(rows)
        if not seeds:
            left_out.append(f"{name}: {'; '.join(sentences)}")
            continue
        primary = run.plan.is_primary(int(rows["model"].iloc[0]))
        settings = {setting: as_python(rows[setting].iloc[0]) for setting in names}
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
    found = [_with_optimizer_note(regime, found, run.models) for regime in found]
    return sorted(found, key=lambda regime: not regime.primary), notes


def _arms(rows: pd.DataFrame) -> tuple[tuple[int, ...], dict[str, dict[str, list[int]]], tuple[str, ...]]:
    """Seeds that every arm has, models by eps and arm in their order, and what to say of the rest; no seeds where there
    is nothing to judge, and why."""
    by_arm: dict[tuple[str, str], dict[int, int]] = {}
    for activation, norm, eps, seed, model, status in rows[[*WITHIN_REGIME, "model", "status"]].itertuples(index=False):
        name = hidden_layer(str(activation), norm)
        of_arm = by_arm.setdefault((eps_label(eps) if norm else "", name), {})
        if status == "ok":
            of_arm[int(seed)] = int(model)
    notes = [
        f"{name}{f' at LayerNorm eps {eps}' if eps else ''}: every model diverged"
        for (eps, name), of_arm in by_arm.items()
        if not of_arm and name in ARMS
    ]
    by_arm = {key: of_arm for key, of_arm in by_arm.items() if of_arm}
    judged: dict[str, dict[str, dict[int, int]]] = {}
    for eps in [e for e, name in by_arm if name == MAIN]:
        arms = {name: by_arm[eps, name] for name in (MAIN, *LN_ONLY) if (eps, name) in by_arm}
        if len(arms) == 1:
            notes.append(
                f"no LN-only control ({', '.join(LN_ONLY)}) at LayerNorm eps {eps}: whether SoLU adds anything is open"
            )
        judged[eps] = arms | {name: by_arm["", name] for name in WITHOUT_NORM if ("", name) in by_arm}
    if not judged:
        return (), {}, tuple(notes) or (f"no models of {MAIN}",)
    shared = set.intersection(*(set(of) for arms in judged.values() for of in arms.values()))
    seeds = tuple(sorted(shared))
    if not seeds:
        return (), {}, ("no seed is there in every arm", *notes)
    if missing := rows["seed"].nunique() - len(seeds):
        notes.append(f"{missing} seeds left out: an arm of theirs diverged or is missing")
    order = sorted(judged, key=lambda eps: EPS_LABELS.index(eps) if eps in EPS_LABELS else len(EPS_LABELS))
    return seeds, {eps: {n: [of[s] for s in seeds] for n, of in judged[eps].items()} for eps in order}, tuple(notes)


def eps_label(value: object) -> str:
    """How an eps is named: ``1e-05``, ``matched``."""
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value)


def _name(settings: Mapping[str, Any]) -> str:
    """A regime's name: what sets it apart from others, in words; "" where nothing does."""
    return ", ".join(words for setting, value in settings.items() if (words := _told(setting, value)))


def _told(setting: str, value: Any) -> str:
    """A setting in words; "" of what only belongs to another law, or changes nothing."""
    short, of_law = (setting.partition(".")[2] or setting).removesuffix(".law"), setting.count(".") > 1
    if of_law and (value is None or value is False or (short.endswith(".cap") and value == 1)):
        return "embedding fixed" if short == "embedding.trained" and value is False else ""
    if value is None:
        return f"no {short}"
    if isinstance(value, bool):
        return short if value else f"no {short}" if short != "tied" else "untied"
    if isinstance(value, str):
        return f"{short} {value}" if of_law else f"{value} {short}" if short == "values" else value
    return f"{short} {value:g}" if isinstance(value, float) else f"{short} {value}"


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
