"""Axes: the values that a setting takes over a grid: a list, a table ``range``, ``log`` or ``linear``, or values drawn
at random (`toymodels.sweeps.spec.draws`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.draws import LAWS, LOG_UNIFORM, drawn
from toymodels.sweeps.spec.wording import short

MAX_MODELS = 10**7
TABLES = ("range", "log", "linear", *LAWS)
"""the first keys of the tables that stand for the values of an axis"""


@dataclass(frozen=True)
class Axis:
    """A setting that varies; or, without a ``name``, settings that vary together: a table of them a value."""

    values: Sequence[Any]
    name: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """The settings that vary along this axis."""
        return frozenset(name for case in self.values for name in case) if self.name is None else frozenset({self.name})

    def at(self, place: int) -> Mapping[str, Any]:
        """What is set at this place of the axis, by dotted name."""
        return self.values[place] if self.name is None else {self.name: self.values[place]}


def check_size(models: int, where: str) -> None:
    """Raise `SpecError` for more models than one sweep may plan."""
    if models > MAX_MODELS:
        many = f"{models:,}" if models < 10**15 else "too many"
        raise SpecError(f"{where}: {many} models, more than the {MAX_MODELS:,} that one sweep may plan")


def axis_size(given: Any) -> int:
    """How many values an axis has, before it is expanded; 1 for what `axis_values` will refuse."""
    match given:
        case list():
            return len(given)
        case {"range": [int(first), int(end)]}:
            return max(1, end - first)
        case {"log": [_, _, int(count)]} | {"linear": [_, _, int(count)]}:
            return max(1, count)
        case {"uniform": [_, _], "n": int(count)} | {"log_uniform": [_, _], "n": int(count)}:
            return max(1, count)
        case _:
            return 1


def axis_values(
    name: str, given: Any, where: str, table: str = "grid", *, seed: int = 0, whole: bool = False
) -> Sequence[Any]:
    """The values of an axis of the grid, or of another ``table``: a list, or one of `TABLES`.

    Random ones are drawn by ``seed``, whole numbers where the setting is ``whole``.
    However they were given, whole numbers in a row are a ``range``, which takes no memory; others are a tuple.
    """
    at = f"{where}: {table} '{name}'"
    check_size(axis_size(given), at)
    match given:
        case list() | tuple():
            values = given
            if not _in_a_row(values) and len({short(value, 10**6) for value in values}) < len(values):
                raise SpecError(f"{at}: a value stands twice")
        case {"range": [int(first), int(end)], **rest} if not rest and not {type(first), type(end)} & {bool}:
            values = range(first, end)
        case {"log": [first, last, count], **rest} if not rest and _spaced(first, last, count):
            if first <= 0 or last <= 0:
                raise SpecError(f"{at}: log needs both ends above 0, got {first} and {last}")
            values = _distinct([_tidy(v) for v in np.geomspace(first, last, count)], at)
        case {"linear": [first, last, count], **rest} if not rest and _spaced(first, last, count):
            values = _distinct([_tidy(v) for v in np.linspace(first, last, count)], at)
        case {"uniform": [first, last], "n": count, **rest} if not rest and _spaced(first, last, count):
            values = _random("uniform", first, last, count, name, seed, at, whole)
        case {"log_uniform": [first, last], "n": count, **rest} if not rest and _spaced(first, last, count):
            values = _random("log_uniform", first, last, count, name, seed, at, whole)
        case _:
            raise SpecError(
                f"{at}: expected a list, {{ log = [first, last, count] }}, {{ linear = [first, last, count] }}, "
                f"{{ range = [first, end] }}, {{ uniform = [first, last], n = count }} or "
                f"{{ log_uniform = [first, last], n = count }}, got {short(given)}"
            )
    if not values:
        raise SpecError(f"{at}: expected at least one value, got none")
    return range(values[0], values[0] + len(values)) if _in_a_row(values) else tuple(values)


def _random(
    law: str, first: float, last: float, count: int, name: str, seed: int, at: str, whole: bool
) -> list[int | float]:
    """The values of a random axis, in the order in which they are drawn. Raises `SpecError`."""
    if not first < last:
        raise SpecError(f"{at}: {law} needs its first end below its last, got {first} and {last}")
    if law == LOG_UNIFORM and first <= 0:
        raise SpecError(f"{at}: {law} needs both ends above 0, got {first} and {last}")
    if whole and not type(first) is type(last) is int:
        raise SpecError(f"{at}: this setting is a whole number, and so must both ends be, got {first} and {last}")
    if whole and count > last - first + 1:
        raise SpecError(
            f"{at}: there are {last - first + 1:,} whole numbers from {first} to {last}, and n is {count:,}"
        )
    values = drawn(law, first, last, count, name, seed, whole=whole)
    if values is None:
        raise SpecError(f"{at}: its ends are too close for so many values")
    return [value if whole else _tidy(value) for value in values]


def _in_a_row(values: Sequence[Any]) -> TypeGuard[Sequence[int]]:
    """Whether these are whole numbers, each one more than the last."""
    numbers = len(values) > 0 and all(type(value) is int for value in values)
    return numbers and all(value == values[0] + place for place, value in enumerate(values))


def _distinct(values: list[int | float], at: str) -> list[int | float]:
    if len(set(values)) < len(values):
        raise SpecError(f"{at}: its ends are too close for so many values")
    return values


def _spaced(first: Any, last: Any, count: Any) -> bool:
    numbers = all(type(v) in (int, float) and abs(v) < 1e300 for v in (first, last))  # NaN compares false
    return numbers and type(count) is int and count >= 1


def _tidy(value: float) -> int | float:
    """A computed grid value, to 12 digits, whole numbers as such: so that ``linear = [4, 64, 16]`` can be widths."""
    value = float(f"{value:.12g}")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
