"""Columns: which quantities are columns of the tables, level by level, and what each one is made of.

Features have a row each where targets are of features; otherwise what a model says is by target. A quantity is computed
once, when it or what is made of it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from toymodels.engines.moment_table import TAPS
from toymodels.layer_norm import about_median
from toymodels.metrics.alignment import participation_ratio, response_alignment, weight_alignment
from toymodels.metrics.asking import Ask
from toymodels.metrics.auroc import best_neuron_auroc
from toymodels.metrics.functional_alignment import functional_null
from toymodels.metrics.gauge import gauged_dimensions, gauged_directions
from toymodels.metrics.geometry import coherence, dimensionality, interference, norms, welch_gap
from toymodels.metrics.linearity import unexplained_by_affine
from toymodels.metrics.loss import loss, loss_error, loss_fraction
from toymodels.metrics.manipulation import affine_substitution, effective_neurons
from toymodels.metrics.moments import Moments
from toymodels.metrics.monosemanticity import dead_neurons, main_feature, monosemanticity
from toymodels.metrics.population import population_loss
from toymodels.metrics.probe import hiddenness, ridge_r2
from toymodels.metrics.recovery import ENOUGH, RECOVERED, best_neuron, best_neuron_r2, dead_features, r2
from toymodels.metrics.rotation_null import WITH_NULLS, Null, rotation_nulls_of
from toymodels.metrics.tiers import Tier, aligned, in_neuron, tiers
from toymodels.metrics.ungated import r2_ungated

if TYPE_CHECKING:
    from toymodels.hosts.models import Models

Quantity = Callable[[Ask], Tensor]
ALIGNMENT, PERCENTILE = "features.best_neuron_r2_post", "features.best_neuron_r2_post_percentile"
"""Functional alignment, and its percentile in its null."""
UNDEFINED = {"tier": int(Tier.UNDEFINED), "ungated_examples": 0}
"""What stands in whole-number columns where targets are not of features; elsewhere NaN does"""


def quantities_of(models: Models, moments: Moments) -> dict[str, Quantity]:
    """Every quantity by name: ``level.column`` is a column, anything else what columns are made of."""
    nulls = lru_cache(lambda: rotation_nulls_of(models))
    return {
        "response sizes": lambda ask: models.response_sizes(),
        "aligned": lambda ask: aligned(ask(ALIGNMENT), ask(PERCENTILE)),
        "ungated": lambda ask: _ungated(models, moments, ask),
        **{f"features.{name}": q for name, q in _feature_columns(models, moments, nulls).items()},
        **{f"targets.{name}": q for name, q in _target_columns(models, moments).items()},
        "neurons.monosemanticity": lambda ask: monosemanticity(ask("response sizes")),
        "neurons.main_feature": lambda ask: main_feature(ask("response sizes")),
        "neurons.dead": lambda ask: dead_neurons(ask("response sizes")),
        **{f"models.{name}": q for name, q in _model_columns(models, moments).items()},
    }


def _feature_columns(
    models: Models,
    moments: Moments,
    nulls: Callable[[], Mapping[str, Null]],
) -> dict[str, Quantity]:
    bottleneck, parameters, experiments = models.bottleneck, models.parameters, models.experiments
    W = gauged_directions(bottleneck, parameters)
    W_about_median = gauged_directions(bottleneck, parameters, about_median)

    def percentile(name: str) -> Quantity:
        return lambda ask: nulls()[name].percentile(ask(f"features.{name}"))

    def undefined(value: float | int) -> Quantity:
        return lambda ask: torch.full(moments.active.shape, value)

    said = _said_columns("features", models, moments) | _tier_columns()
    if not models.of_features:
        said = {name: undefined(UNDEFINED.get(name, torch.nan)) for name in said}
    return {
        "density": lambda ask: torch.from_numpy(np.stack([e.features.probabilities() for e in experiments])),
        "importance": lambda ask: torch.from_numpy(np.stack([e.feature_importance() for e in experiments])),
        "norm": lambda ask: norms(W),
        "interference": lambda ask: interference(W),
        "dimensionality": lambda ask: dimensionality(W),
        "weight_alignment": lambda ask: weight_alignment(W_about_median),
        "response_alignment": lambda ask: response_alignment(ask("response sizes")),
        "participation_ratio": lambda ask: participation_ratio(ask("response sizes")),
        "active_examples": lambda ask: moments.active,
        "undersampled": lambda ask: moments.active < ENOUGH,
        **{f"{name}_percentile": percentile(name) for name in WITH_NULLS},
        **said,
    }


def _tier_columns() -> dict[str, Quantity]:
    """The tier of each feature, and what else makes it beside the best neuron at ``post``."""
    return {
        "r2_ungated": lambda ask: ask("ungated")[0],
        "ungated_examples": lambda ask: ask("ungated")[1].long(),
        "tier": lambda ask: tiers(ask("features.r2"), ask("aligned"), ask("features.r2_ungated")),
    }


def _ungated(models: Models, moments: Moments, ask: Ask) -> Tensor:
    """R^2 where no other feature of tier neuron is active, and how many active examples it is of: float64 [2, model,
    feature]."""
    gates = in_neuron(ask("features.r2"), ask("aligned"))
    (found,), (examples,) = r2_ungated(models, gates[None], moments.samples)
    return torch.stack([found, examples.double()])


def _said_columns(level: str, models: Models, moments: Moments) -> dict[str, Quantity]:
    """What the model, its neurons and a probe say of each target, where these make the rows of ``level``."""

    def of_best_neuron(tap: str) -> Quantity:
        return lambda ask: best_neuron_r2(moments, tap)

    def ridge(tap: str) -> Quantity:
        return lambda ask: ridge_r2(moments, tap)

    return {
        "r2": lambda ask: r2(moments),
        **{f"best_neuron_r2_{tap}": of_best_neuron(tap) for tap in TAPS},
        "best_neuron_r2_post_percentile": lambda ask: functional_null(models, moments.samples).percentile,
        "best_neuron_auroc": lambda ask: best_neuron_auroc(models, moments, moments.samples),
        **{f"ridge_r2_{tap}": ridge(tap) for tap in TAPS},
        "hiddenness": lambda ask: hiddenness(ask(f"{level}.ridge_r2_mid"), ask(f"{level}.best_neuron_r2_mid")),
        "dead": lambda ask: dead_features(moments),
    }


def _target_columns(models: Models, moments: Moments) -> dict[str, Quantity]:
    """None where target i is of feature i."""
    target = models.first.target
    if target.of_features:
        return {}
    about = [target.about(e.features, e.seed) for e in models.experiments]

    def known(name: str) -> Quantity:
        return lambda ask: torch.from_numpy(np.stack([each[name] for each in about]))

    return {
        **{name: known(name) for name in about[0]},
        "importance": lambda ask: models.importance,
        **_said_columns("targets", models, moments),
        "best_neuron": lambda ask: best_neuron(moments, "post"),
    }


def _model_columns(models: Models, moments: Moments) -> dict[str, Quantity]:
    bottleneck, parameters, of_features = models.bottleneck, models.parameters, models.of_features
    population = lru_cache(lambda: population_loss(models.experiments, parameters))
    W = gauged_directions(bottleneck, parameters)
    level = "features" if of_features else "targets"

    def recovered(column: str) -> Quantity:
        return lambda ask: (ask(f"{level}.{column}") > RECOVERED).sum(1)

    def in_tier(tier: Tier) -> Quantity:
        return lambda ask: (ask("features.tier") == tier).sum(1)

    of_tiers: dict[str, Quantity] = {
        "features_neuron": in_tier(Tier.NEURON),
        "features_hidden": in_tier(Tier.HIDDEN),
        "features_lost": in_tier(Tier.LOST),
    }
    if not of_features:
        undefined = ("features_recovered", "dead_features", *of_tiers)
        of_tiers = dict.fromkeys(undefined, lambda ask: torch.full((len(models),), torch.nan))
    return {
        "loss": lambda ask: loss(models, moments),
        "loss_error": lambda ask: loss_error(models, moments),
        "loss_fraction": lambda ask: loss_fraction(models, moments),
        "loss_exact": lambda ask: population().loss,
        "loss_exact_error": lambda ask: population().error,
        f"{level}_recovered": recovered("r2"),
        **{f"best_neuron_recovered_{tap}": recovered(f"best_neuron_r2_{tap}") for tap in TAPS},
        **{f"ridge_recovered_{tap}": recovered(f"ridge_r2_{tap}") for tap in TAPS},
        **of_tiers,
        f"dead_{level}": lambda ask: ask(f"{level}.dead").sum(1),
        "dead_neurons": lambda ask: ask("neurons.dead").sum(1),
        "dimensionality_sum": lambda ask: ask("features.dimensionality").sum(1),
        "coherence": lambda ask: coherence(W),
        "welch_gap": lambda ask: welch_gap(W, gauged_dimensions(bottleneck)),
        "unexplained_by_affine": lambda ask: unexplained_by_affine(moments),
        "effective_neurons": lambda ask: effective_neurons(models, moments.samples),
        "affine_substitution": lambda ask: affine_substitution(models, moments),
    }
