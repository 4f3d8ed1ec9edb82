"""Tuning: the ``[tune]`` section of a sweep file, by which every arm gets the settings that suit it best.

An *arm* is what a cell of the sweep sets, its seed aside. Each is trained with every *candidate*, the cross product of
the tuned axes, names sorted, the last one fastest, on seeds that the sweep itself has not got. Which candidate an arm
then runs with is a `Chosen`; ``[[tune.chosen]]`` holds them once they are made.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.axes import axis_values
from toymodels.sweeps.spec.names import check_dotted, is_whole, overlap
from toymodels.sweeps.spec.wording import did_you_mean, short

OWN = ("seeds", "steps", "chosen")
"""What the section says beside the tuned settings."""
STEPS = "train.steps"
UNTUNED = {
    "seed": "the seeds of the tuning are given as seeds",
    STEPS: "steps is the share of it that a candidate trains for",
    **dict.fromkeys(("train.curve_points", "train.snapshots"), "it says what is kept of a training, and not how"),
    "eval.samples": "it says how models are measured, and not how they learn",
}
"""Settings that cannot be tuned, and why."""
TUNABLE = ("model", "train")
"""the sections that say how something is learned; the others say what, and how it is measured"""

MOST_LETTERS = 10**6
"""of a value, by which arms are told apart"""


@dataclass(frozen=True)
class Chosen:
    """The settings that one arm of a tuned sweep runs with, and out of how many candidates they were chosen."""

    arm: Mapping[str, Any]
    """what the arm sets, by dotted name"""
    settings: Mapping[str, Any]
    """the tuned settings, by dotted name"""
    candidates: int
    loss_fraction: float | None = None
    """the mean over the tuning's seeds; None where every candidate diverged"""
    near: int | None = None
    """how many other candidates came within 1 % of that; None where none could, or where it is not known"""

    def document(self) -> dict[str, Any]:
        """The choice as a table of a sweep file has it."""
        known = {"loss_fraction": self.loss_fraction, "near": self.near}
        known = {name: value for name, value in known.items() if value is not None}
        return {"candidates": self.candidates, **known, "arm": dict(self.arm), "settings": dict(self.settings)}


@dataclass(frozen=True)
class Tuning:
    """What is tuned: the values of each setting by its dotted name, on which seeds, for which share of the steps."""

    axes: Mapping[str, Sequence[Any]]
    seeds: Sequence[int]
    share: float = 1.0
    chosen: tuple[Chosen, ...] = ()

    @cached_property
    def candidates(self) -> list[dict[str, Any]]:
        """What each candidate sets, by dotted name."""
        names = sorted(self.axes)
        return [dict(zip(names, values, strict=True)) for values in itertools.product(*(self.axes[n] for n in names))]

    @cached_property
    def _by_arm(self) -> Mapping[str, Chosen]:
        return {spelled(choice.arm): choice for choice in self.chosen}

    def choice(self, arm: Mapping[str, Any]) -> Chosen | None:
        """The choice for the arm that sets this, its seed aside; None where there is none yet."""
        return self._by_arm.get(spelled(arm))

    def definition(self) -> dict[str, Any]:
        """The section as a sweep file has it, without what was chosen."""
        axes = {name: list(values) for name, values in sorted(self.axes.items())}
        return {"seeds": list(self.seeds), "steps": self.share, **axes}

    def changed(self, other: Tuning) -> list[str]:
        """What another tuning says otherwise, seeds, steps and values, as it can stand in a sentence."""
        mine, its = self.definition(), other.definition()
        names = sorted(name for name in mine.keys() | its.keys() if mine.get(name) != its.get(name))
        return [f"{name} of [tune]" if name in OWN else f"values of '{name}' in [tune]" for name in names]

    def document(self) -> dict[str, Any]:
        """The section as a sweep file has it."""
        chosen = {"chosen": [choice.document() for choice in self.chosen]} if self.chosen else {}
        return self.definition() | chosen

    def without(self, name: str) -> Tuning | None:
        """The tuning where this setting is said elsewhere: not tuned, and nothing chosen; None if nothing is left."""
        if name == "seed":
            return self
        axes = {key: values for key, values in self.axes.items() if not overlap(key, name)}
        return replace(self, axes=axes, chosen=()) if axes else None

    def steps_of(self, steps: int) -> int:
        """How many steps a candidate trains for, of an arm that trains for so many."""
        return max(1, round(self.share * steps))

    def check(self, where: str, varying: Collection[str], primary: Collection[str], seeds: Sequence[Any]) -> None:
        """Raise `SpecError` where it does not go together with what else the sweep varies, names, and has as seeds."""
        for name in self.axes:
            others = {"[grid] or [[case]]": varying, "[primary]": primary, "[tune]": self.axes.keys() - {name}}
            for place, names in others.items():
                clash = next((other for other in sorted(names) if overlap(name, other)), None)
                if clash:
                    both = f"'{name}' is" if name == clash else f"'{name}' and '{clash}' are the same thing,"
                    raise SpecError(f"{where}: {both} tuned in [tune] and named in {place}: keep one of them")
        own = self.seeds if isinstance(self.seeds, range) else set(self.seeds)
        shared = sorted({seed for seed in seeds if type(seed) is int and seed in own})
        if shared:
            taken = {seed for seed in seeds if type(seed) is int}
            free = next(seed for seed in itertools.count(1000) if seed not in taken)
            several = f"seeds {short(shared)}" if len(shared) > 1 else f"seed {shared[0]}"
            raise SpecError(f"{where}: [tune]: the sweep has {several} too: tune on seeds of its own, such as {free}")

    def check_chosen(self, where: str, arms: Sequence[Mapping[str, Any]], untuned: Mapping[str, Any]) -> None:
        """Raise `SpecError` where something was chosen for an arm that is not one of these, or what is neither one of
        the candidates nor the ``untuned`` settings.
        """
        there = {spelled(arm) for arm in arms}
        for choice in self.chosen:
            if spelled(choice.arm) not in there:
                raise SpecError(f"{where}: [tune]: chosen: the sweep has no arm {short(dict(choice.arm))}: take it out")
            tried = all(value in self.axes[name] for name, value in choice.settings.items())
            if not tried and choice.settings != untuned:
                raise SpecError(
                    f"{where}: [tune]: chosen: settings: expected one of the candidates, got "
                    f"{short(dict(choice.settings))}: take the table out, and its arm is tuned"
                )


def spelled(settings: Mapping[str, Any], aside: str = "seed") -> str:
    """Settings by dotted name, the seed or another one ``aside``, as one text that is the same for the same ones: what
    they may be is not known here.
    """
    return repr([(name, short(settings[name], MOST_LETTERS)) for name in sorted(settings) if name != aside])


def parse_tuning(raw: Any, where: str, draws: int = 0) -> Tuning:
    """The tuning that a ``[tune]`` section means; its random axes are drawn by ``draws``. Raises `SpecError`."""
    if not isinstance(raw, Mapping):
        raise SpecError(f"{where}: tune: expected a table, got {short(raw)}")
    at, named = f"{where}: [tune]", [name for name in raw if name not in OWN]
    for name in named:
        check_dotted(name, raw[name], "tune", where, OWN)
        of_learning = name.partition(".")[0] in TUNABLE
        why_not = UNTUNED.get(name, None if of_learning else "it says what is learned, and not how")
        if why_not:
            raise SpecError(f"{at}: '{name}' cannot be tuned: {why_not}")
    if not named:
        raise SpecError(f'{at}: expected a setting to tune, such as "train.learning_rate" = [1e-3, 1e-2], got none')
    if "seeds" not in raw:
        raise SpecError(f"{at}: seeds: missing: expected seeds that the sweep has not got, such as [1000, 1001]")

    def values(name: str) -> Sequence[Any]:
        return axis_values(name, raw[name], where, "tune", seed=draws, whole=is_whole(name))

    seeds, axes = values("seeds"), {name: values(name) for name in named}
    wrong = next((seed for seed in seeds if type(seed) is not int or not 0 <= seed < 2**63), None)
    if wrong is not None:
        raise SpecError(f"{at}: seeds: expected whole numbers from 0 to 2^63 - 1, got {short(wrong)}")
    share = raw.get("steps", 1)
    if type(share) not in (int, float) or not 0 < share <= 1:
        raise SpecError(f"{at}: steps: expected a share of train.steps, above 0 and at most 1, got {short(share)}")
    return Tuning(axes, seeds, float(share), _parse_chosen(raw.get("chosen", []), named, at))


def _parse_chosen(raw: Any, tuned: Sequence[str], at: str) -> tuple[Chosen, ...]:
    """The choices in ``[[tune.chosen]]`` tables. Raises `SpecError`."""
    if not isinstance(raw, list) or not all(isinstance(each, Mapping) for each in raw):
        raise SpecError(f"{at}: chosen: expected [[tune.chosen]] tables, got {short(raw)}")
    keys = ("candidates", "loss_fraction", "near", "arm", "settings")
    found: dict[str, Chosen] = {}
    for each in raw:
        unknown = next((key for key in each if key not in keys), None)
        if unknown is not None:
            raise SpecError(f"{at}: chosen: unknown key '{unknown}'{did_you_mean(unknown, keys)}")
        arm, settings = each.get("arm"), each.get("settings")
        count, loss, near = (each.get(key) for key in ("candidates", "loss_fraction", "near"))
        for key, table in (("arm", arm), ("settings", settings)):
            if not isinstance(table, Mapping):
                raise SpecError(f"{at}: chosen: {key}: expected a table of settings by dotted name, got {short(table)}")
        if settings.keys() != set(tuned):
            raise SpecError(
                f"{at}: chosen: settings: expected {', '.join(sorted(tuned))}, got {', '.join(settings) or 'none'}"
            )
        if type(count) is not int or count < 1:
            raise SpecError(f"{at}: chosen: candidates: expected a whole number from 1, got {short(count)}")
        # Not by math.isfinite, which cannot take a whole number that no float can be.
        if loss is not None and (type(loss) not in (int, float) or not abs(loss) <= sys.float_info.max):
            raise SpecError(f"{at}: chosen: loss_fraction: expected a number, got {short(loss)}")
        if near is not None and (type(near) is not int or not 0 <= near < count):
            raise SpecError(f"{at}: chosen: near: expected a whole number from 0, below candidates, got {short(near)}")
        if spelled(arm) in found:
            raise SpecError(f"{at}: chosen: the arm {short(dict(arm))} stands twice: keep one of them")
        loss = None if loss is None else float(loss)
        found[spelled(arm)] = Chosen(dict(sorted(arm.items())), dict(sorted(settings.items())), count, loss, near)
    return tuple(found.values())
