"""Metrics: trained models measured against the truth.

One idea a file; `measure` asks all of them of a batch of models and returns sets of columns: by model, by feature, by
neuron and, where what a model must say is not a number a feature, by target. What is undefined is NaN here (null in a
table), and -1 in whole-number columns. A measure that raises costs its own columns, and those that are made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.checks import expect
from toymodels.engines.autograd.moments import CHUNK
from toymodels.engines.moment_table import TAPS
from toymodels.layer_norm import about_median
from toymodels.metrics.alignment import participation_ratio, response_alignment, weight_alignment
from toymodels.metrics.asking import Ask, Unmeasured
from toymodels.metrics.evaluation import Evaluation
from toymodels.metrics.gauge import gauged_dimensions, gauged_directions, gauged_moments
from toymodels.metrics.geometry import coherence, dimensionality, interference, norms, welch_gap
from toymodels.metrics.linearity import unexplained_by_affine
from toymodels.metrics.loss import loss, loss_error, loss_fraction
from toymodels.metrics.manipulation import affine_substitution, effective_neurons
from toymodels.metrics.moments import Moments, collect
from toymodels.metrics.monosemanticity import dead_neurons, main_feature, monosemanticity
from toymodels.metrics.population import population_loss
from toymodels.metrics.probe import hiddenness, ridge_r2
from toymodels.metrics.recovery import ENOUGH, RECOVERED, best_neuron, best_neuron_r2, dead_features, r2
from toymodels.metrics.responses import response_sizes_of
from toymodels.metrics.rotation_null import DRAWS_AT_ONCE, WITH_NULLS, Null, rotation_nulls_of
from toymodels.metrics.tiers import Tier, tiers
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, check_one_structure, importances

WORKING_SET = 2**22


@dataclass(frozen=True)
class Measures:
    """Columns by name: ``models`` [model], ``features`` [model, feature], ``neurons`` [model, hidden]; and ``targets``
    [model, target], empty where target i is of feature i."""

    models: dict[str, Tensor]
    features: dict[str, Tensor]
    neurons: dict[str, Tensor]
    targets: dict[str, Tensor] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """``level.column`` of what could not be measured, and why; those columns are not there"""


@undisturbed
def evaluate(
    experiments: Sequence[Experiment], parameters: Parameters, samples: int = Evaluation.samples
) -> list[Moments]:
    """Run these models (one structure) on fresh samples of each one's own stream: their moments, slice by slice."""
    return [collect(experiments[part], parameters[part], samples) for part in _slices(experiments)]


@undisturbed
def evaluated_loss(experiments: Sequence[Experiment], moments: Sequence[Moments]) -> Tensor:
    """The loss of models that `evaluate` ran: float64 [model]."""
    parts = zip(_slices(experiments), moments, strict=True)
    return torch.cat([loss(experiments[part], of_part) for part, of_part in parts])


@undisturbed
def measure(
    experiments: Sequence[Experiment],
    parameters: Parameters,
    samples: int = Evaluation.samples,
    moments: Sequence[Moments] | None = None,
) -> Measures:
    """Every measure of these models (one structure), from ``moments`` or by `evaluate` on ``samples`` fresh samples."""
    check_one_structure(experiments)
    expect(Parameters, "Parameters(W_in=...)", parameters=parameters)
    if len(parameters.W_in) != len(experiments):
        raise ValueError(f"parameters: expected those of {len(experiments)} models, got {len(parameters.W_in)}")
    samples = Evaluation(samples).samples
    parameters = parameters.to("cpu", parameters.W_in.dtype)
    if moments is None:
        moments = evaluate(experiments, parameters, samples)
    slices = zip(_slices(experiments), moments, strict=True)
    parts = [_measure(experiments[part], parameters[part], of_part) for part, of_part in slices]
    joined = {level: _join([getattr(part, level) for part in parts]) for level in LEVELS}
    return Measures(**joined, failed={name: reason for part in parts for name, reason in part.failed.items()})


def _slices(experiments: Sequence[Experiment]) -> list[slice]:
    """The models in slices that keep the working set bounded, whatever their number."""
    sizes = experiments[0].sizes
    at_once = max(1, WORKING_SET // (sizes.most * max(CHUNK, DRAWS_AT_ONCE * sizes.hidden)))
    return [slice(start, start + at_once) for start in range(0, len(experiments), at_once)]


def _join(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: torch.cat([part[name] for part in parts]) for name in names}


Quantity = Callable[[Ask], Tensor]
LEVELS = ("models", "features", "neurons", "targets")


def _measure(experiments: Sequence[Experiment], parameters: Parameters, moments: Moments) -> Measures:
    moments = gauged_moments(experiments[0].bottleneck, moments)
    quantities = _quantities(experiments, parameters, moments)
    ask, failed = Ask(quantities), {}
    columns: dict[str, dict[str, Tensor]] = {level: {} for level in LEVELS}
    first, (k, m, _) = experiments[0], parameters.W_in.shape
    sizes = {"models": (k,), "features": (k, first.features.n), "neurons": (k, m), "targets": (k, first.n_targets)}
    for dotted in quantities:
        level, _, name = dotted.partition(".")
        if level in columns:
            try:
                columns[level][name] = _column(ask(dotted), sizes[level])
            except Unmeasured as failure:
                failed[dotted] = str(failure)
    return Measures(**columns, failed=failed)


def _column(found: object, shape: tuple[int, ...]) -> Tensor:
    """What a measure gave, if it can be a column; raises `Unmeasured` if not."""
    if isinstance(found, Tensor) and found.shape == shape:
        return found
    got = f"one of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"{found!r:.60}"
    raise Unmeasured(f"expected a tensor of shape {shape}, got {got}")


def _quantities(experiments: Sequence[Experiment], parameters: Parameters, moments: Moments) -> dict[str, Quantity]:
    """Every quantity by name: ``level.column`` is a column, anything else what columns are made of."""
    nulls = lru_cache(lambda: rotation_nulls_of(experiments, parameters))
    return {
        "response sizes": lambda ask: response_sizes_of(experiments, parameters),
        **{f"features.{name}": q for name, q in _feature_columns(experiments, parameters, moments, nulls).items()},
        **{f"targets.{name}": q for name, q in _target_columns(experiments, moments).items()},
        "neurons.monosemanticity": lambda ask: monosemanticity(ask("response sizes")),
        "neurons.main_feature": lambda ask: main_feature(ask("response sizes")),
        "neurons.dead": lambda ask: dead_neurons(ask("response sizes")),
        **{f"models.{name}": q for name, q in _model_columns(experiments, parameters, moments).items()},
    }


def _feature_columns(
    experiments: Sequence[Experiment],
    parameters: Parameters,
    moments: Moments,
    nulls: Callable[[], Mapping[str, Null]],
) -> dict[str, Quantity]:
    bottleneck, of_features = experiments[0].bottleneck, experiments[0].target.of_features
    W = gauged_directions(bottleneck, parameters)
    W_about_median = gauged_directions(bottleneck, parameters, about_median)

    def percentile(name: str) -> Quantity:
        return lambda ask: nulls()[name].percentile(ask(f"features.{name}"))

    def undefined(value: float | int) -> Quantity:
        return lambda ask: torch.full(moments.active.shape, value)

    said = _said_columns("features", moments) | {
        "tier": lambda ask: tiers(ask("features.r2"), ask("features.response_alignment"), nulls()["response_alignment"])
    }
    if not of_features:
        said = {name: undefined(Tier.UNDEFINED if name == "tier" else torch.nan) for name in said}
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
        **{name: q for name, q in said.items() if name != "tier"},
        **{f"{name}_percentile": percentile(name) for name in WITH_NULLS},
        "tier": said["tier"],
    }


def _said_columns(level: str, moments: Moments) -> dict[str, Quantity]:
    """What the model, its neurons and a probe say of each target, where these make the rows of ``level``."""

    def of_best_neuron(tap: str) -> Quantity:
        return lambda ask: best_neuron_r2(moments, tap)

    def ridge(tap: str) -> Quantity:
        return lambda ask: ridge_r2(moments, tap)

    return {
        "r2": lambda ask: r2(moments),
        **{f"best_neuron_r2_{tap}": of_best_neuron(tap) for tap in TAPS},
        **{f"ridge_r2_{tap}": ridge(tap) for tap in TAPS},
        "hiddenness": lambda ask: hiddenness(ask(f"{level}.ridge_r2_mid"), ask(f"{level}.best_neuron_r2_mid")),
        "dead": lambda ask: dead_features(moments),
    }


def _target_columns(experiments: Sequence[Experiment], moments: Moments) -> dict[str, Quantity]:
    """None where target i is of feature i."""
    target = experiments[0].target
    if target.of_features:
        return {}
    about = [target.about(e.features, e.seed) for e in experiments]

    def known(name: str) -> Quantity:
        return lambda ask: torch.from_numpy(np.stack([each[name] for each in about]))

    return {
        **{name: known(name) for name in about[0]},
        "importance": lambda ask: torch.from_numpy(importances(experiments)),
        **_said_columns("targets", moments),
        "best_neuron": lambda ask: best_neuron(moments, "post"),
    }


def _model_columns(experiments: Sequence[Experiment], parameters: Parameters, moments: Moments) -> dict[str, Quantity]:
    bottleneck, population = experiments[0].bottleneck, lru_cache(lambda: population_loss(experiments, parameters))
    W = gauged_directions(bottleneck, parameters)
    of_features = experiments[0].target.of_features
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
        of_tiers = dict.fromkeys(undefined, lambda ask: torch.full((len(experiments),), torch.nan))
    return {
        "loss": lambda ask: loss(experiments, moments),
        "loss_error": lambda ask: loss_error(experiments, moments),
        "loss_fraction": lambda ask: loss_fraction(experiments, moments),
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
        "effective_neurons": lambda ask: effective_neurons(experiments, parameters, moments.samples),
        "affine_substitution": lambda ask: affine_substitution(experiments, parameters, moments),
    }
