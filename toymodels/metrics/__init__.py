"""Metrics: trained models measured against the truth.

One idea a file; `measure` asks all of them of a batch of models and returns three sets of columns, by model, by feature
and by neuron. What is undefined is NaN here (null in a table), and -1 in whole-number columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.metrics.alignment import (
    mean_active_values,
    participation_ratio,
    response_alignment,
    responses,
    weight_alignment,
)
from toymodels.metrics.geometry import coherence, dimensionality, interference, norms, welch_gap
from toymodels.metrics.linearity import unexplained_by_affine
from toymodels.metrics.loss import loss, loss_fraction
from toymodels.metrics.moments import CHUNK, TAPS, Moments, collect
from toymodels.metrics.monosemanticity import dead_neurons, main_feature, monosemanticity
from toymodels.metrics.probe import hiddenness, ridge_r2
from toymodels.metrics.recovery import ENOUGH, RECOVERED, best_neuron_r2, dead_features, r2
from toymodels.metrics.rotation_null import DRAWS_AT_ONCE, rotation_nulls
from toymodels.metrics.tiers import Tier, tiers
from toymodels.training.experiment import Experiment

WORKING_SET = 2**22


@dataclass(frozen=True)
class Measures:
    """Columns by name: ``models`` [model], ``features`` [model, feature], ``neurons`` [model, hidden]."""

    models: dict[str, Tensor]
    features: dict[str, Tensor]
    neurons: dict[str, Tensor]


def evaluate(experiments: Sequence[Experiment], parameters: Parameters, samples: int = 50_000) -> list[Moments]:
    """Run these models (one structure) on fresh samples of each one's own stream: their moments, slice by slice."""
    return [collect(experiments[part], parameters[part], samples) for part in _slices(experiments)]


def evaluated_loss(experiments: Sequence[Experiment], moments: Sequence[Moments]) -> Tensor:
    """The loss of models that `evaluate` ran: float64 [model]."""
    parts = zip(_slices(experiments), moments, strict=True)
    return torch.cat([loss(experiments[part], of_part) for part, of_part in parts])


def measure(
    experiments: Sequence[Experiment],
    parameters: Parameters,
    samples: int = 50_000,
    moments: Sequence[Moments] | None = None,
) -> Measures:
    """Every measure of these models (one structure), from ``moments`` or by `evaluate` on ``samples`` fresh samples."""
    parameters = parameters.to("cpu", parameters.W_in.dtype)
    if moments is None:
        moments = evaluate(experiments, parameters, samples)
    slices = zip(_slices(experiments), moments, strict=True)
    parts = [_measure(experiments[part], parameters[part], of_part) for part, of_part in slices]
    return Measures(*(_join([getattr(part, level) for part in parts]) for level in ("models", "features", "neurons")))


def _slices(experiments: Sequence[Experiment]) -> list[slice]:
    """The models in slices that keep the working set bounded, whatever their number."""
    n, m = experiments[0].features.n, experiments[0].bottleneck.hidden
    at_once = max(1, WORKING_SET // (max(n, m) * max(CHUNK, DRAWS_AT_ONCE * m)))
    return [slice(start, start + at_once) for start in range(0, len(experiments), at_once)]


def _join(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _measure(experiments: Sequence[Experiment], parameters: Parameters, moments: Moments) -> Measures:
    activation, W = experiments[0].bottleneck.activation, parameters.W_in
    values = mean_active_values(experiments, W)
    delta = responses(activation, W, parameters.b_in, values)
    features = _feature_columns(experiments, moments, W, delta)
    nulls = rotation_nulls(activation, W, parameters.b_in, values)
    for name, null in nulls.items():
        features[f"{name}_percentile"] = null.percentile(features[name])
    features["tier"] = tiers(features["r2"], features["response_alignment"], nulls["response_alignment"])
    neurons = {
        "monosemanticity": monosemanticity(delta),
        "main_feature": main_feature(delta),
        "dead": dead_neurons(delta),
    }
    return Measures(_model_columns(experiments, moments, W, features, neurons), features, neurons)


def _feature_columns(
    experiments: Sequence[Experiment], moments: Moments, W: Tensor, delta: Tensor
) -> dict[str, Tensor]:
    best = {tap: best_neuron_r2(moments, tap) for tap in TAPS}
    ridge = {tap: ridge_r2(moments, tap) for tap in TAPS}
    return {
        "density": torch.from_numpy(np.stack([e.features.probabilities() for e in experiments])),
        "importance": torch.from_numpy(np.stack([e.importance() for e in experiments])),
        "norm": norms(W),
        "interference": interference(W),
        "dimensionality": dimensionality(W),
        "weight_alignment": weight_alignment(W),
        "response_alignment": response_alignment(delta),
        "participation_ratio": participation_ratio(delta),
        "active_examples": moments.active,
        "undersampled": moments.active < ENOUGH,
        "r2": r2(moments),
        **{f"best_neuron_r2_{tap}": best[tap] for tap in TAPS},
        **{f"ridge_r2_{tap}": ridge[tap] for tap in TAPS},
        "hiddenness": hiddenness(ridge["mid"], best["mid"]),
        "dead": dead_features(moments),
    }


def _model_columns(
    experiments: Sequence[Experiment],
    moments: Moments,
    W: Tensor,
    features: dict[str, Tensor],
    neurons: dict[str, Tensor],
) -> dict[str, Tensor]:
    tier = features["tier"]
    return {
        "loss": loss(experiments, moments),
        "loss_fraction": loss_fraction(experiments, moments),
        "features_recovered": (features["r2"] > RECOVERED).sum(1),
        **{f"best_neuron_recovered_{tap}": (features[f"best_neuron_r2_{tap}"] > RECOVERED).sum(1) for tap in TAPS},
        **{f"ridge_recovered_{tap}": (features[f"ridge_r2_{tap}"] > RECOVERED).sum(1) for tap in TAPS},
        "features_neuron": (tier == Tier.NEURON).sum(1),
        "features_hidden": (tier == Tier.HIDDEN).sum(1),
        "features_lost": (tier == Tier.LOST).sum(1),
        "dead_features": features["dead"].sum(1),
        "dead_neurons": neurons["dead"].sum(1),
        "dimensionality_sum": features["dimensionality"].sum(1),
        "coherence": coherence(W),
        "welch_gap": welch_gap(W),
        "unexplained_by_affine": unexplained_by_affine(moments),
    }
