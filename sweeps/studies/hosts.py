"""Hosts: how well our dictionaries find the features of trained, nonlinear hosts; the table of `toymodels-hosts`.

On every model of a run, at post and at mid (one tap where no LayerNorm is between them), a dictionary of each kind and
of each of `SEEDS` is trained on samples of the stream that ``tm.host`` gives, and scored on those that ``toymodels
score`` takes. It has as many latents as there are features, and at post also twice as many. The mean number of latents
that are on is the truth's, sum_i P_i, by the rule of `toymodels.metrics.dictionaries.choose`; L1's penalty is chosen by
a dictionary of a seed of its own, `PILOT`. *The neurons' MCC* is that of the neurons themselves, as if each were a
latent: what one has without any dictionary.

Intervals are over dictionary seeds on a host that stays as it is: they say how much the training of a dictionary
varies, and nothing of how hosts vary. A kind's seeds start from the same words on every host, and kinds from the same
directions, so that differences of kinds are paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from toymodels.features import Features
from toymodels.firing import Tree
from toymodels.hosts import Models
from toymodels.hosts.streaming import BEGINS
from toymodels.metrics.dictionaries import (
    L1,
    PENALTIES,
    BatchTopK,
    Dictionary,
    JumpReLU,
    Matryoshka,
    TopK,
    absorption,
    activations,
    beside_parents,
    by_chance,
    choose,
    fit,
    matching,
    score,
)
from toymodels.metrics.dictionaries.sparsity import Sparsity
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.hosting import name_of
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.scoring import FIRST
from toymodels.sweeps.studies.reply import UNCORRECTED, Reply, chosen, decimal, estimate, records, said

QUESTION = "How well do sparse dictionaries find the features of trained, nonlinear hosts?"
HOSTS = "a host: how well it is trained, and its features by tier"
SCORES = "a kind of dictionary on a host, over dictionary seeds"
TIERS = "a tier of a host's features, over dictionary seeds"
KINDS = "a kind over all hosts, and minus TopK, over dictionary seeds"
SEEDS, PILOT = tuple(range(8)), 1000
"""the dictionaries' own; L1's penalty is chosen by one of the seed `PILOT`"""
BATCH, PASSES = 256, 16
"""how many samples a step takes, and how often each of ``eval.samples`` is seen; half as many are for the scores"""
TAPS = ("post", "mid")
AS_MANY, TWICE = "as many", "twice as many"
"""latents as features"""
REFERENCE = "TopK"
OF_HOSTS = (
    "loss_fraction",
    "affine_substitution",
    "features_recovered",
    "features_neuron",
    "features_hidden",
    "features_lost",
)
"""how well it is trained, whether its activation has work to do, and its features by tier"""
OF_MODELS = ("mcc", "mcc_by_chance", "mmcs", "uniqueness", "l0", "r2", "shrinkage", "dead_latents")
OF_TIERS = {"mcc": "cosine", "f1": "f1"}
"""what is said of a tier, by its name, and the score of one feature that it is the mean of"""
SHARE = (0.0, 1.0)
ENDS = {
    "mmcs": (-1.0, 1.0),
    "l0": (0.0, math.inf),
    "r2": (-math.inf, 1.0),
    "shrinkage": (0.0, math.inf),
    "dead_latents": (0.0, math.inf),
}
"""between what a measure can be, where it is not `SHARE`: intervals are cut there"""
IN_TREES = ("absorption", "absorbed_fully", "children_counted")
APART = "neuron - hidden"
UNIT = (
    f"Intervals are over {len(SEEDS)} seeds of dictionaries on hosts that stay as they are: how the training of a "
    "dictionary varies, not how hosts do, of which each is one model."
)


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """The scores of every kind on every host. Raises `FolderError` where no model is a host with features to find."""
    trained = run.models[run.models["status"] == "ok"]
    rows: list[dict[str, Any]] = []
    tiers: list[dict[str, Any]] = []
    hosts: list[dict[str, Any]] = []
    for row in records(trained):
        model, samples = int(row["model"]), max(8, row["eval.samples"] // 8 * 8)
        loaded = run.model(model)
        host = Models([loaded.experiment], loaded.parameters)
        if not (host.of_features and isinstance(loaded.experiment.features, Features)):
            continue
        of = {"host": name_of(loaded.experiment), "model": model}
        hosts.append(of | {name: row[name] for name in OF_HOSTS} | {"neurons_mcc": _neurons_mcc(host)})
        tier = run.rows("features", [model], ["tier"])["tier"].tolist()
        for tap, times, kind, dictionary in _dictionaries(host, samples):
            latents = dictionary.decoder.shape[2]
            key = {**of, "tap": tap, "kind": kind, "latents": latents, "times": times}
            found, by_tier = _scored(host, tap, dictionary, samples, tier)
            say(f"{of['host']} (model {model}), {tap}: {kind} of {latents} latents has MCC {found['mcc'].mean():.3f}")
            rows += [key | {"measure": name, "value": values} for name, values in found.items()]
            tiers += [key | each for each in by_tier]
    if not rows:
        raise FolderError(f"{run.path}: hosts needs trained models whose targets are features")
    scores, of_tiers = pd.DataFrame(rows), pd.DataFrame(tiers)
    kinds = pd.DataFrame(_kinds(scores))
    tables = {HOSTS: pd.DataFrame(hosts), KINDS: kinds, SCORES: _over_seeds(scores), TIERS: _over_seeds(of_tiers)}
    return Reply(QUESTION, _sentence(kinds, of_tiers), tables, (UNIT, UNCORRECTED))


# -------------------------------------------------------------------------------------------------------- dictionaries


def _dictionaries(host: Models, samples: int) -> Iterator[tuple[str, str, str, Dictionary]]:
    """Tap, how many latents, kind and the dictionaries of `SEEDS`."""
    taps = TAPS if host.bottleneck.layer_norm is not None else TAPS[:1]
    for tap in taps:
        n = host.directions(tap).shape[2]
        a, _ = activations(host, tap, BEGINS, samples)
        for times, latents in {AS_MANY: n, TWICE: 2 * n}.items() if tap == TAPS[0] else [(AS_MANY, n)]:
            for name, kind in kinds_of(latents).items():
                yield tap, times, name, _trained(host, a, kind, latents)


def kinds_of(latents: int) -> dict[str, Sparsity]:
    """The kinds by name. Matryoshka's levels are a quarter of the latents, half of them, and all."""
    nested = Matryoshka(BatchTopK(), tuple(each for each in (latents // 4, latents // 2) if each))
    return {"L1": L1(), REFERENCE: TopK(), "BatchTopK": BatchTopK(), "JumpReLU": JumpReLU(), "Matryoshka": nested}


def _trained(host: Models, a: Tensor, kind: Sparsity, latents: int) -> Dictionary:
    """Dictionaries of one kind on activations ``a [1, hidden, sample]``, one a seed."""
    features = host.first.features
    assert isinstance(features, Features)
    expected = torch.tensor([float(features.probabilities().sum())])
    training: dict[str, Any] = {"steps": max(1, PASSES * a.shape[2] // BATCH), "batch": BATCH}
    told, candidates = kind.tried(expected.expand(len(SEEDS)))
    if candidates > 1:
        held_out = a[:, :, : a.shape[2] // 8]
        best = choose(a[:, :, a.shape[2] // 8 :], held_out, expected, latents, [PILOT], kind=kind, **training).index
        told, _ = kind.tried(expected.expand(len(SEEDS)), [PENALTIES[int(best)]])
    return fit(a.expand(len(SEEDS), -1, -1), told, latents, SEEDS, **training)


def _scored(
    host: Models, tap: str, dictionary: Dictionary, samples: int, tier: Sequence[str | None]
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Measures by name, float64 [seed] each; and of every tier its rows, with such values."""
    a, active = (each.expand(len(SEEDS), -1, -1) for each in activations(host, tap, FIRST, samples // 2))
    directions = host.directions(tap).expand(len(SEEDS), -1, -1)
    found = score(dictionary, a, active, directions, signed=host.signed, draws=1)
    every = {name: getattr(found, name) for name in OF_MODELS}
    chance = by_chance(directions[:1], dictionary.decoder.shape[2], signed=host.signed)  # of all seeds the same
    every["mcc_by_chance"] = chance.mcc.expand(len(SEEDS))
    every |= {name: found.means(torch.ones_like(found.f1, dtype=torch.bool))[name] for name in ("precision", "recall")}
    every["f1"] = found.f1.nanmean(1)
    features = host.first.features
    if isinstance(features, Features) and isinstance(features.firing, Tree) and not host.signed:
        parents = features.firing.parents(features.n)
        beside = beside_parents(host, tap, parents).expand(len(SEEDS), -1, -1)
        absorbed = absorption(dictionary, a, active, beside, parents)
        of_trees = absorbed.mean, absorbed.full.nanmean(1), absorbed.counted
        every |= dict(zip(IN_TREES, of_trees, strict=True))
    sides = [*tier] * (directions.shape[2] // len(tier))
    rows: list[dict[str, Any]] = []
    of = {
        each: torch.tensor([side == each for side in sides]).expand_as(found.f1) for each in dict.fromkeys(tier) if each
    }
    means = {each: found.means(there) for each, there in of.items()}
    for name, by in OF_TIERS.items():
        values = {each: mean[by] for each, mean in means.items()}
        if {"neuron", "hidden"} <= values.keys():
            values[APART] = values["neuron"] - values["hidden"]
        rows += [{"tier": each, "measure": name, "value": value} for each, value in values.items()]
    return every, rows


# --------------------------------------------------------------------------------------------------------------- tables


def _neurons_mcc(host: Models) -> float:
    """The MCC of the neurons themselves."""
    D = host.directions(TAPS[0])
    return matching(torch.eye(D.shape[1])[None], D, signed=host.signed).cosine.mean().item()


def _estimate(values: Tensor, measure: str, *, apart: bool = False) -> dict[str, float | int]:
    """The estimate of a measure, or of a difference of two, cut at what that can be."""
    least, most = ENDS.get(measure, SHARE)
    if apart:
        least, most = least - most, most - least
    return estimate(values.numpy(), least=least, most=most)


def _over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its values, [seed] each, as estimates."""
    return pd.DataFrame(
        {name: value for name, value in row.items() if name not in ("value", "times")}
        | _estimate(row["value"], row["measure"], apart=row.get("tier") == APART)
        for row in records(table)
    )


def _kinds(scores: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Of every kind the mean over the hosts, seed by seed; and the same minus that of `REFERENCE`."""
    for (tap, times, measure), rows in _in_all_hosts(scores):
        of_kind = {kind: torch.stack([*each["value"]]).mean(0) for kind, each in rows.groupby("kind", sort=False)}
        for kind, values in of_kind.items():
            key = {"tap": tap, "latents": times, "measure": measure, "kind": kind, "hosts": rows["model"].nunique()}
            yield key | {"minus": ""} | _estimate(values, measure)
            if kind != REFERENCE:
                apart = _estimate(values - of_kind[REFERENCE], measure, apart=True)
                yield key | {"minus": REFERENCE} | apart


def _in_all_hosts(scores: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """The rows of a tap, a number of latents in features and a measure that every host has, in turn."""
    for (tap, latents, measure), rows in scores.groupby(["tap", "times", "measure"], sort=False):
        if measure not in IN_TREES:
            yield (str(tap), str(latents), str(measure)), rows


def _sentence(kinds: pd.DataFrame, tiers: pd.DataFrame) -> str:
    """The least and the largest MCC of a kind at post with as many latents as features, and how far tiers are apart."""
    here = kinds[(kinds["tap"] == TAPS[0]) & (kinds["latents"] == AS_MANY) & (kinds["minus"] == "")]
    by_measure = {measure: rows.sort_values("mean") for measure, rows in here.groupby("measure")}
    least, *_, most = records(by_measure["mcc"])
    chance = records(by_measure["mcc_by_chance"])[0]
    told = (
        f"At {TAPS[0]}, with as many latents as features, MCC is {said(least)} of {least['kind']} to {said(most)} of "
        f"{most['kind']}{chosen('the largest', len(by_measure['mcc']))}, by chance {decimal(chance['mean'], 3)}, the "
        f"mean over {most['hosts']} hosts"
    )
    apart = tiers[(tiers["tier"] == APART) & (tiers["measure"] == "f1") & (tiers["tap"] == TAPS[0])]
    apart = apart[(apart["kind"] == most["kind"]) & (apart["times"] == AS_MANY)]
    if len(apart):
        found = estimate(torch.stack([*apart["value"]]).nanmean(0).numpy())
        told += (
            f"; F1 of its {len(apart)} hosts with both tiers is {said(found)} higher for tier neuron than for hidden"
        )
    return f"{told}; {len(SEEDS)} dictionary seeds."
