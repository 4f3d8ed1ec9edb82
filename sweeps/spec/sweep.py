"""A sweep file: a question, base settings, a grid over them, and cases.

The grid is the cross product of its axes, keys sorted, the last one fastest; ``[[case]]`` tables, settings that vary
together, are one more axis, the slowest. A cell is a place in that product. ``[primary]`` names, before anything is
run, the settings of the one regime whose verdict is not exploratory. ``[tune]`` has settings chosen for each arm before
the cells are run (`toymodels.sweeps.spec.tune`).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec import spelling
from toymodels.sweeps.spec.axes import Axis, axis_size, axis_values, check_size
from toymodels.sweeps.spec.code import NO_CODE, Code
from toymodels.sweeps.spec.names import check_dotted, check_name, is_whole, overlap
from toymodels.sweeps.spec.plain import OWN_WORD
from toymodels.sweeps.spec.schema import DEFAULTS
from toymodels.sweeps.spec.settings import Settings, override, validate
from toymodels.sweeps.spec.shipped import find, shipped
from toymodels.sweeps.spec.tune import Tuning, parse_tuning, spelled
from toymodels.sweeps.spec.wording import short

__all__ = ["Sweep", "find", "parse", "read", "shipped"]
RESERVED = ("question", "metrics", "primary", "grid", "case", "tune")


@dataclass(frozen=True)
class Sweep:
    """A sweep as written, with ``--set`` and ``--grid`` applied; cells are validated one by one by `settings`."""

    stem: str
    where: str
    question: str
    base: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]]
    cases: tuple[Mapping[str, Any], ...]
    primary: Mapping[str, Any] = field(default_factory=dict)
    tuning: Tuning | None = None
    draws: int = 0
    """what random axes are drawn by: the seed at the top of the file, whatever ``--set`` makes of it"""
    metrics: tuple[str, ...] = ()
    """columns of one's own, each ``module:name``"""
    code: Code = field(default=NO_CODE, compare=False, repr=False)
    """where members and metrics of one's own come from"""

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The axes, slowest first."""
        grid = [Axis(self.grid[name], name) for name in sorted(self.grid)]
        return (Axis(self.cases), *grid) if self.cases else tuple(grid)

    def __len__(self) -> int:
        return math.prod(len(axis.values) for axis in self.axes)

    def overrides(self, cell: int) -> dict[str, Any]:
        """What this cell sets, by dotted name; in a tuned sweep also what was chosen for its arm."""
        overrides: dict[str, Any] = {}
        for axis in reversed(self.axes):
            cell, place = divmod(cell, len(axis.values))
            overrides.update(axis.at(place))
        if self.tuning is not None:
            choice = self.tuning.choice(overrides)
            overrides.update(self.untuned if choice is None else choice.settings)
        return overrides

    @cached_property
    def untuned(self) -> dict[str, Any]:
        """The tuned settings of an arm for which nothing was chosen, each by itself: what the base settings say of it,
        else its default, or the first of its values where it has no default that a file could say.
        """
        axes = {} if self.tuning is None else self.tuning.axes
        found: dict[str, Any] = {}
        for name in sorted(axes):
            otherwise = (stated(self.base, name), DEFAULTS.get(name), axes[name][0])
            found[name] = next(value for value in otherwise if value is not None)
        return found

    def settings(self, cell: int) -> Settings:
        """The resolved settings of a cell; raises `SpecError`."""
        return self.settings_with(self.overrides(cell))

    def settings_with(self, overrides: Mapping[str, Any]) -> Settings:
        """The resolved settings where this is set, by dotted name; raises `SpecError`."""
        raw = dict(self.base)
        for name in sorted(overrides, key=lambda name: name.count(".")):
            raw = override(raw, name, overrides[name])
        return validate(raw, self.where, self.code)

    def measure_with_own(self) -> None:
        """Have the columns of one's own measured that it names; raises `SpecError`."""
        try:
            self.code.measure_with(self.metrics)
        except SpecError as error:
            raise type(error)(f"{self.where}: {error}") from None

    def is_primary(self, cell: int) -> bool:
        """Whether ``[primary]`` names settings that this cell has."""
        if not self.primary:
            return False
        raw = self.settings(cell).document()
        for name, value in self.primary.items():
            raw = override(raw, name, value)
        return validate(raw, f"{self.where}: [primary]") == self.settings(cell)

    def with_setting(self, name: str, value: Any) -> Sweep:
        """The setting fixed, and taken out of the grid and the cases."""
        check_name(name, "--set")
        where = f"{self.where} with --set {name}"
        fixed = replace(self.without(name), where=where, base=override(dict(self.base), name, value))
        fixed.check()
        return fixed

    def with_axis(self, name: str, values: Sequence[Any] | Mapping[str, Any]) -> Sweep:
        """The setting as an axis of the grid, in the place of what varied it before."""
        check_name(name, "--grid")
        rest = self.without(name)
        expanded = axis_values(name, values, "--grid", seed=self.draws, whole=is_whole(name))
        swept = replace(rest, grid={**rest.grid, name: expanded})
        swept.check()
        return swept

    def without(self, name: str) -> Sweep:
        """The sweep with this setting taken out of its grid, its cases and its tuning."""
        grid = {key: values for key, values in self.grid.items() if not overlap(key, name)}
        cases = [{k: v for k, v in case.items() if not overlap(k, name)} for case in self.cases]
        distinct = distinct_cases(cases)
        tuning = self.tuning and self.tuning.without(name)
        return replace(self, grid=grid, cases=tuple(distinct) if any(distinct) else (), tuning=tuning)

    @cached_property
    def arms(self) -> list[dict[str, Any]]:
        """What each arm of a tuned sweep sets, by dotted name, in plan order: neither its seed nor what is tuned."""
        alone = replace(self.without("seed"), tuning=None)
        return [dict(sorted(alone.overrides(cell).items())) for cell in range(len(alone))]

    def seeds(self) -> Sequence[Any]:
        """The seeds of its models, as they are given."""
        base = self.base.get("seed", DEFAULTS["seed"])
        return self.grid["seed"] if "seed" in self.grid else [case.get("seed", base) for case in self.cases or [{}]]

    def check(self) -> None:
        """Raise `SpecError` where the grid as a whole makes no sense."""
        names = [*self.grid, *dict.fromkeys(name for case in self.cases for name in case)]
        for i, name in enumerate(names):
            clash = next((other for other in names[i + 1 :] if overlap(name, other)), None)
            if clash:
                both = f"'{name}' varies twice" if name == clash else f"'{name}' and '{clash}' vary the same thing"
                raise SpecError(f"{self.where}: {both} in [grid] or [[case]]: keep one of them")
        check_size(math.prod(len(axis.values) for axis in self.axes), self.where)
        if self.tuning is not None:
            self.tuning.check(self.where, names, self.primary, self.seeds())
            if self.tuning.chosen:
                self.tuning.check_chosen(self.where, self.arms, self.untuned)


def distinct_cases(cases: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Cases, the first of those that say the same."""
    first: dict[str, Mapping[str, Any]] = {}
    for case in cases:
        first.setdefault(spelled(case, aside=""), case)
    return list(first.values())


def stated(table: Any, name: str) -> Any:
    """What a table of a sweep file says itself of the setting of this dotted name; None where it does not."""
    for part in name.split("."):
        table = table.get(part) if isinstance(table, Mapping) else None
    return table


def read(path: Path) -> Sweep:
    """The sweep in a file; raises `SpecError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # an editor may have put a byte order mark before it
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise SpecError(f"{path}: is a folder, not a sweep file") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise SpecError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    return parse(text, path.stem, str(path))


def parse(text: str, stem: str, where: str) -> Sweep:
    """The sweep in a TOML text; raises `SpecError`. Cells are validated by `Sweep.settings`."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        hint = f": {spelling.HINT}" if spelling.parsed(text) is not None else ""
        raise SpecError(f"{where}: not valid TOML: {error}{hint}") from None
    return of_document(raw, stem, where)


def of_document(raw: Mapping[str, Any], stem: str, where: str) -> Sweep:
    """The sweep in what a TOML text says, tables as dicts; raises `SpecError`."""
    question = raw.get("question", "")
    if not isinstance(question, str):
        raise SpecError(f"{where}: question: expected a string, got {short(question)}")
    grid, cases = raw.get("grid", {}), raw.get("case", [])
    if not isinstance(grid, Mapping):
        raise SpecError(f"{where}: grid: expected a table, got {short(grid)}")
    tables = isinstance(cases, list) and all(isinstance(case, Mapping) for case in cases)
    if not tables or (cases and not any(cases)):
        raise SpecError(f"{where}: case: expected [[case]] tables that set something, got {short(cases)}")
    primary = raw.get("primary", {})
    if not isinstance(primary, Mapping):
        raise SpecError(f"{where}: primary: expected a table, got {short(primary)}")
    for name in primary:
        check_dotted(name, primary[name], "primary", where)
    for name in grid:
        check_dotted(name, grid[name], "grid", where)
        check_size(axis_size(grid[name]), f"{where}: grid '{name}'")
    check_size(math.prod([max(1, len(cases)), *(axis_size(values) for values in grid.values())]), where)
    draws = raw["seed"] if type(raw.get("seed")) is int else 0
    axes = {name: axis_values(name, values, where, seed=draws, whole=is_whole(name)) for name, values in grid.items()}
    for name in (name for case in cases for name in case):
        check_name(name, f"{where}: [[case]]")
    sweep = Sweep(
        stem=stem,
        where=where,
        question=question,
        base={key: value for key, value in raw.items() if key not in RESERVED},
        grid=axes,
        cases=tuple(dict(case) for case in cases),
        primary=dict(primary),
        tuning=parse_tuning(raw["tune"], where, draws) if "tune" in raw else None,
        draws=draws,
        metrics=_metrics(raw.get("metrics", []), where),
    )
    sweep.check()
    return sweep


def _metrics(given: Any, where: str) -> tuple[str, ...]:
    """The names of metrics of one's own. Raises `SpecError`."""
    words = given if isinstance(given, list) else [given]
    wrong = next((each for each in words if not (isinstance(each, str) and OWN_WORD.fullmatch(each))), None)
    if not isinstance(given, list) or wrong is not None:
        raise SpecError(f'{where}: metrics: expected a list of names such as "mine:kurtosis", got {short(wrong)}')
    if len(set(words)) < len(words):
        raise SpecError(f"{where}: metrics: a name stands twice")
    return tuple(words)
