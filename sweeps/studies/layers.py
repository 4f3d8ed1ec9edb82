"""Layers: what the hidden layers of a run cost and what they show, a row a model, named by what tells them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from toymodels.activations import Linear
from toymodels.hosts import Models
from toymodels.metrics.budget import active_neurons, budget
from toymodels.metrics.monosemanticity import monosemanticity
from toymodels.metrics.recovery import RECOVERED
from toymodels.metrics.routing import Routing, routing
from toymodels.sweeps.results.arms import HIDDEN_LAYER, SEED_ALONE, Replicates, condition, hidden_layer
from toymodels.sweeps.results.reading import Run
from toymodels.training.experiment import Experiment

BUDGETS = ("parameters", "multiply_adds")
"""what a layer costs (`toymodels.metrics.budget`)"""
COLUMNS = {
    "loss_fraction": "loss_fraction",
    "recovered": "features_recovered",
    "in_neurons": "best_neuron_recovered_post",
    "in_neurons_beyond_null": "features_neuron",
}
"""Measures, by the column of ``models.parquet`` that has them."""
COMPARED = (*COLUMNS, "in_neurons_given_expert", "monosemanticity", "neurons_per_1000", "features_per_1000")
MOST: dict[str, float] = {"monosemanticity": 1, "monosemanticity_unrouted": 1, "balance": 1, "home": 1}
"""what a measure can be at most, of those that are shares"""
NAMED = ("model.hidden", *HIDDEN_LAYER, "model.blocks", "model.top_k", "model.experts", "model.gated")
"""the settings that a layer's name and width say"""
OF_EXPERTS = ("monosemanticity_unrouted", "balance", "home")
WORK = ("active", "multiply_adds_done")
"""neurons that are not 0, and what is multiplied where the read-outs of the others are skipped"""
ACTIVE_ON = 2**13
"""samples, at most, on which neurons that are not 0 are counted"""


def layers_of(run: Run, models: pd.DataFrame) -> pd.DataFrame:
    """The measures of these models of a run, a row a model: by ``regime`` and ``layer``, whether that is ``dense``, its
    width and how many ``experts`` it has, its `BUDGETS`, ``seed``, `COMPARED`, `OF_EXPERTS` and `WORK`."""
    arms = run.arms(models, over=(*SEED_ALONE, *run.tuned))
    also = {name for arm in arms if _dense(arm) for name in _apart(arm, arms)}
    named = [(_beside(arm, also), {k: v for k, v in _apart(arm, arms).items() if k not in also}) for arm in arms]
    parts = [_measured(run, arm, *names, named[0][0]) for arm, names in zip(arms, named, strict=True)]
    return pd.concat(parts or [models.assign(dense=True)])


def _place(arm: Replicates) -> dict[str, Any]:
    """What an arm's settings say of its regime, and its layer's name and width."""
    return {k: v for k, v in arm.settings.items() if k in NAMED or not k.startswith(("model.", "train."))}


def _apart(arm: Replicates, arms: Sequence[Replicates]) -> dict[str, Any]:
    """What else tells an arm from others of its place."""
    place = _place(arm)
    alike = [other.settings for other in arms if _place(other) == place]
    rest = {k: v for k, v in arm.settings.items() if k not in place}
    return {name: value for name, value in rest.items() if any(other[name] != value for other in alike)}


def _beside(arm: Replicates, also: Set[str]) -> dict[str, Any]:
    """What an arm's settings say of its regime: of all but layer and training, and of what tells dense layers apart."""
    place = _place(arm)
    return {k: v for k, v in arm.settings.items() if k in also or (k in place and k not in NAMED)}


def _dense(arm: Replicates) -> bool:
    first = arm.models.iloc[0]
    return not (max(first["model.blocks"], first["model.experts"]) > 1 or first["model.top_k"] or first["model.gated"])


def _measured(
    run: Run, arm: Replicates, beside: Mapping[str, Any], apart: Mapping[str, Any], first: Mapping[str, Any]
) -> pd.DataFrame:
    """The measures of an arm's models, a row a model; regimes are named by what differs from the ``first``, layers also
    by what tells them ``apart``."""
    numbers = [int(model) for model in arm.models["model"]]
    experiments, parameters = run.batch(numbers)
    e = experiments[0]
    cost, samples = budget(e), int(arm.models["eval.samples"].iloc[0])
    models = Models(experiments, parameters)
    found = routing(models, samples)
    active = active_neurons(models, min(samples, ACTIVE_ON)).numpy()
    neurons = run.neurons[run.neurons["model"].isin(numbers)].groupby("model")["monosemanticity"]
    b = e.bottleneck
    rows = pd.DataFrame({name: arm.models[column].to_numpy(float) for name, column in COLUMNS.items()})
    per_1000 = 1000 / cost.parameters
    return rows.assign(
        regime=condition(beside, None if beside == first else first),
        layer=", ".join([layer_name(e)] + [condition(apart)] * bool(apart)),
        dense=_dense(arm),
        experts=max(b.experts, 1),
        hidden=b.hidden,
        parameters=cost.parameters,
        multiply_adds=cost.multiply_adds,
        seed=arm.models["seed"].to_numpy(),
        monosemanticity=neurons.mean().reindex(numbers).to_numpy(),
        neurons_per_1000=neurons.sum().reindex(numbers).to_numpy() * per_1000,
        features_per_1000=rows["in_neurons"] * per_1000,
        active=active,
        multiply_adds_done=cost.multiply_adds - cost.read_out + e.n_targets * active,
        in_neurons_given_expert=(found.given_its_expert > RECOVERED).sum(1).double().numpy(),
        **(_of_experts(models, found) if b.experts > 1 else dict.fromkeys(OF_EXPERTS, np.nan)),
    )


def _of_experts(models: Models, found: Routing) -> dict[str, np.ndarray]:
    """What is asked of routed layers alone, `OF_EXPERTS` by name: [model]."""
    every = models.changed(replace(models.parameters, W_router=None), lambda b: replace(b, experts=0))
    sizes = every.response_sizes()
    columns = (monosemanticity(sizes).nanmean(1), found.balance, found.home.nanmean(1))
    return {name: column.double().numpy() for name, column in zip(OF_EXPERTS, columns, strict=True)}


def layer_name(e: Experiment) -> str:
    """What a hidden layer is called: ``solu + LN``, ``relu, 4 experts``, ``bilinear``."""
    b = e.bottleneck
    bilinear = b.gated and type(b.activation) is Linear
    words = ["bilinear" if bilinear else hidden_layer(b.activation.name, b.layer_norm is not None)]
    words += ["gated"] if b.gated and not bilinear else []
    words += [f"{b.blocks} blocks"] if b.blocks > 1 else []
    words += [f"top {b.top_k}"] if b.top_k else []
    words += [f"{b.experts} experts"] if b.experts > 1 else []
    return ", ".join(words)
