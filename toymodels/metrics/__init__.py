"""Metrics: trained models measured against the truth.

One idea a file; `measure` asks all of them of a batch of models and returns sets of columns: by model, by feature, by
neuron and, where what a model must say is not a number a feature, by target. What is undefined is NaN here (null in a
table), and -1 in whole-number columns. A measure that raises costs its own columns, and those that are made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.checks import expect
from toymodels.engines.autograd.moments import CHUNK
from toymodels.hosts.models import Models
from toymodels.metrics.asking import Ask, Unmeasured
from toymodels.metrics.columns import quantities_of
from toymodels.metrics.evaluation import Evaluation
from toymodels.metrics.gauge import gauged_moments
from toymodels.metrics.looks import measures_as_html, measures_in_a_line
from toymodels.metrics.loss import loss
from toymodels.metrics.moments import Moments, collect
from toymodels.metrics.own import Measured as Measured
from toymodels.metrics.own import OwnMetric as OwnMetric
from toymodels.metrics.own import own_quantities
from toymodels.metrics.own import register as register
from toymodels.metrics.own import registered as registered
from toymodels.metrics.own import unregister as unregister
from toymodels.metrics.rotation_null import DRAWS_AT_ONCE
from toymodels.metrics.tiers import Tier as Tier
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, check_one_structure

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

    def __repr__(self) -> str:
        return measures_in_a_line(vars(self))

    def _repr_html_(self) -> str:
        return measures_as_html(repr(self), vars(self))


@undisturbed
def evaluate(models: Models, samples: int = Evaluation.samples) -> list[Moments]:
    """Run models on fresh samples of each one's own stream: their moments, slice by slice."""
    return [collect(part, samples) for part in _slices(models)]


@undisturbed
def evaluated_loss(models: Models, moments: Sequence[Moments]) -> Tensor:
    """The loss of models that `evaluate` ran: float64 [model]."""
    return torch.cat([loss(part, of_part) for part, of_part in zip(_slices(models), moments, strict=True)])


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
    models = Models(experiments, parameters)
    if moments is None:
        moments = evaluate(models, samples)
    parts = [_measure(part, of_part) for part, of_part in zip(_slices(models), moments, strict=True)]
    joined = {level: _join([getattr(part, level) for part in parts]) for level in LEVELS}
    return Measures(**joined, failed={name: reason for part in parts for name, reason in part.failed.items()})


def _slices(models: Models) -> list[Models]:
    """The models in slices that keep the working set bounded, whatever their number."""
    sizes = models.first.sizes
    at_once = max(1, WORKING_SET // (sizes.most * max(CHUNK, DRAWS_AT_ONCE * sizes.hidden)))
    return [models[start : start + at_once] for start in range(0, len(models), at_once)]


def _join(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: torch.cat([part[name] for part in parts]) for name in names}


LEVELS = ("models", "features", "neurons", "targets")


def _measure(models: Models, moments: Moments) -> Measures:
    moments = gauged_moments(models.bottleneck, moments)
    quantities = quantities_of(models, moments) | own_quantities(models, moments)
    ask, failed = Ask(quantities), {}
    columns: dict[str, dict[str, Tensor]] = {level: {} for level in LEVELS}
    first, (k, m, _) = models.first, models.parameters.W_in.shape
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
        return found.cpu()
    got = f"one of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"{found!r:.60}"
    raise Unmeasured(f"expected a tensor of shape {shape}, got {got}")
