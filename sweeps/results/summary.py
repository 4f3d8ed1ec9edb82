"""The summary: a row an arm, mean and 95 % interval over its models, and a sentence where activations do nothing.

An arm is what the grid varies, seeds aside. The interval is Student's t over the arm's models that did not diverge.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from toymodels.activations import Linear
from toymodels.hypotheses.statistics.intervals import StudentInterval, student_interval
from toymodels.metrics.manipulation import ENGAGED
from toymodels.surroundings import undisturbed
from toymodels.sweeps.plan.plan import OF_LAYER_NORM
from toymodels.sweeps.results.arms import HIDDEN_LAYER, Replicates, hidden_layer, title, value_text
from toymodels.sweeps.results.reading import Run

INTERVALS = {
    "loss_fraction": "loss fraction",
    "features_recovered": "R² > .5",
    "best_neuron_recovered_mid": "one neuron, mid",
    "best_neuron_recovered_post": "one neuron, post",
    "affine_substitution": "affine costs",
}
"""Shown with their intervals: the loss fraction, how many features are recovered by the model, by their best single
neuron at mid, and at post, and by how much the loss fraction grows when the activation becomes its best affine
map."""
FRACTIONS = ("loss_fraction", "affine_substitution")
"""shown with three digits, counts with one"""
TIER_COUNTS = {"features_neuron": "neuron", "features_hidden": "hidden", "features_lost": "lost"}
TARGETS_RECOVERED = "targets_recovered"
"""shown in the place of the features that are recovered, where targets are not features"""
SUMMARISED = (
    *INTERVALS,
    TARGETS_RECOVERED,
    *TIER_COUNTS,
    "dead_features",
    "dead_neurons",
    "unexplained_by_affine",
    "effective_neurons",
)
TIERS_TITLE = " / ".join(TIER_COUNTS.values())
MEASURED = ("models", *INTERVALS.values(), TIERS_TITLE)
LEGEND = (
    "loss fraction: 1 is the best constant; R² > .5: features the model recovers (pairs, where these are targets); one "
    "neuron: those that a single neuron there predicts with R² > .5, whether or not the model does; affine costs: by "
    "how much the loss fraction grows when the activation becomes its best affine map. Mean ± 95 % over models."
)
TIERS_LEGEND = (
    " neuron: recovered, and one neuron at post stands for it, beyond what rotations of the basis give; hidden: no "
    "neuron does, and it is recovered where no feature of tier neuron is active; lost: the others."
)


@dataclass(frozen=True)
class ArmSummary:
    """What came of one combination of the settings that vary, and its hidden layer whether or not that does."""

    hidden_layer: str
    linear: bool
    """whether its activation is"""
    settings: dict[str, Any]
    models: int
    diverged: int
    measures: dict[str, StudentInterval | None]
    """the mean over the models that did not diverge and its interval, by column; None where nothing is defined"""

    def shown(self, name: str) -> StudentInterval | None:
        """What stands in the column of this measure."""
        found = self.measures[name]
        return self.measures[TARGETS_RECOVERED] if found is None and name == "features_recovered" else found

    @property
    def has_tiers(self) -> bool:
        """Whether its features have tiers, as targets that are not features have not."""
        return any(self.measures[name] is not None for name in TIER_COUNTS)

    @property
    def does_nothing(self) -> bool:
        """Whether its activation is not linear and might as well be: the mean of ``affine_substitution`` and the upper
        end of its interval are at most `ENGAGED`. A single model has no interval, and nothing is said of it, nor of
        models that learned nothing: whose loss fraction is 1 or more.
        """
        costs, loss = self.measures["affine_substitution"], self.measures["loss_fraction"]
        learned = loss is not None and loss.mean < 1
        return not self.linear and learned and costs is not None and costs.high <= ENGAGED


@undisturbed
def summarise(run: Run) -> list[ArmSummary]:
    """What came of every arm of a run, in plan order."""
    return [_summary(arm) for arm in run.arms()]


@undisturbed
def summarise_some(run: Run, most: int) -> tuple[list[ArmSummary], int]:
    """What came of the first arms of a run, ``most`` of them, and how many others there are."""
    arms = run.arms()
    return [_summary(arm) for arm in arms[:most]], max(0, len(arms) - most)


def notes(arms: list[ArmSummary]) -> list[str]:
    """What should be known before arms are compared, a sentence each: in which hidden layers the activation does
    nothing, and in how many of the arms that have one, where it is not all.
    """
    of = Counter(arm.hidden_layer for arm in arms)
    idle_of = Counter(arm.hidden_layer for arm in arms if arm.does_nothing)
    if not idle_of:
        return []
    named = [name if count == of[name] else f"{name} ({count} of {of[name]} arms)" for name, count in idle_of.items()]
    limit = f"{ENGAGED:g}".removeprefix("0")
    return [
        f"In {', '.join(named)} the activation does nothing: its best affine map in its place costs at most {limit} of "
        "the loss fraction; no arm of these can show what an activation does to neurons."
    ]


def as_text(arms: list[ArmSummary]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the summary: the hidden layer, what else varies, means ± half widths, mean tier counts."""
    names = [name for name in dict.fromkeys(n for arm in arms for n in arm.settings) if name not in HIDDEN_LAYER]
    tiers = any(arm.has_tiers for arm in arms)
    titles = ["arm", *(title(name) for name in names), *MEASURED][: None if tiers else -1]
    rows = [
        [
            arm.hidden_layer,
            *(value_text(arm.settings.get(name)) for name in names),
            f"{arm.models}" + (f" ({arm.diverged} diverged)" if arm.diverged else ""),
            *(_interval_text(arm.shown(name), 3 if name in FRACTIONS else 1) for name in INTERVALS),
            " / ".join(_interval_text(arm.measures[name], 1).partition(" ")[0] for name in TIER_COUNTS),
        ][: len(titles)]
        for arm in arms
    ]
    return titles, rows


def legend(arms: list[ArmSummary]) -> str:
    """What the columns of the summary mean."""
    return LEGEND + (TIERS_LEGEND if any(arm.has_tiers for arm in arms) else "")


def _interval_text(value: StudentInterval | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value.mean:.{digits}f}" + ("" if value.half_width is None else f" ± {value.half_width:.{digits}f}")


def _summary(arm: Replicates) -> ArmSummary:
    settings, rows = arm.settings, arm.models
    if settings.get("model.layer_norm") is False:
        settings = {name: value for name, value in settings.items() if name not in OF_LAYER_NORM}
    activation, layer_norm = (rows[name].iloc[0] for name in HIDDEN_LAYER)
    return ArmSummary(
        hidden_layer=hidden_layer(activation, layer_norm),
        linear=bool(activation == Linear.name),
        settings=settings,
        models=len(rows),
        diverged=int((rows["status"] == "diverged").sum()),
        # A folder that an older version measured lacks what was not measured then.
        measures={name: student_interval(rows[name].to_numpy(float)) if name in rows else None for name in SUMMARISED},
    )
