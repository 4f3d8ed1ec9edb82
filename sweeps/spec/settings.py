"""Settings: one cell of a sweep, every setting resolved, as plain values by dotted name.

Dotted names (``features.frequency.law``) name settings everywhere: in ``[grid]``, in ``--set``, in the columns of the
tables. Which settings there are, and what each may be, is `toymodels.sweeps.spec.schema`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toymodels.firing import FIRINGS
from toymodels.roles import OneOf
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.code import NO_CODE, Code
from toymodels.sweeps.spec.names import meant, words
from toymodels.sweeps.spec.plain import OWN_ROLES, Refused, is_own, read
from toymodels.sweeps.spec.schema import ALL_SETTINGS, DEFAULTS, FILE, Setting, Table
from toymodels.sweeps.spec.wording import did_you_mean, short
from toymodels.training.experiment import Experiment

KEY_BYTES = 12
FIRST_PACKS = """
seed
features.n features.density features.values features.signed features.firing features.firing.groups
features.frequency.law features.frequency.exponent features.frequency.ratio features.frequency.values
features.frequency.cap
features.importance.law features.importance.exponent features.importance.ratio features.importance.values
features.importance.shuffle features.importance.shuffle_seed
model.hidden model.activation model.layer_norm model.layer_norm_eps model.layer_norm_affine model.output
model.output_bias model.tied model.hidden_bias model.init_scale
task.target task.loss
train.steps train.batch train.optimizer train.learning_rate train.schedule train.weight_decay train.curve_points
train.snapshots
eval.samples
"""
ALWAYS_SAID = frozenset(FIRST_PACKS.split())
"""The settings that the first packs named, and every pack names. What came later, or will, is named only where it is
not at its default: so a sweep that does not use it has the same packs, byte for byte, as before."""
DENSITY, FIRING, FEATURES = "features.density", "features.firing", "features.n"
SETS = "features.firing.sets"
ROLES: Mapping[str, type] = {
    name: of.check.kind
    for name, of in ALL_SETTINGS.items()
    if isinstance(of.check, OneOf) and of.check.kind in OWN_ROLES
}
"""The settings that may name code of one's own, and the role that it then plays."""
BESIDE_SECTIONS = ("grid", "case", "question", "metrics", "tune")
"""What else a sweep file may have at its top, when a key is misspelled there."""


@dataclass(frozen=True)
class Settings:
    """One cell of a sweep: every setting that determines one trained model and how it is measured."""

    values: Mapping[str, Any]
    code: Code = field(default=NO_CODE, compare=False, repr=False)
    """where members come from that the settings name by ``module:Name``"""

    def __getitem__(self, name: str) -> Any:
        """The plain value of a setting, by its dotted name; None where it does not apply."""
        return self.values[name]

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted name; a setting that does not apply is None."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.values.items()}

    def said_in_packs(self) -> dict[str, Any]:
        """The settings of `ALWAYS_SAID` and those that are not at their default, by dotted name."""
        return {name: value for name, value in self.flat().items() if name in ALWAYS_SAID or value != DEFAULTS[name]}

    def non_default(self) -> dict[str, Any]:
        """The settings that differ from their default: what a model's key is made of."""
        changed = ((name, value) for name, value in self.values.items() if value != DEFAULTS[name])
        return {name: list(value) if isinstance(value, tuple) else value for name, value in changed}

    def key(self) -> str:
        """The model's key: a hash of its resolved settings, defaults left out, so that a new setting changes no key."""
        return digest(self.non_default()).hex()

    def document(self) -> dict[str, Any]:
        """The settings that apply, as the tables of a sweep file; lists are tuples."""
        return _written(FILE, self.values)

    def experiment(self, where: str) -> Experiment:
        """The experiment that these settings describe; raises `SpecError` where they contradict each other."""
        own = {name: kind for name, kind in ROLES.items() if is_own(ALL_SETTINGS[name].check, self.values[name])}
        try:
            found = {name: self.code.member(name, self.values[name], kind) for name, kind in own.items()}
            values = {**self.values, **found} if found else self.values
            return Experiment(**{part: make(values) for part, make in FILE.fields.items()})
        except SpecError as error:
            raise type(error)(f"{where}: {error}") from None
        except ValueError as error:
            raise SpecError(f"{where}: {error}") from None


def digest(settings: Mapping[str, Any]) -> bytes:
    """A hash of settings by their dotted names."""
    return hashlib.sha256(canonical_json(settings).encode()).digest()[:KEY_BYTES]


def canonical_json(value: Any) -> str:
    """JSON with one spelling: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def override(raw: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """``raw`` with the setting of this dotted name replaced; tables on the way are copied, not changed."""
    return _override(raw, "", name, value)


def _override(raw: dict[str, Any], table: str, name: str, value: Any) -> dict[str, Any]:
    head, _, rest = name.partition(".")
    if not rest:
        return {**raw, head: value}
    path = f"{table}.{head}" if table else head
    inside = raw.get(head, {})
    if not isinstance(inside, Mapping):
        inside = next(({each.word.key: inside} for each in words() if each.word and each.name == path), inside)
    if not isinstance(inside, Mapping):
        return raw  # not a table: left as it is, to be refused by name
    return {**raw, head: _override(dict(inside), path, rest, value)}


def validate(raw: Mapping[str, Any], where: str, code: Code = NO_CODE) -> Settings:
    """The settings of one cell; raises `SpecError` naming ``where``, the key, the value and the valid choices."""
    values = dict(DEFAULTS)
    try:
        _read(FILE, raw, values)
    except Refused as refused:
        raise SpecError(f"{where}: {refused}") from None
    return Settings(values, code)


def _read(table: Table, given: Any, values: dict[str, Any]) -> None:
    """Read a table of a file into ``values``; raises `Refused` for the first of its keys that cannot be."""
    word = table.word
    if word and (isinstance(given, str) or (table.optional and not isinstance(given, Mapping))):
        given = {word.key: given}
    if not isinstance(given, Mapping):
        raise Refused(f"{table.name}: expected a table, got {short(given)}")
    for key, each in table.keys.items():
        path = f"{table.name}.{key}" if table.name else key
        if key not in given:
            if each.required and each.name != DENSITY:
                misspelled = next((other for other in given if other not in table.keys), None)
                raise Refused(_unknown(table, misspelled) if misspelled else f"{path}: missing")
        elif isinstance(each, Setting):
            values[each.name] = read(each.loose or each.check, path, given[key])
        else:
            _read(each, given[key], values)
    if not table.keys.keys() >= given.keys():
        raise Refused(_unknown(table, next(key for key in given if key not in table.keys)))
    if word:
        _check_word(table, values)
    if table.name == "features":
        _settle_features(values)


def _check_word(table: Table, values: Mapping[str, Any]) -> None:
    """Raise `Refused` unless the word has the settings that it takes, and no others."""
    assert table.word is not None
    member = values[table.names[0]]
    for key, takers in table.word.takers.items():
        given, taken = values[f"{table.name}.{key}"] is not None, member in takers
        if given != taken:
            raise Refused(f"{table.name}: {table.word.label} '{member}' {'takes no' if given else 'needs'} {key}")


def _settle_features(values: dict[str, Any]) -> None:
    """Fill in the density where the firing law leaves no choice; sets in one order, as it means nothing."""
    if values[DENSITY] is None:
        values[DENSITY] = FIRINGS[values[FIRING]].only_density(values[FEATURES])
    if values[DENSITY] is None:
        raise Refused(f"features: density is missing ({ALL_SETTINGS[DENSITY].says})")
    if values[SETS] is not None:
        values[SETS] = tuple(sorted(tuple(sorted(each)) for each in values[SETS]))


def _unknown(table: Table, key: str) -> str:
    name = f"{table.name}.{key}" if table.name else key
    siblings = [*table.keys, *(() if table.name else BESIDE_SECTIONS)]
    return f"unknown key '{name}'{meant(name) or did_you_mean(key, [each for each in siblings if each != key])}"


def _written(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for key, each in table.keys.items():
        value = values[each.name] if isinstance(each, Setting) else _table_written(each, values)
        if value is not None:
            written[key] = value
    return written


def _table_written(table: Table, values: Mapping[str, Any]) -> Any:
    """What stands in a file for a table in another: the word that it begins with, where that says all; None where there
    is none."""
    word = table.word
    if word is None or not word.alone:
        return _written(table, values)
    of_word = values[table.names[0]]
    says_all = all(values[name] == DEFAULTS[name] for name in table.names[1:])
    return of_word if of_word is None or says_all else _written(table, values)
