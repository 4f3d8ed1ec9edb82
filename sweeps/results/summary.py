"""The summary: a row an arm, mean and 95 % interval over its models.

An arm is what the grid varies, seeds aside. The interval is Student's t over the arm's models that did not diverge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.stats import t as student

from toymodels.surroundings import undisturbed
from toymodels.sweeps.plan.plan import OF_LAYER_NORM
from toymodels.sweeps.results.reading import Run

INTERVALS = {
    "loss_fraction": "loss fraction",
    "features_recovered": "R² > .5",
    "best_neuron_recovered_mid": "one neuron, mid",
    "best_neuron_recovered_post": "one neuron, post",
}
"""Shown with their intervals: the loss fraction, and how many features are recovered by the model, by their best single
neuron at mid, and at post."""
TIERS = {"features_neuron": "neuron", "features_hidden": "hidden", "features_lost": "lost"}
MEASURES = (*INTERVALS, *TIERS, "dead_features", "dead_neurons", "unexplained_by_affine")
TIERS_TITLE = " / ".join(TIERS.values())
MEASURED = ("models", *INTERVALS.values(), TIERS_TITLE)
LEGEND = (
    "loss fraction: 1 is the best constant; R² > .5: features the model recovers; one neuron: features that a single "
    "neuron there predicts with R² > .5; neuron / hidden / lost: features by tier. Mean ± 95 % over models."
)
HIDDEN_LAYER = ("model.activation", "model.layer_norm")
NOT_AN_ARM = ("seed",)


@dataclass(frozen=True)
class Interval:
    """Mean of ``n`` values and the half width of its 95 % interval (None with fewer than two)."""

    mean: float
    half_width: float | None
    n: int


@dataclass(frozen=True)
class Arm:
    """One combination of the settings that vary, and its hidden layer whether or not that does."""

    hidden_layer: str
    settings: dict[str, Any]
    models: int
    diverged: int
    measures: dict[str, Interval | None]


@undisturbed
def summarise(run: Run) -> list[Arm]:
    """The arms of a run, in plan order."""
    return [_arm(settings, rows) for settings, rows in by_arm(run.models)]


def by_arm(models: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of each arm in plan order, with the settings, seeds aside, that tell it from the others."""
    names = varying(models)
    if not names:
        return [({}, models)]
    spelled = models[names].map(repr).agg("\x1f".join, axis=1)  # a listed law is an array, which has no hash
    return [
        ({name: plain(rows[name].iloc[0]) for name in names}, rows) for _, rows in models.groupby(spelled, sort=False)
    ]


def told(settings: dict[str, Any]) -> str:
    """What tells an arm from the others, in a line: ``density 0.1, activation gelu``."""
    return ", ".join(f"{_title(name)} {_setting_text(value)}" for name, value in settings.items() if value is not None)


def varying(models: pd.DataFrame) -> list[str]:
    """The settings, seeds aside, in which the models of a run differ."""
    names = list(models.columns[1 : models.columns.get_loc("key")])
    return [name for name in names if name not in NOT_AN_ARM and models[name].astype(str).nunique(dropna=False) > 1]


def as_text(arms: list[Arm]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the summary: the hidden layer, what else varies, means ± half widths, mean tier counts."""
    names = [name for name in dict.fromkeys(n for arm in arms for n in arm.settings) if name not in HIDDEN_LAYER]
    titles = ["arm", *(_title(name) for name in names), *MEASURED]
    rows = [
        [
            arm.hidden_layer,
            *(_setting_text(arm.settings.get(name)) for name in names),
            f"{arm.models}" + (f" ({arm.diverged} diverged)" if arm.diverged else ""),
            *(_interval_text(arm.measures[name], 3 if name == "loss_fraction" else 1) for name in INTERVALS),
            " / ".join(_interval_text(arm.measures[name], 1).partition(" ")[0] for name in TIERS),
        ]
        for arm in arms
    ]
    return titles, rows


def _title(name: str) -> str:
    """A setting's dotted name without its section: ``frequency``, not ``features.frequency.law``."""
    return name.partition(".")[2].replace(".law", "") or name


def _setting_text(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _interval_text(value: Interval | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value.mean:.{digits}f}" + ("" if value.half_width is None else f" ± {value.half_width:.{digits}f}")


def interval(values: pd.Series) -> Interval | None:
    """Mean and 95 % interval of the defined values; None where there are none."""
    defined = values.dropna()
    n = len(defined)
    if n == 0:
        return None
    half = float(student.ppf(0.975, n - 1) * defined.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return Interval(float(defined.mean()), half, n)


def plain(value: Any) -> Any:
    """A cell of a table as a Python value; None where it is null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(each) for each in value]
    return None if value is None or value != value else value


def _arm(settings: dict[str, Any], rows: pd.DataFrame) -> Arm:
    if settings.get("model.layer_norm") is False:
        settings = {name: value for name, value in settings.items() if name not in OF_LAYER_NORM}
    activation, layer_norm = (rows[name].iloc[0] for name in HIDDEN_LAYER)
    return Arm(
        hidden_layer=f"{activation} + LN" if layer_norm else activation,
        settings=settings,
        models=len(rows),
        diverged=int((rows["status"] == "diverged").sum()),
        measures={name: interval(rows[name]) for name in MEASURES},
    )
