"""Adversarial vulnerability: whether what a small attack does grows as more features share a dimension.

Of every model of a run, over its represented features (bottlenecks: |W_i| > 1/2) or its recovered ones (others: R^2 >
1/2) and `EXAMPLES` fresh examples (`toymodels.metrics.vulnerability`; a model without superposition has 1 in both):

    squared slope   the mean of slope_i^2: what the best change, as short as one likes, does to the read-out
    attack          the mean change of an output by the best change of length `RADIUS`, over `RADIUS`: exact where the
                    hidden layer is affine, else the best that gradient ascent finds (`toymodels.surgery.attacks`)

The claim of Elhage et al. 2022 is that vulnerability follows features per dimension, |W|_F^2 / m, as sparsity changes;
where features lie in a space of d dimensions that neurons read, recovered features over d. A seed's number is the
exponent of y ~ x^a over its densities. Fixed before any run was looked at: *increases* where a's interval lies above
`LEAST`, *in proportion* where it lies in `PROPORTIONAL`; and after it was, *by no power law* where the exponents from a
density to the next differ (`bends`), of densities whose features per dimension are `APART`. In a tied linear bottleneck
an increase is nearly algebra, as the sum of squared slopes is at least |W|_F^2 / m times |W|_F^2: how far above it is
stands beside it. At that least the exponent over *all* features is 2; over represented ones it is 1 while the number of
these, of length 1, grows, and 2 once it does not.

Beside it, between decoders of one density and seed: how log attack goes with the number of features in neurons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from toymodels.activations import Linear
from toymodels.bottleneck import Bottleneck, Parameters
from toymodels.hypotheses.statistics.contrasts import mean_over
from toymodels.hypotheses.statistics.exponents import bends, exponent
from toymodels.metrics.geometry import features_per_dimension, norms, represented
from toymodels.metrics.recovery import RECOVERED
from toymodels.metrics.vulnerability import affine_slopes, input_slopes, is_affine, raised
from toymodels.surgery.attacks import found_by_ascent
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import SEED_ALONE, hidden_layer, label
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import Reply, decimal, estimate, estimates, said
from toymodels.training.experiment import sampler

QUESTION = "Does what the best small attack on the input does grow with the features that share a dimension?"
DENSITY = "features.density"
BY_DENSITY = "a host, a density and a measure"
LAWS = "a host and how a measure goes with features per dimension over its densities"
NEIGHBOURS = "a host and the exponent of a measure from a density to the next"
MODELS = "a model"
PER_DIMENSION, SLOPE, ATTACK, LEAST_SLOPE, NEURONS, FEATURES = MEASURES = (
    "features per dimension",
    "squared slope",
    "attack",
    "squared slope over the least",
    "features in neurons",
    "features",
)
EXAMPLES = 48
RADIUS = 0.5
AMONG = "decoders of one density"
"""the host of what is compared between decoders"""
NO_POWER_LAW = "increases, by no power law"
LEAST = 0.1
PROPORTIONAL = (0.8, 1.25)
APART = 1.05
"""the least ratio of features per dimension between two densities that have an exponent: a shorter way is all noise"""


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """Vulnerability at every density of every host. Raises `FolderError` where no host has two densities."""
    trained = run.models[(run.models["status"] == "ok") & run.models["features_recovered"].notna()]
    hosts = run.arms(trained, over=(*SEED_ALONE, DENSITY, *run.tuned))
    if not any(host.models[DENSITY].nunique() > 1 for host in hosts):
        raise FolderError(
            f"{run.path}: tms_adversary needs trained models that say what features are, at two densities"
        )
    names = [_name(host.models.iloc[0]) for host in hosts]
    if len(set(names)) < len(names):
        names = [f"{name}, {label(host.settings)}" for name, host in zip(names, hosts, strict=True)]
    found = []
    for name, host in zip(names, hosts, strict=True):
        say(f"attacking {name}: {len(host.models)} models")
        for density, models in host.models.groupby(DENSITY, sort=False):
            measured = _measured(run, models)
            keys = {"host": name, "density": density, "seed": models["seed"].to_numpy()}
            found.append(pd.DataFrame(keys | {what: measured[what].numpy() for what in MEASURES}))
    table = pd.concat(found, ignore_index=True)
    laws, neighbours = _laws(table), _neighbours(table)
    by_density = estimates(table, ["host", "density"], MEASURES)
    tables = {BY_DENSITY: by_density, LAWS: laws, NEIGHBOURS: neighbours, MODELS: table}
    return Reply(QUESTION, _sentence(laws, neighbours), tables, _notes(laws))


def _name(model: pd.Series) -> str:
    layer = hidden_layer(str(model["model.activation"]), bool(model["model.layer_norm"]))
    reads = model.get("model.embedding")
    decodes = reads is not None and not pd.isna(reads)
    return f"{layer} decoder" if decodes else "bottleneck" if layer == Linear.name else f"{layer} bottleneck"


def _measured(run: Run, models: pd.DataFrame) -> dict[str, Tensor]:
    experiments, parameters = run.batch(models["model"].tolist())
    parameters = parameters.to("cpu", torch.float64)
    bottleneck, x = experiments[0].bottleneck, sampler(experiments).evaluation(0, EXAMPLES).double()
    if bottleneck.embedding is None:
        counted, per_dimension = represented(parameters.W_in), features_per_dimension(parameters.W_in)
    else:
        counted = _recovered(run, models)
        per_dimension = counted.sum(1).double() / bottleneck.embedding.size
    slopes = affine_slopes(parameters)[:, :, None] if is_affine(bottleneck) else input_slopes(bottleneck, parameters, x)
    return {
        PER_DIMENSION: per_dimension,
        SLOPE: mean_over(slopes.square().mean(2), counted),
        ATTACK: mean_over(_attack(bottleneck, parameters, x), counted),
        LEAST_SLOPE: _over_the_least(bottleneck, parameters),
        NEURONS: torch.tensor(models["features_neuron"].to_numpy(np.float64)),
        FEATURES: counted.sum(1).double(),
    }


def _over_the_least(bottleneck: Bottleneck, parameters: Parameters) -> Tensor:
    """sum_i slope_i^2 over F sum_i |W_i|^2, 1 or more: [model]; NaN where that is no bound."""
    W = parameters.W_in
    if not (bottleneck.tied and is_affine(bottleneck)):
        return torch.full((len(W),), torch.nan, dtype=W.dtype)
    return affine_slopes(parameters).square().sum(1) / (features_per_dimension(W) * norms(W).square().sum(1))


def _recovered(run: Run, models: pd.DataFrame) -> Tensor:
    """Features with R^2 above `RECOVERED`: bool [model, feature]."""
    rows = run.features[run.features["model"].isin(models["model"])]
    r2 = rows.pivot(index="model", columns="feature", values="r2").loc[models["model"]]
    return torch.tensor(r2.to_numpy(np.float64)) > RECOVERED


def _attack(bottleneck: Bottleneck, parameters: Parameters, x: Tensor) -> Tensor:
    """[model, target], the mean over examples of what the best attack of length `RADIUS` does, over `RADIUS`."""
    try:
        moved = raised(bottleneck, parameters, x, RADIUS)
    except ValueError:
        moved = found_by_ascent(bottleneck, parameters.to("cpu", torch.float32), x, RADIUS).double()
    return moved.mean(2) / RADIUS


# ------------------------------------------------------------------------------------------------------- over the seeds


def _laws(table: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for host, models in table.groupby("host", sort=False):
        for measure in (SLOPE, ATTACK):
            of_seeds = [exponent(seed[PER_DIMENSION], seed[measure]) for _, seed in models.groupby("seed")]
            rows.append({"host": host, "measure": measure, "statistic": "exponent"} | estimate(of_seeds))
    decoders = table[table["host"].str.contains("decoder")]
    if decoders["host"].nunique() > 1:
        per_ten = [10 * between(seed) for _, seed in decoders.groupby("seed")]
        rows.append(
            {"host": AMONG, "measure": ATTACK, "statistic": "log per ten features in neurons"} | estimate(per_ten)
        )
    return pd.DataFrame(rows)


def _neighbours(table: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for host, models in table.groupby("host", sort=False):
        for pair in pairwise(sorted(models["density"].unique(), reverse=True)):
            both = models[models["density"].isin(pair)]
            means = both.groupby("density")[PER_DIMENSION].mean()
            seeds = both.groupby("seed") if means.max() >= APART * means.min() else ()
            for measure in (SLOPE, ATTACK):
                of_seeds = [exponent(seed[PER_DIMENSION], seed[measure]) for _, seed in seeds]
                rows.append({"host": host, "measure": measure, "from": pair[0], "to": pair[1]} | estimate(of_seeds))
    return pd.DataFrame(rows)


def between(models: pd.DataFrame) -> float:
    """The least-squares slope of log attack on features in neurons, both about their means over each density."""
    rows = models[models[ATTACK] > 0]
    both = pd.DataFrame({"x": rows[NEURONS], "y": np.log(rows[ATTACK]), "density": rows["density"]})
    centred = both[["x", "y"]] - both.groupby("density")[["x", "y"]].transform("mean")
    spread = float((centred["x"] ** 2).sum())
    return float((centred["x"] * centred["y"]).sum()) / spread if spread > 1e-9 else math.nan


# ------------------------------------------------------------------------------------------------------------- in words


def verdict(law: Mapping[str, Any], neighbours: Sequence[float] = ()) -> str:
    """What an exponent's interval says, and the exponents between neighbouring densities: it increases, in proportion
    or by no power law; it does not; or undetermined."""
    low, high = float(law["low"]), float(law["high"])
    if math.isnan(low):
        return "undetermined"
    if low > LEAST:
        if bends(neighbours):
            return NO_POWER_LAW
        return "increases, in proportion" if PROPORTIONAL[0] <= low and high <= PROPORTIONAL[1] else "increases"
    return "does not increase" if high < LEAST else "undetermined"


def _sentence(laws: pd.DataFrame, neighbours: pd.DataFrame) -> str:
    of_hosts: list[Any] = laws[laws["host"] != AMONG].to_dict("records")
    local = neighbours.groupby(["host", "measure"])["mean"].agg(list)
    told = []
    for law in of_hosts:
        means = local[law["host"], law["measure"]]
        says = verdict(law, means)
        told.append(f"{law['host']}: {law['measure']} {says}, exponent {said(law, 2)}")
        if says == NO_POWER_LAW:
            least, most = (decimal(end(each for each in means if not math.isnan(each)), 2) for end in (min, max))
            told[-1] += f" over all, {least} to {most} from a density to the next"
    seeds = int(laws["seeds"].max())
    return f"With features per dimension, as density changes, {'; '.join(told)}; {seeds} seeds."


def _notes(laws: pd.DataFrame) -> tuple[str, ...]:
    among: list[Any] = laws[laws["host"] == AMONG].to_dict("records")
    return tuple(
        f"Between {AMONG} and seed log attack changes by {said(law)} per ten features in neurons." for law in among
    )
