"""Checks: a value of the wrong kind is refused where it is given, not where it is first used.

What a sweep file checks of a setting, the Python API checks too, with the same ranges. A wrong kind is a ``TypeError``,
a wrong value a ``ValueError``; both are one sentence that names the setting, what was expected and what was given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from toymodels.random import MAX_SEED


def expect(kind: type, example: str, **values: object) -> None:
    """Raise ``TypeError`` unless every value is a ``kind``, naming the argument and an ``example`` of a right one."""
    article = "an" if kind.__name__[0] in "AEIO" else "a"
    for name, value in values.items():
        if not isinstance(value, kind):
            raise TypeError(f"{name}: expected {article} {kind.__name__} such as tm.{example}, got {value!r:.60}")


def expect_frozen(**parts: object) -> None:
    """Raise ``TypeError`` for a part of an experiment that cannot be hashed: models are grouped by their parts."""
    for name, part in parts.items():
        if type(part).__hash__ is None:
            raise TypeError(f"{name}: expected a frozen dataclass, got {type(part).__name__}, which has no hash")


class Check:
    """What a setting may be."""

    def __call__(self, name: str, value: Any) -> Any:
        """The value as Python's own bool, int or float; NumPy's are taken for what they say.

        Raises ``TypeError`` for another kind, a bool in the place of a number included, and ``ValueError`` for a number
        out of range.
        """
        raise TypeError(f"{type(self).__name__} defines no __call__")


@dataclass(frozen=True)
class Flag(Check):
    """True or false."""

    def __call__(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name}: expected True or False, got {_short(value)}")
        return bool(value)


@dataclass(frozen=True)
class Whole(Check):
    """A whole number from ``least`` to ``most``."""

    least: int
    most: int

    def __call__(self, name: str, value: Any) -> int:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if whole and self.least <= value <= self.most:
            return int(value)
        kind = ValueError if whole else TypeError
        raise kind(f"{name}: expected a whole number from {self.least} to {self.most}, got {_short(value)}")


@dataclass(frozen=True)
class Number(Check):
    """A finite number, within the bounds that are given: ``above`` and ``below`` are themselves outside.

    ``instead`` names what the setting may be in the place of a number; whoever allows it asks only about numbers.
    """

    least: float | None = None
    above: float | None = None
    below: float | None = None
    instead: str | None = None

    def __call__(self, name: str, value: Any) -> float:
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        finite = number and _is_finite(value)
        if finite and self._within(value):
            return float(value)
        bounds = ((">=", self.least), (">", self.above), ("<", self.below))
        said = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
        expected = f"a {'' if finite or not number else 'finite '}number {said}".rstrip()
        if self.instead:
            expected += f" or {self.instead}"
        raise (ValueError if number else TypeError)(f"{name}: expected {expected}, got {_short(value)}")

    def _within(self, value: Any) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


SEED = Whole(0, MAX_SEED)
"""Any seed of the stream."""


def settle(settings: object, checks: Mapping[str, Check]) -> None:
    """Hold attributes of a frozen dataclass against their checks, and keep what these return."""
    for name, check in checks.items():
        given = getattr(settings, name)
        checked = check(name, given)
        if checked is not given:
            object.__setattr__(settings, name, checked)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _short(value: object) -> str:
    """A value as it can stand in a sentence."""
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python refuses to print whole numbers of thousands of digits
        return f"a {type(value).__name__} too long to print"
