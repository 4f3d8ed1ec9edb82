"""Arms of a run: models that differ in their seed alone, what tells one arm from the others, and how that is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

SEED_ALONE = ("seed",)
"""The settings in which the models of one arm may differ."""
HIDDEN_LAYER = ("model.activation", "model.layer_norm")
"""The settings that name a hidden layer."""
PARTS_OF_LAWS = ("exponent", "ratio", "values", "cap")
"""What a frequency or importance law has beside its name, which is mostly enough to tell it from others."""


@dataclass(frozen=True)
class Replicates:
    """Models that agree in all settings but those that are averaged over, usually their seed."""

    settings: dict[str, Any]
    """the settings that vary in the run, averaged ones aside, and what they are here"""
    models: pd.DataFrame
    """their rows of the table of models"""


def grouped(models: pd.DataFrame, settings: Sequence[str], *, over: Sequence[str] = SEED_ALONE) -> list[Replicates]:
    """The models by what varies of ``settings``, those that are averaged ``over`` aside, in the order of the rows."""
    if models.empty:
        return []
    names = varying(models, settings, over=over)
    if not names:
        return [Replicates({}, models)]
    spelled = models[names].map(_spelled).agg("\x1f".join, axis=1)  # a listed law is an array, which has no hash
    return [
        Replicates({name: as_python(rows[name].iloc[0]) for name in names}, rows)
        for _, rows in models.groupby(spelled, sort=False)
    ]


def varying(models: pd.DataFrame, settings: Sequence[str], *, over: Sequence[str] = SEED_ALONE) -> list[str]:
    """Those of ``settings``, the ones that are averaged ``over`` aside, in which the models differ."""
    return [name for name in settings if name not in over and _varies(models[name])]


def as_python(value: Any) -> Any:
    """A cell of a table as a Python value; None where it is null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [as_python(each) for each in value]
    return None if value is None or value != value else value


def _varies(values: pd.Series) -> bool:
    as_words = values.dtype == object  # laws are arrays, which have no hash
    return (values.map(_spelled) if as_words else values).nunique(dropna=False) > 1


def _spelled(value: Any) -> str:
    return repr(as_python(value))


# ------------------------------------------------------------------------------------------------------------- in words


def hidden_layer(activation: str, layer_norm: bool) -> str:
    """What a hidden layer is called: ``solu + LN`` with LayerNorm, ``gelu`` without."""
    return f"{activation} + LN" if layer_norm else activation


def hidden_layers(models: pd.DataFrame) -> list[str]:
    """What the hidden layer of each model is called, in the order of the rows."""
    return [hidden_layer(*layer) for layer in models[list(HIDDEN_LAYER)].itertuples(index=False)]


def title(name: str) -> str:
    """A setting's dotted name without its section: ``frequency``, not ``features.frequency.law``."""
    return name.partition(".")[2].replace(".law", "") or name


def value_text(value: Any) -> str:
    """A setting's value in at most three digits; nothing where it is null."""
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def label(settings: dict[str, Any]) -> str:
    """What tells an arm from the others, in a line: ``density 0.1, activation gelu``."""
    return ", ".join(f"{title(name)} {value_text(value)}" for name, value in settings.items() if value is not None)


def is_off(value: Any) -> bool:
    """Whether a setting's value says that something is not there."""
    return value is None or value is False


def condition(settings: Mapping[str, Any], beside: Mapping[str, Any] | None = None) -> str:
    """What settings say in a line, switches that are off and the parts of laws aside; ``beside`` others, where they
    differ from these, what they lack included: ``frequency zipf, init_scale 4, no hidden_bias``."""
    said = []
    for name, value in settings.items():
        law, _, part = name.rpartition(".")
        off, there = is_off(value), None if beside is None else beside.get(name)
        known = off if beside is None else there == value or (off and is_off(there))
        if known or (part in PARTS_OF_LAWS and f"{law}.law" in settings):
            continue
        said.append(
            f"no {title(name)}" if off else title(name) if value is True else f"{title(name)} {value_text(value)}"
        )
    return ", ".join(said)


def conditions(of: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> list[str]:
    """A `condition` for each of several settings beside the first, which alone is said in full; and all that they say
    where that would leave two alike, as of two exponents of one law.

    Of what has ``names`` of its own, such as its hidden layer, a condition is what goes with the name; then that of the
    first is nothing.
    """
    first: dict[str, Any] = {}
    for settings in of:
        for name, value in settings.items():
            first.setdefault(name, value)
    said = [condition(settings, first) for settings in of]
    if len(set(zip(names or said, said, strict=True))) < len(said):
        return [label(dict(settings)) for settings in of]
    return said if names is not None or not of else [condition(of[0]), *said[1:]]


def layers_by_regime(regimes: Sequence[Replicates]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Every hidden layer of regimes that were grouped over it: the regime's condition, the layer's name, its models."""
    names = conditions([regime.settings for regime in regimes])
    for name, regime in zip(names, regimes, strict=True):
        for (activation, layer_norm), models in regime.models.groupby(list(HIDDEN_LAYER), sort=False):
            yield name, hidden_layer(str(activation), bool(layer_norm)), models
