"""Axes: the values that a setting takes over a grid: a list, or a table ``range``, ``log`` or ``linear``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.wording import short

MAX_MODELS = 10**7


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
        case _:
            return 1


def axis_values(name: str, given: Any, where: str, table: str = "grid") -> Sequence[Any]:
    """The values of an axis of the grid, or of another ``table``: a list, or a table ``log``, ``linear`` or ``range``.

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
        case _:
            raise SpecError(
                f"{at}: expected a list, {{ log = [first, last, count] }}, {{ linear = [first, last, count] }} or "
                f"{{ range = [first, end] }}, got {short(given)}"
            )
    if not values:
        raise SpecError(f"{at}: expected at least one value, got none")
    return range(values[0], values[0] + len(values)) if _in_a_row(values) else tuple(values)


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
