"""Scoring: somebody's dictionaries of a run's models, or of a host, held against the features that each is known to
have.

A dictionary is scored on samples of its model's own evaluation stream, from sample `FIRST` on: fresh ones for what was
trained on the beginning of that stream, or on what ``tm.host`` streams. Tiers are those of the run's table of features;
those of a host that stands alone are measured.
A signed feature has two sides, each with a latent of its own (`toymodels.metrics.dictionaries.truth`), and both are of
its tier.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from torch import Tensor

from toymodels.engines.moment_table import TAPS
from toymodels.hosts import Models
from toymodels.hosts.hosted import HostedModel
from toymodels.metrics import measure
from toymodels.metrics.dictionaries import Scores, activations, score
from toymodels.metrics.dictionaries.scores import BY_FEATURE
from toymodels.metrics.gauge import up_to_common
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.results.dictionaries import ALONE, ReadDictionary, read_dictionary
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.tables import TIER_NAMES
from toymodels.sweeps.spec.wording import one_of
from toymodels.sweeps.store.sae_files import WEIGHTS, is_folder
from toymodels.training.experiment import Experiment

FIRST = 2**32
"""The first sample that is scored, of 2^34: far from those that measures are taken on, and from the second half, which
is for training."""
TIERS_ON = 32_768
"""Samples on which tiers of a host are measured: as many as those of the sweep ``hosts``, whose tiers these are."""
SHARE = 0.7
"""of the memory that is available, for samples"""
OF_FEATURES: Mapping[str, str] = {
    "mcc": "cosine",
    "mmcs": "max_cosine",
    "f1": "f1",
    "precision": "precision",
    "recall": "recall",
    "kept": "kept",
}
"""What is a mean over the features of a tier, by its name, and the score of one feature that it is the mean of."""
OF_MODELS = (
    "mcc_by_chance",
    "mmcs_by_chance",
    "uniqueness",
    "classification_f1",
    "l0",
    "r2",
    "shrinkage",
    "dead_latents",
)
"""The `Scores` of a model's dictionary as a whole, beside the means over all features."""
GAUGED = (
    "where a LayerNorm reads the tap, what is common to all neurons changes nothing: there directions, latents and "
    "reconstructions are compared about their means over neurons"
)
"""what is said of scores at such a tap"""
ALL = "all"
"""where a tier may stand: every feature"""
IN_ORDER = (ALL, *reversed(TIER_NAMES))
LITTLE = 0.2
"""R^2 of a reconstruction below which it is asked whether the dictionary is of these activations"""
OF_LATENTS = ("f1", "precision", "recall", "kept", "classification_f1", "l0", "r2", "shrinkage", "dead_latents")
"""what is undefined without an encoder: see `Scores`"""


@dataclass(frozen=True)
class ScoredRun:
    """The scores of a run's dictionaries, as tables; what is undefined is NaN."""

    models: pd.DataFrame
    """a row a model: ``model``, ``seed``, ``architecture``, ``latents``, the means over all features, `OF_MODELS`"""
    tiers: pd.DataFrame
    """a row a model x tier, ``all`` the first: ``features``, how many (sides of signed ones each), and their means"""
    features: pd.DataFrame
    """a row a model x feature, of signed ones x side"""
    notes: Sequence[str]
    """what was taken for granted or left out, a sentence each"""


def score_run(
    run: Run, path: Path, model: int | None, tap: str, samples: int, say: Callable[[str], None] = lambda _: None
) -> ScoredRun:
    """Score the dictionary at ``path`` of one model, or those of all models that have one in that folder.

    Raises `SpecError` for a file or a choice that cannot be, `FolderError` where the run's tables or models are not
    there.
    """
    _check(tap)
    paths = _paths(run, path, model)
    known = run.models.set_index("model")
    diverged = [each for each in paths if known.loc[each, "status"] != "ok"]
    if model in diverged:
        raise FolderError(f"{run.path}: model {model} diverged: it has no features to be found")
    notes = [f"left out, as they diverged: models {', '.join(map(str, diverged))}"] if diverged else []
    tier_of = dict(list(run.rows("features", list(paths), ["tier"]).groupby("model")["tier"]))
    scored = [each for each in paths if each not in diverged]
    experiments = dict(zip(scored, run.plan.experiments(run.plan.settings(scored)), strict=True))
    read: dict[int, ReadDictionary] = {}
    for each, e in experiments.items():  # all of them before any is scored
        _check_memory(e, samples)
        read[each] = read_dictionary(paths[each], e.bottleneck.hidden)
    parts: list[ScoredRun] = []
    for each, e in experiments.items():
        host = Models([e], run.model(each).parameters)
        parts.append(_scored(each, host, tier_of[each].tolist(), read[each], tap, samples))
        say(f"model {each}: {read[each].path}, read as '{read[each].architecture}'")
    if any(up_to_common(e.bottleneck, tap) for e in experiments.values()):
        notes.append(GAUGED)
    if not parts:
        raise FolderError(f"{run.path}: every model with a dictionary diverged: there is nothing to score")
    tables = ([getattr(part, name) for part in parts] for name in ("models", "tiers", "features"))
    joined = (pd.concat(table, ignore_index=True) for table in tables)
    scores = ScoredRun(*joined, [*notes, *(note for part in parts for note in part.notes)])
    return replace(scores, notes=[*scores.notes, *_doubts(scores.models, tap)])


def score_host(hosted: HostedModel, path: Path, tap: str, samples: int) -> ScoredRun:
    """Score the dictionary at ``path`` of a host that stands alone, as its model 0. Raises as `score_run` does."""
    _check(tap)
    host = hosted.models
    _check_memory(host.first, samples)
    read = read_dictionary(path, host.bottleneck.hidden)
    codes = measure(host.experiments, host.parameters, TIERS_ON).features["tier"][0].tolist()
    tiers = [None if code < 0 else str(TIER_NAMES[code]) for code in codes]
    scored = _scored(0, host, tiers, read, tap, samples)
    gauged = [GAUGED] if up_to_common(host.bottleneck, tap) else []
    return replace(scored, notes=[*scored.notes, *gauged, *_doubts(scored.models, tap)])


def _check(tap: str) -> None:
    if tap not in TAPS:
        raise SpecError(f"--tap: expected {one_of(TAPS)}, got '{tap}'")


def _scored(
    model: int, host: Models, tier_of: Sequence[str | None], read: ReadDictionary, tap: str, samples: int
) -> ScoredRun:
    """The scores of a dictionary of a host of one model, which is called by a number."""
    a, active = activations(host, tap, FIRST, samples)
    gauged = up_to_common(host.bottleneck, tap)
    found = score(read.dictionary, a, active, host.directions(tap), signed=host.signed, up_to_common=gauged)
    features = _features(model, tier_of, found, host.signed)
    tiers = _tiers(features)
    of_model = {
        "model": model,
        "seed": host.first.seed,
        "dictionary": str(read.path),
        "architecture": read.architecture,
        "latents": read.dictionary.decoder.shape[2],
        "active_features": active.sum().item() / samples,
        **{name: tiers.iloc[0][name] for name in OF_FEATURES},
        **{name: _number(getattr(found, name)) for name in OF_MODELS},
    }
    return ScoredRun(pd.DataFrame([of_model]), tiers, features, read.notes)


def _doubts(models: pd.DataFrame, tap: str) -> list[str]:
    """A sentence where dictionaries may be of other models or of another tap, which nothing in their files tells."""
    doubts = {
        f"less than {LITTLE:.0%} of the variance of the activations at {tap} is in the reconstruction (r2): is the "
        "dictionary of this model and this tap?": models["r2"] < LITTLE,
        f"directions alone are scored, as there is no encoder: {', '.join(OF_LATENTS)} are blank, and nothing tells "
        "whether the dictionary is of this model and this tap": models["architecture"] == ALONE,
    }
    which = {sentence: models[doubted]["model"].tolist() for sentence, doubted in doubts.items()}
    return [f"model{'s' * (len(of) > 1)} {', '.join(map(str, of))}: {each}" for each, of in which.items() if of]


def _check_memory(e: Experiment, samples: int) -> None:
    """Raise `SpecError` where the activations of so many samples, and what is active in them, fill the memory."""
    sides = 1 + e.features.signed
    # Twice, as parts are put together; other taps are held of `activations`' chunks only.
    needed = 2 * samples * (4 * e.bottleneck.hidden + sides * e.features.n)
    available = psutil.virtual_memory().available
    if needed > SHARE * available:
        most = int(samples * SHARE * available / needed)
        raise SpecError(
            f"--samples: {samples:,} of {e.bottleneck.hidden} neurons take {needed / 2**30:.1f} GiB, and "
            f"{available / 2**30:.1f} are available: give at most {most:,}"
        )


def _paths(run: Run, path: Path, model: int | None) -> dict[int, Path]:
    """Where the dictionary of each model is that is to be scored, in the order of the models."""
    planned = len(run.plan)
    if model is not None and not 0 <= model < planned:
        raise SpecError(f"MODEL: expected one from 0 to {planned - 1} of {run.path}, got {model}")
    if not os.path.lexists(path) and model is None:
        raise SpecError(f"{path}: there is no such file or folder")
    single = not is_folder(path) or (path / WEIGHTS).exists()
    if single and model is None:
        raise SpecError(f"{path}: one dictionary: say of which MODEL it is, or give a folder with one for each model")
    if single and model is not None:
        return {model: path}
    found: dict[int, Path] = {}
    for number, each in sorted(_numbered(path), key=lambda of: of[0]):
        if number in found:
            raise SpecError(f"{path}: {found[number].name} and {each.name} are both of model {number}")
        if number >= planned:
            raise SpecError(f"{each}: there is no model {number}: {run.path} has models 0 to {planned - 1}")
        found[number] = each
    if not found:
        raise SpecError(f"{path}: has neither {WEIGHTS} nor MODEL/{WEIGHTS} nor MODEL.safetensors of any model")
    if model is not None and model not in found:
        raise SpecError(
            f"{path}: has no dictionary of model {model}: expected {model}/{WEIGHTS} or {model}.safetensors"
        )
    return found if model is None else {model: found[model]}


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    """What is in a folder that is called by the number of a model, and which."""
    for path in folder.iterdir():
        name = path.stem if path.suffix == ".safetensors" else path.name
        if name.isascii() and name.isdecimal() and len(name) < 10:
            yield int(name), path


def _features(model: int, tiers: Sequence[str | None], found: Scores, signed: bool) -> pd.DataFrame:
    """A row a feature, or a side of one."""
    sides = ("+", "-") if signed else ("",)
    columns: dict[str, object] = {"model": model, "feature": list(range(len(tiers))) * len(sides)}
    if signed:
        columns["side"] = np.repeat(sides, len(tiers))
    columns |= {"tier": [*tiers] * len(sides), "latent": found.latent[0].numpy()}
    columns |= {name: getattr(found, name)[0].numpy() for name in BY_FEATURE}
    return pd.DataFrame(columns)


def _tiers(features: pd.DataFrame) -> pd.DataFrame:
    """Means over the features of every tier, first over all; a tier without features has no row."""
    means = {name: (column, "mean") for name, column in OF_FEATURES.items()}
    parts = [features.assign(tier=ALL), features[features["tier"].notna()]]
    tables = [part.groupby(["model", "tier"], sort=False).agg(features=("feature", "size"), **means) for part in parts]
    joined = pd.concat([each.reset_index() for each in tables if len(each)], ignore_index=True)
    return joined.sort_values("tier", key=lambda tier: tier.map(IN_ORDER.index), kind="stable", ignore_index=True)


def _number(of_model: Tensor) -> float:
    return of_model[0].item()
