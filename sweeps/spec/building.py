"""Building: from the plain values of a sweep file to the objects of `toymodels`. Strings end here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from toymodels import activations, features, firing, laws, values
from toymodels.bottleneck import Bottleneck
from toymodels.layer_norm import LayerNorm, Matched
from toymodels.objectives import AbsoluteValue, Identity, Power, Squared
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.settings import (
    FeaturesSection,
    Firing,
    Law,
    ModelSection,
    Settings,
    TrainSection,
    did_you_mean,
)
from toymodels.training.experiment import Experiment
from toymodels.training.optimizers import SGD, Adam, RotatedAdam
from toymodels.training.recipe import Training
from toymodels.training.schedules import Constant, Cosine, LinearDecay

VALUES = {v.name: v for v in (values.UniformValues(), values.Binary(), values.FoldedNormal(), values.Exponential())}
TARGETS = {target.name: target for target in (Identity(), AbsoluteValue())}
LOSSES = {"squared": Squared(), "l4": Power(4.0)}
OPTIMIZERS = {optimizer.name: optimizer for optimizer in (Adam(), SGD(), RotatedAdam())}
SCHEDULES = {schedule.name: schedule for schedule in (Constant(), LinearDecay(), Cosine())}


def experiment(settings: Settings, where: str) -> Experiment:
    """The experiment that these settings describe; raises `SpecError` where they contradict each other."""
    try:
        return Experiment(
            features=_features(settings.features),
            bottleneck=_bottleneck(settings.model),
            training=_training(settings.train),
            target=TARGETS[settings.task.target],
            seed=settings.seed,
            loss=LOSSES[settings.task.loss],
        )
    except ValueError as error:
        raise SpecError(f"{where}: {error}") from None


@contextmanager
def _within(section: str) -> Iterator[None]:
    """Errors raised inside name a setting of ``section``: say so."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from None


@lru_cache(maxsize=4096)
def _features(section: FeaturesSection) -> features.Features:
    assert section.density is not None
    with _within("features"):
        with _within("frequency"):
            frequency = features.Frequency(_law(section.frequency), section.frequency.cap)
        with _within("importance"):
            shuffle, shuffle_seed = section.importance.shuffle, section.importance.shuffle_seed
            importance = features.Importance(_law(section.importance), shuffle, shuffle_seed)
        return features.Features(
            n=section.n,
            density=section.density,
            frequency=frequency,
            importance=importance,
            values=VALUES[section.values],
            signed=section.signed,
            firing=_firing(section.firing),
        )


def _law(section: Law) -> laws.Law:
    match section.law:
        case "zipf":
            return laws.Zipf(section.exponent or 0.0)
        case "geometric":
            return laws.Geometric(section.ratio or 0.0)
        case "list":
            return laws.Listed(section.values or ())
        case _:
            return laws.Uniform()


def _firing(section: Firing) -> firing.Firing:
    match section.kind:
        case "one":
            return firing.One()
        case "correlated":
            return firing.Correlated(section.groups or 1)
        case "anticorrelated":
            return firing.Anticorrelated(section.groups or 1)
        case "together":
            return firing.Together(section.sets or ())
        case _:
            return firing.Independent()


@lru_cache(maxsize=4096)
def _bottleneck(section: ModelSection) -> Bottleneck:
    for name, given in (("activation", section.activation), ("output", section.output)):
        if given not in activations.ACTIVATIONS:
            hint = did_you_mean(given, activations.ACTIVATIONS)
            raise ValueError(f"model.{name}: unknown activation '{given}'{hint}")
    eps = Matched() if isinstance(section.layer_norm_eps, str) else section.layer_norm_eps
    return Bottleneck(
        hidden=section.hidden,
        activation=activations.ACTIVATIONS[section.activation],
        layer_norm=LayerNorm(eps, section.layer_norm_affine) if section.layer_norm else None,
        output=activations.ACTIVATIONS[section.output],
        output_bias=section.output_bias,
        tied=section.tied,
        hidden_bias=section.hidden_bias,
        init_scale=section.init_scale,
        hidden_bias_start=section.hidden_bias_start,
    )


@lru_cache(maxsize=4096)
def _training(section: TrainSection) -> Training:
    return Training(
        steps=section.steps,
        batch=section.batch,
        optimizer=OPTIMIZERS[section.optimizer],
        learning_rate=section.learning_rate,
        schedule=SCHEDULES[section.schedule],
        weight_decay=section.weight_decay,
        curve_points=section.curve_points,
        snapshots=section.snapshots,
        hidden_bias_decay=section.hidden_bias_decay,
    )
