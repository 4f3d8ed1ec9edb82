"""The schema: which settings a sweep file has, read off the dataclasses of `toymodels`.

A field of a dataclass is a setting: ``key = value``. One that holds another dataclass is a table of that one's settings
(``frequency``); one that may be None is true or false, and the settings of what it holds stand beside it
(``layer_norm``, ``layer_norm_eps``), or, where the first of these has no default, stands for that one (``embedding =
16``, or a table of them all). One that holds a member of a role (`toymodels.roles`) is a word; where members
have settings of their own these stand beside the word, in a table (``law`` and ``exponent``; ``kind`` and ``groups``).

`SECTIONS` says where each part of an `Experiment` stands. All else about settings is read off this page: their names,
checks, defaults, the sentences that refuse them, the columns of the tables and docs/SWEEPS.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from operator import itemgetter
from typing import Any

from toymodels.checks import Check, Flag, OrNone, Part, declared
from toymodels.metrics.evaluation import Evaluation
from toymodels.roles import OneOf
from toymodels.sweeps.spec.plain import made, named, plain, unbounded
from toymodels.training.experiment import Experiment

SECTIONS = {
    "seed": "seed",
    "features": "features",
    "bottleneck": "model",
    "target": "task.target",
    "loss": "task.loss",
    "training": "train",
}
"""Where a sweep file has each part of an `Experiment`."""
KIND = "kind"
"""The key of the word in a table of its own, ``firing = { kind = "one" }``; the setting is ``features.firing``."""
NAMED_BY_SECTION = "features"
"""The section whose own sentences name a setting without its section, which is put before it."""

PlainValues = Mapping[str, Any]
"""Plain values by the dotted names of the settings."""


@dataclass(frozen=True)
class Setting:
    """One setting: its dotted name, what it may be, its plain default (None where it has none) and a line on it."""

    name: str
    check: Check
    default: Any
    says: str
    required: bool = False
    needs: str | None = None
    """the setting without which this one means nothing"""
    loose: Check | None = None
    """what a file is held to where the range is refused later, when the member of the role is made"""


@dataclass(frozen=True)
class Word:
    """The word that a table begins with, and which members take which of the settings beside it."""

    key: str
    label: str
    """what a sentence calls it"""
    takers: Mapping[str, Sequence[str]]
    """by key, the members that take that setting"""
    alone: bool = False
    """whether a file that is written has the word alone where nothing beside it is set"""


@dataclass(frozen=True)
class Table:
    """A table of a sweep file: its keys in order, and how the fields of ``kind`` are made of plain values."""

    name: str
    kind: Callable[..., Any]
    keys: dict[str, Setting | Table] = field(default_factory=dict)
    fields: dict[str, Callable[[PlainValues], Any]] = field(default_factory=dict)
    word: Word | None = None
    optional: bool = False
    """whether it may be left out, though something in it has no default"""

    @cached_property
    def required(self) -> bool:
        """Whether something in it has no default, and must be given."""
        return not self.optional and any(each.required for each in self.keys.values())

    def settings(self) -> Iterator[Setting]:
        """Its settings in order, those of the tables in it among them."""
        for each in self.keys.values():
            yield from (each,) if isinstance(each, Setting) else each.settings()

    def make(self, values: PlainValues) -> Any:
        """The object that these settings describe, the same for the same ones; raises ``ValueError``."""
        return self._kept(self._picked(values))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The dotted names of its settings."""
        return tuple(each.name for each in self.settings())

    @cached_property
    def _picked(self) -> Callable[[PlainValues], Any]:
        return itemgetter(*self.names) if len(self.names) > 1 else lambda values: (values[self.names[0]],)

    @cached_property
    def _kept(self) -> Callable[[tuple[Any, ...]], Any]:
        return lru_cache(maxsize=4096)(self._made)

    def _made(self, picked: tuple[Any, ...]) -> Any:
        values = dict(zip(self.names, picked, strict=True))
        try:
            return self.kind(**{name: make(values) for name, make in self.fields.items()})
        except ValueError as error:
            if self.name.partition(".")[0] != NAMED_BY_SECTION:
                raise
            raise ValueError(f"{self.name.rpartition('.')[2]}.{error}") from None


def table_of(kind: type, name: str) -> Table:
    """The table of a dataclass's settings."""
    table, word = Table(name, kind), None
    for place, each in enumerate(dataclasses.fields(kind)):
        if each.name not in declared(kind):
            raise TypeError(
                f"{kind.__name__}.{each.name}: expected field(metadata=setting(check, line)), got no setting"
            )
        of = declared(kind)[each.name]
        check, path = of.check, f"{name}.{each.name}"
        required = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        default = each.default if each.default_factory is dataclasses.MISSING else each.default_factory()
        if isinstance(check, OneOf) and _takes_settings(check):
            if place == 0:  # the table is about this word
                word = _add_word(table, each.name, each.name, check, plain(check, default), of.says)
                table.fields[each.name] = partial(_member, check, path, name)
            else:
                table.keys[each.name] = _table_of_word(path, each.name, check, plain(check, default), of.says)
                table.fields[each.name] = partial(_member, check, path, path)
        elif isinstance(check, Part) and not isinstance(check, OneOf):
            inside = table.keys[each.name] = table_of(check.kind, path)
            table.fields[each.name] = inside.make
        elif isinstance(check, OrNone) and isinstance(check.check, Part) and table_of(check.check.kind, path).required:
            table.keys[each.name] = _standing_for(table_of(check.check.kind, path), each.name, of.says)
            table.fields[each.name] = partial(_if_given, path, table_of(check.check.kind, path))
        elif isinstance(check, OrNone) and isinstance(check.check, Part):
            table.keys[each.name] = Setting(path, Flag(), default is not None, of.says)
            inside = _beside(table_of(check.check.kind, path), path)
            table.keys.update({f"{each.name}_{key}": beside for key, beside in inside.keys.items()})
            table.fields[each.name] = partial(_if_switched_on, path, inside.make)
        else:
            kept = None if required else plain(check, default)
            table.keys[each.name] = Setting(path, check, kept, of.says, required)
            table.fields[each.name] = partial(_value, check, path)
    return dataclasses.replace(table, word=word)


def _takes_settings(check: OneOf) -> bool:
    return all(isinstance(member, type) for member in check.names.values())


def _add_word(table: Table, key: str, label: str, check: OneOf, default: str, says: str) -> Word:
    """Put a word into a table, and beside it the settings of all the members that it can name."""
    name = table.name if key == KIND else f"{table.name}.{key}"
    table.keys[key] = Setting(name, check, default, says)
    takers: dict[str, list[str]] = {}
    for member, kind in check.names.items():
        for inside, of in declared(kind).items():
            takers.setdefault(inside, []).append(member)
            own, loose = OrNone(of.check), OrNone(unbounded(of.check))
            table.keys[inside] = Setting(f"{table.name}.{inside}", own, None, of.says, needs=name, loose=loose)
    return Word(key, label, takers)


def _table_of_word(name: str, label: str, check: OneOf, default: str, says: str, *, alone: bool = False) -> Table:
    """The table of a word and the settings of the members that it can name."""
    table = Table(name, dict)
    word = _add_word(table, KIND, label, check, default, says)
    return dataclasses.replace(table, word=dataclasses.replace(word, alone=alone))


def _standing_for(table: Table, label: str, says: str) -> Table:
    """A table that may be left out, and for which its first setting may stand, by the table's name."""
    first, *others = (each for each in table.settings())
    key = first.name.rpartition(".")[2]
    keys: dict[str, Setting | Table] = {
        key: dataclasses.replace(first, name=table.name, check=OrNone(first.check), says=says),
        **{each.name.rpartition(".")[2]: dataclasses.replace(each, needs=table.name) for each in others},
    }
    return Table(table.name, dict, keys, word=Word(key, label, {}, alone=True), optional=True)


def _beside(table: Table, switch: str) -> Table:
    """A table whose settings stand beside the one that switches them on: ``layer_norm.eps`` as ``layer_norm_eps``."""
    keys = {key: each for key, each in table.keys.items() if isinstance(each, Setting)}
    beside: dict[str, Setting | Table] = {
        key: dataclasses.replace(each, name=f"{switch}_{key}", needs=switch) for key, each in keys.items()
    }
    fields = {key: partial(_value, each.check, f"{switch}_{key}") for key, each in keys.items()}
    return dataclasses.replace(table, keys=beside, fields={**fields})


def _value(check: Check, name: str, values: PlainValues) -> Any:
    return made(check, values[name])


def _member(check: OneOf, word: str, table: str, values: PlainValues) -> Any:
    kind = named(check, values[word])
    if not isinstance(kind, type):
        return kind  # code of one's own, made without settings
    return kind(**{inside: values[f"{table}.{inside}"] for inside in declared(kind)})


def _if_switched_on(switch: str, make: Callable[[PlainValues], Any], values: PlainValues) -> Any:
    return make(values) if values[switch] else None


def _if_given(name: str, table: Table, values: PlainValues) -> Any:
    first = next(table.settings()).name
    return None if values[name] is None else table.make({**values, first: values[name]})


def whole_file() -> Table:
    """A sweep file without its question, grid and cases: all its settings, and how they make an `Experiment`."""
    root = Table("", Experiment)
    for part, place in SECTIONS.items():
        of = declared(Experiment)[part]
        section, _, key = place.rpartition(".")
        if isinstance(of.check, Part) and not isinstance(of.check, OneOf):
            inside = root.keys[place] = table_of(of.check.kind, place)
            root.fields[part] = inside.make
        else:
            (each,) = (each for each in dataclasses.fields(Experiment) if each.name == part)
            default = each.default_factory() if callable(each.default_factory) else each.default
            table = root.keys.setdefault(section, Table(section, dict)) if section else root
            assert isinstance(table, Table)
            if isinstance(of.check, OneOf) and _takes_settings(of.check):
                word = plain(of.check, default)
                table.keys[key] = _table_of_word(place, key, of.check, word, of.says, alone=True)
                root.fields[part] = partial(_member, of.check, place, place)
            else:
                table.keys[key] = Setting(place, of.check, plain(of.check, default), of.says)
                root.fields[part] = partial(_value, of.check, place)
    evaluation = table_of(Evaluation, "eval")
    return dataclasses.replace(root, keys={**root.keys, "eval": evaluation})


FILE = whole_file()
ALL_SETTINGS = {setting.name: setting for setting in FILE.settings()}
"""Every setting by its dotted name, in the order of a sweep file."""
DEFAULTS = {name: setting.default for name, setting in ALL_SETTINGS.items()}
"""Every setting's default by its dotted name; None where there is none."""


def meaningless_without(switch: str) -> tuple[str, ...]:
    """The settings that mean nothing where ``switch`` is off."""
    return tuple(name for name, setting in ALL_SETTINGS.items() if setting.needs == switch)
