"""Names: which settings there are, and which one somebody meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from toymodels.checks import OrNone, Whole
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec import other_names
from toymodels.sweeps.spec.schema import ALL_SETTINGS, FILE, Table
from toymodels.sweeps.spec.wording import did_you_mean


@cache
def setting_names() -> frozenset[str]:
    """Every dotted name that ``[grid]`` and ``--set`` accept: settings, and the tables that stand for one choice."""
    return frozenset(ALL_SETTINGS) | {
        name for table in words() for name in (table.name, f"{table.name}.{_word(table)}")
    }


@cache
def words() -> tuple[Table, ...]:
    """The tables that begin with a word, and may be written as that word alone."""
    sections = [each for each in FILE.keys.values() if isinstance(each, Table)]
    inside = [each for section in sections for each in section.keys.values() if isinstance(each, Table)]
    return tuple(table for table in (*sections, *inside) if table.word)


def check_name(name: str, where: str, beside: Collection[str] = ()) -> None:
    """Raise `SpecError` unless ``name`` is a setting; ``beside`` are other words that may have been meant there."""
    if name not in setting_names():
        choices = {*setting_names(), *beside}
        raise SpecError(f"{where}: unknown setting '{name}'{meant(name) or did_you_mean(name, choices)}")


def check_dotted(name: str, given: Any, table: str, where: str, beside: Collection[str] = ()) -> None:
    """Raise `SpecError` unless ``name`` is a setting by its dotted name, in quotes."""
    sections = {name.partition(".")[0] for name in setting_names() if "." in name}
    if isinstance(given, Mapping) and name in sections:
        inside = next(iter(given), "...")
        raise SpecError(f'{where}: [{table}]: a dotted name needs quotes: "{name}.{inside}" = ...')
    check_name(name, f"{where}: [{table}]", beside)


def is_whole(name: str) -> bool:
    """Whether the setting of this dotted name is a whole number, where it is there; so are the seeds of ``[tune]``."""
    if name not in ALL_SETTINGS:
        return name == "seeds"
    check = ALL_SETTINGS[name].check
    return isinstance(check.check if isinstance(check, OrNone) else check, Whole)


def overlap(a: str, b: str) -> bool:
    """Whether two names say the same setting, or one of them a table that the other is in."""
    return a == b or a.startswith(f"{b}.") or b.startswith(f"{a}.")


def meant(name: str) -> str:
    """The setting that has this name elsewhere, as the end of a sentence; nothing for a name that nobody uses."""
    found = other_names.meant(name, setting_names())
    if found is None:
        return ""
    setting, reason = found
    return f" (did you mean '{setting}'?{f' {reason}' if reason else ''})"


def _word(table: Table) -> str:
    assert table.word is not None
    return table.word.key
