"""Checks: a value of the wrong kind is refused where it is given, not where it is first used.

A setting is declared once, as a field of a frozen dataclass that holds its check and one line on what it is:

    steps: int = field(default=10_000, metadata=setting(Whole(1, 10**9), "how many steps a model is trained"))

The dataclass holds what it is given against these (`settle`), and sweep files are read by the same ones. A wrong kind
is a ``TypeError``, a wrong value a ``ValueError``; both are one sentence that names the setting, what was expected and
what was given.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from toymodels.random import MAX_SEED


def expect(kind: type, example: str, **values: object) -> None:
    """Raise ``TypeError`` unless every value is a ``kind``, naming the argument and an ``example`` of a right one."""
    for name, value in values.items():
        Part(kind, example)(name, value)


def expect_frozen(**parts: object) -> None:
    """Raise ``TypeError`` for a part of an experiment that cannot be hashed: models are grouped by their parts."""
    for name, part in parts.items():
        if type(part).__hash__ is None:
            raise TypeError(f"{name}: expected a frozen dataclass, got {type(part).__name__}, which has no hash")


class Check(ABC):
    """What a setting may be."""

    @abstractmethod
    def __call__(self, name: str, value: Any) -> Any:
        """The value of the setting ``name``, as Python's own bool, int or float; NumPy's are taken for what they say.

        Raises ``TypeError`` for another kind, a bool in the place of a number included, and ``ValueError`` for a number
        out of range.
        """


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

    ``instead`` is how a sentence names what the setting may be in the place of a number (`NumberOr`).
    """

    least: float | None = None
    above: float | None = None
    below: float | None = None
    most: float | None = None
    instead: str | None = None

    def __call__(self, name: str, value: Any) -> float:
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        finite = number and _is_finite(value)
        if finite and self._within(value):
            return float(value)
        expected = f"a {'' if finite or not number else 'finite '}number {self.bounds}".rstrip()
        if self.instead:
            expected += f" or {self.instead}"
        raise (ValueError if number else TypeError)(f"{name}: expected {expected}, got {_short(value)}")

    @property
    def bounds(self) -> str:
        """The bounds as a sentence has them, such as ``>= 0 and < 1``; nothing where there are none."""
        bounds = ((">=", self.least), (">", self.above), ("<", self.below), ("<=", self.most))
        return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)

    def _within(self, value: Any) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )


@dataclass(frozen=True)
class NumberOr(Check):
    """A number, or an object that stands for one, which a sweep file writes as the object's ``name``."""

    number: Number
    instead: Any

    def __call__(self, name: str, value: Any) -> Any:
        return value if isinstance(value, type(self.instead)) else self.number(name, value)


@dataclass(frozen=True)
class OrNone(Check):
    """None, or what ``check`` allows."""

    check: Check

    def __call__(self, name: str, value: Any) -> Any:
        return None if value is None else self.check(name, value)


@dataclass(frozen=True)
class Each(Check):
    """A tuple of what ``check`` allows, from any sequence or array of it; ``expected`` says so in a sentence."""

    check: Check
    expected: str

    def __call__(self, name: str, value: Any) -> tuple[Any, ...]:
        if not self._fits(value):
            raise TypeError(f"{name}: expected {self.expected}, got {value!r:.60}")
        return tuple(self.check(name, each) for each in value)

    def _fits(self, value: Any) -> bool:
        sequence = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
        return sequence and (not isinstance(self.check, Each) or all(self.check._fits(each) for each in value))


@dataclass(frozen=True)
class Part(Check):
    """An instance of ``kind``, or of ``other``; ``example`` is how one is made, after ``tm.``"""

    kind: type
    example: str
    other: type | None = None

    def __call__(self, name: str, value: Any) -> Any:
        if isinstance(value, self.kind) or (self.other is not None and isinstance(value, self.other)):
            return value
        article = "an" if self.kind.__name__[0] in "AEIO" else "a"
        raise TypeError(f"{name}: expected {article} {self.kind.__name__} such as tm.{self.example}, got {value!r:.60}")


SEED = Whole(0, MAX_SEED)
"""Any seed of the stream."""


@dataclass(frozen=True)
class Declared:
    """What is declared of a setting beside its type and default: what it may be, and one line on what it is."""

    check: Check
    says: str


def setting(check: Check, says: str) -> Mapping[str, Declared]:
    """The metadata of a dataclass field that is a setting."""
    return {"setting": Declared(check, says)}


@cache
def declared(kind: type) -> dict[str, Declared]:
    """The settings of a dataclass: what is declared of each of its fields, by the field's name."""
    return {each.name: each.metadata["setting"] for each in dataclasses.fields(kind) if "setting" in each.metadata}


def settle(settings: object) -> None:
    """Hold the fields of a frozen dataclass against their checks, and keep what these return."""
    for name, of in declared(type(settings)).items():
        given = getattr(settings, name)
        checked = of.check(name, given)
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
