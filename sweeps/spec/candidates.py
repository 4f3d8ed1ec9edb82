"""Candidates: the sweep that tunes another one, and the arms that two sweeps share.

The tuning is itself a sweep: arms x candidates x seeds of its own, for a share of the steps. It has the arms' settings
and no others, so which of its models tries which candidate for which arm is known from the settings alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from toymodels.sweeps.spec.names import overlap
from toymodels.sweeps.spec.schema import DEFAULTS
from toymodels.sweeps.spec.settings import Settings, digest, override
from toymodels.sweeps.spec.sweep import Sweep, distinct_cases, stated
from toymodels.sweeps.spec.tune import STEPS, Chosen, spelled


def tuning_sweep(sweep: Sweep) -> Sweep:
    """The sweep that tries every candidate for every arm of a tuned one, whose cells are known to be valid."""
    tuning, arms = sweep.tuning, sweep.without("seed")
    assert tuning is not None
    grid: dict[str, Any] = {**arms.grid, **tuning.axes, "seed": tuning.seeds}
    # Shortened, arms that differ in nothing but their steps may be one.
    if STEPS in grid:
        grid[STEPS] = tuple(dict.fromkeys(map(tuning.steps_of, grid[STEPS])))
    cases = [{**case, STEPS: tuning.steps_of(case[STEPS])} if STEPS in case else case for case in arms.cases]
    base, steps = dict(sweep.base), stated(sweep.base, STEPS)
    if steps is None or type(steps) is int:  # what no cell falls back on may be anything
        base = override(base, STEPS, tuning.steps_of(DEFAULTS[STEPS] if steps is None else steps))
    trials = replace(
        arms,
        where=f"{sweep.where}: [tune]",
        question=f"Tuning: {sweep.question}" if sweep.question else "",
        base=base,
        grid=grid,
        cases=tuple(distinct_cases(cases)),
        primary={},
        tuning=None,
    )
    trials.check()
    return trials


def trials_of(sweep: Sweep, arm: Mapping[str, Any]) -> Iterator[Settings]:
    """The settings of the models of `tuning_sweep` that are tried for this arm: each candidate on every seed."""
    tuning = sweep.tuning
    assert tuning is not None
    steps = tuning.steps_of(sweep.settings_with({**arm, **sweep.untuned})[STEPS])
    for candidate in tuning.candidates:
        for seed in tuning.seeds:
            yield sweep.settings_with({**arm, **candidate, "seed": seed, STEPS: steps})


def unchosen(sweep: Sweep) -> list[dict[str, Any]]:
    """The arms of a sweep for which nothing is chosen yet; none of one that is not tuned."""
    tuning = sweep.tuning
    return [] if tuning is None else [arm for arm in sweep.arms if tuning.choice(arm) is None]


def carried_over(sweep: Sweep, made: Sweep) -> Sweep:
    """A sweep with what another one, tuned in the same way, has chosen for the arms that both have.

    Arms are the same where all their settings are, however each of the sweeps says them.
    """
    tuning, before = sweep.tuning, made.tuning
    if tuning is None or before is None or tuning.changed(before):
        return sweep
    found = {_identity(made, choice.arm): choice for choice in before.chosen}
    same = [(arm, found.get(_identity(sweep, arm))) for arm in unchosen(sweep)]
    return with_chosen(sweep, [replace(choice, arm=arm) for arm, choice in same if choice is not None])


def with_chosen(sweep: Sweep, more: Sequence[Chosen]) -> Sweep:
    """A tuned sweep with so much more chosen, its choices in the order of its arms."""
    assert sweep.tuning is not None
    by_arm = {spelled(choice.arm): choice for choice in (*sweep.tuning.chosen, *more)}
    in_order = [by_arm[spelled(arm)] for arm in sweep.arms if spelled(arm) in by_arm]
    return replace(sweep, tuning=replace(sweep.tuning, chosen=tuple(in_order)))


def _identity(sweep: Sweep, arm: Mapping[str, Any]) -> bytes:
    """What tells an arm from every other, in whatever sweep: a hash of its settings but for the seed and the tuned."""
    assert sweep.tuning is not None
    aside = ("seed", *sweep.tuning.axes)
    settings = sweep.settings_with({**arm, **sweep.untuned}).non_default()
    return digest({name: value for name, value in settings.items() if not any(overlap(name, n) for n in aside)})
