"""The choice: which candidate each arm of a tuned sweep runs with, of what the models of its tuning came to.

That is the candidate with the smallest mean loss fraction over the tuning's seeds, a diverged model counting as
infinite; of equal ones the earlier. An arm of which every candidate diverges has what the sweep's sections say of each
tuned setting, or the setting's default where they say nothing.

With each choice goes how many other candidates came near it: among near ties it decides little. Where many arms chose
an end of an axis, what suits them best may lie beyond (`at_ends`).
"""

from __future__ import annotations

import math

import numpy as np

from toymodels.sweeps.plan.keys import Keys
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.spec.candidates import trials_of, unchosen, with_chosen
from toymodels.sweeps.spec.settings import digest
from toymodels.sweeps.spec.sweep import Sweep
from toymodels.sweeps.spec.tune import Chosen, Tuning

NEAR = 1.01
"""times the mean of the chosen candidate: what comes below is near it"""
FEWEST_VALUES = 3
"""of an axis, for its ends to be ends of something"""
MANY = 0.25
"""of the arms: a larger share at the ends of an axis is said"""


def choose(sweep: Sweep, tried: Plan, losses: np.ndarray) -> tuple[Sweep, list[str]]:
    """The sweep with settings chosen for every arm that had none, and a sentence for each where there was no choice.

    ``tried`` is the plan of its tuning, ``losses [model]`` the loss fraction of each model there, not finite where it
    diverged. Raises ``ValueError`` where a candidate was not tried.
    """
    tuning = sweep.tuning
    assert tuning is not None
    candidates, chosen, notes = tuning.candidates, [], []
    for arm in unchosen(sweep):
        keys = Keys(b"".join(digest(settings.non_default()) for settings in trials_of(sweep, arm)))
        models = tried.keys.find(keys)
        if (models < 0).any():
            raise ValueError(f"not every candidate of the arm {arm} is in the plan of its tuning")
        means = [_mean(of.tolist()) for of in losses[models].reshape(len(candidates), -1)]
        best = min(range(len(candidates)), key=means.__getitem__)
        if math.isfinite(means[best]):
            near = sum(mean <= NEAR * means[best] for mean in means) - 1
            chosen.append(Chosen(arm, candidates[best], len(candidates), means[best], near))
            continue
        chosen.append(Chosen(arm, sweep.untuned, len(candidates)))
        named, kept = _said(arm) or "the only arm", _said(sweep.untuned)
        notes.append(f"{named}: every candidate diverged in the tuning, so it runs with {kept}")
    return with_chosen(sweep, chosen), notes


def at_ends(tuning: Tuning) -> list[str]:
    """A sentence for every numeric axis of which many arms chose the smallest or the largest value."""
    made = [choice for choice in tuning.chosen if choice.loss_fraction is not None]
    said = []
    for name, values in sorted(tuning.axes.items()):
        if len(values) < FEWEST_VALUES or not all(type(value) in (int, float) for value in values):
            continue
        ends = min(values), max(values)
        count = sum(choice.settings[name] in ends for choice in made)
        if count > MANY * len(made):
            said.append(
                f"{count:,} of {len(made):,} arms chose the smallest or the largest value of '{name}' in the tuning: "
                "its best may lie beyond."
            )
    return said


def _mean(losses: list[float]) -> float:
    """The mean, rounded once; infinite where one of them is not finite."""
    return math.fsum(losses) / len(losses) if all(map(math.isfinite, losses)) else math.inf


def _said(settings: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
