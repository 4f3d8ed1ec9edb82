"""Stating: the settings that describe an experiment, the way back from what `Settings.experiment` makes.

An experiment that was put together in Python has no sweep file. What can be said of it in one is read off its
dataclasses as `toymodels.sweeps.spec.schema` reads off which settings there are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from toymodels.checks import Check, OrNone, Part, declared
from toymodels.data import Data
from toymodels.roles import OneOf
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.plain import plain
from toymodels.sweeps.spec.schema import DEFAULTS, SECTIONS, table_of
from toymodels.sweeps.spec.settings import Settings
from toymodels.training.experiment import Experiment


def settings_of(e: Experiment, where: str) -> Settings:
    """The settings of which ``e`` is made. How it is measured is none of them, and stays at its default.

    Raises `SpecError`, a sentence that begins with ``where``, for what no sweep file can say, code and data of one's
    own among it.
    """
    if isinstance(e.features, Data):
        raise SpecError(
            f"{where}: features: expected ones of this package, got data of your own, which no file can hold"
        )
    values = dict(DEFAULTS)
    for part, place in SECTIONS.items():
        values |= _values(declared(Experiment)[part].check, place, getattr(e, part), where)
    return Settings(values)


def _values(check: Check, name: str, value: Any, where: str) -> dict[str, Any]:
    """The plain values by dotted names of what one setting, ``name``, holds."""
    if isinstance(check, OneOf):
        return _of_member(check, name, name, value, where)
    if isinstance(check, Part):
        return _of_part(name, value, where)
    if isinstance(check, OrNone) and isinstance(check.check, Part):
        kind = check.check.kind
        if table_of(kind, name).required:  # its first setting stands for it
            if value is None:
                return {}
            inside = _of_part(name, value, where)
            return {name: inside.pop(f"{name}.{dataclasses.fields(kind)[0].name}")} | inside
        if value is None:
            return {name: False}
        beside = {each.replace(f"{name}.", f"{name}_", 1): of for each, of in _of_part(name, value, where).items()}
        return {name: True} | beside
    return {name: plain(check, value)}


def _of_part(name: str, part: Any, where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for place, each in enumerate(dataclasses.fields(part)):
        check, value = declared(type(part))[each.name].check, getattr(part, each.name)
        path = f"{name}.{each.name}"
        if place == 0 and isinstance(check, OneOf):  # the table is about this word, and its member's settings beside it
            values |= _of_member(check, path, name, value, where)
        else:
            values |= _values(check, path, value, where)
    return values


def _of_member(check: OneOf, name: str, beside: str, member: Any, where: str) -> dict[str, Any]:
    """The word of a member of a role, and its own settings ``beside``."""
    try:
        word = check.name_of(member)
    except ValueError:
        raise SpecError(f"{where}: {name}: expected what a sweep file can name, got {member!r:.60}") from None
    own = declared(type(member)) if isinstance(check.names[word], type) else {}
    return {name: word} | {f"{beside}.{key}": plain(of.check, getattr(member, key)) for key, of in own.items()}
