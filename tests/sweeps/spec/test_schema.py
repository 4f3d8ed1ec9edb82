"""The schema: a field of a dataclass is a setting, and everything about settings follows from it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import toymodels as tm
from toymodels.checks import Each, Flag, Number, OrNone, Part, Whole, declared, setting, settle
from toymodels.laws import Law
from toymodels.metrics.evaluation import Evaluation
from toymodels.roles import OneOf
from toymodels.sweeps.spec import plain
from toymodels.sweeps.spec.plain import Refused
from toymodels.sweeps.spec.schema import ALL_SETTINGS, DEFAULTS, FILE, Setting, Table, meaningless_without, table_of
from toymodels.sweeps.spec.settings import validate
from toymodels.sweeps.spec.sweep import read

PARTS = {
    "features": tm.Features,
    "features.frequency": tm.Frequency,
    "features.importance": tm.Importance,
    "model": tm.Bottleneck,
    "model.layer_norm": tm.LayerNorm,
    "model.embedding": tm.Embedding,
    "train": tm.Training,
    "eval": Evaluation,
}


@pytest.mark.parametrize("place", PARTS)
def test_every_field_of_a_dataclass_is_a_setting(place: str) -> None:
    for name, of in declared(PARTS[place]).items():
        dotted = f"{place}_{name}" if place == "model.layer_norm" else f"{place}.{name}"
        if dotted in PARTS and dotted != "model.layer_norm":
            continue
        if dotted == "model.embedding.size":  # for which the table stands
            stands = ALL_SETTINGS["model.embedding"]
            assert (stands.check, stands.needs) == (OrNone(of.check), None)
            continue
        assert ALL_SETTINGS[dotted].says == of.says
        assert ALL_SETTINGS[dotted].check == of.check or dotted in ("model.layer_norm", "model.embedding")


@dataclass(frozen=True)
class Noisy(tm.Bottleneck):
    """A bottleneck some of whose hidden entries are left out: what a new setting of a model is."""

    dropped: int = field(default=0, metadata=setting(Whole(0, 99), "how many hidden entries are left out"))


def test_a_new_field_is_a_new_setting() -> None:
    table = table_of(Noisy, "model")
    assert table.names == (*table_of(tm.Bottleneck, "model").names, "model.dropped")
    added = table.keys["dropped"]
    assert isinstance(added, Setting)
    assert (added.default, added.says) == (0, "how many hidden entries are left out")
    values = {each.name: each.default for each in table.settings()} | {"model.hidden": 3, "model.dropped": 2}
    assert table.make(values) == Noisy(3, dropped=2)
    with pytest.raises(Refused, match=r"model\.dropped: expected less than or equal to 99, got 100"):
        plain.read(added.check, added.name, 100)
    with pytest.raises(ValueError, match="dropped: expected a whole number from 0 to 99, got 100"):
        Noisy(3, dropped=100)


@dataclass(frozen=True)
class Halved(Law):
    """A law that halves after so many features: what a new member of a role is."""

    after: int = field(metadata=setting(Whole(1, 9), "after how many features a weight halves"))
    name = "halved"

    def weights(self, n: int) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Falling:
    """A table that begins with a word."""

    law: Law = field(
        default_factory=tm.Uniform,
        metadata=setting(OneOf(Law, "Uniform()", names={"uniform": tm.Uniform, "halved": Halved}), "how it falls"),
    )
    shown: bool = field(default=True, metadata=setting(Flag(), "whether it is shown"))

    def __post_init__(self) -> None:
        settle(self)


def test_a_new_member_of_a_role_is_a_word_and_its_settings_stand_beside_it() -> None:
    table = table_of(Falling, "falling")
    assert list(table.keys) == ["law", "after", "shown"]
    assert table.word is not None
    assert table.word.takers == {"after": ["halved"]}
    assert table.make({"falling.law": "halved", "falling.after": 3, "falling.shown": False}) == Falling(
        Halved(3), shown=False
    )
    assert table.make({"falling.law": "uniform", "falling.after": None, "falling.shown": True}) == Falling()


@pytest.mark.parametrize("name", ALL_SETTINGS)
def test_defaults_are_those_of_the_dataclasses(name: str) -> None:
    smallest = validate({"features": {"n": 1, "density": 0.5}, "model": {"hidden": 1}}, "file.toml")
    assert smallest[name] == DEFAULTS[name] or ALL_SETTINGS[name].required
    made = smallest.experiment("file.toml")
    assert made == tm.Experiment(tm.Features(1, 0.5), tm.Bottleneck(1))


def test_what_means_nothing_without_a_layer_norm_is_what_it_has() -> None:
    assert meaningless_without("model.layer_norm") == tuple(
        f"model.layer_norm_{each.name}" for each in dataclasses.fields(tm.LayerNorm)
    )


def test_what_a_file_writes_is_what_the_dataclass_holds_and_back() -> None:
    for part in (tm.Bottleneck(hidden=2), tm.LayerNorm(), tm.Training()):
        for name, of in declared(type(part)).items():
            if not isinstance(of.check, OrNone | Part) or isinstance(of.check, OneOf):
                default = getattr(part, name)
                assert plain.made(of.check, plain.plain(of.check, default)) == default
    eps = declared(tm.LayerNorm)["eps"].check
    assert plain.plain(eps, tm.Matched()) == "matched"
    assert plain.made(eps, "matched") == tm.Matched()


def test_every_check_that_a_setting_has_can_be_described() -> None:
    assert all(plain.described(each.check) for each in ALL_SETTINGS.values())
    assert plain.described(Each(Number(above=0), "numbers")) == "a list, each a number > 0"
    with pytest.raises(TypeError, match="no way to write what Part allows"):
        plain.described(Part(int, "1"))


def test_the_file_has_its_tables_in_order() -> None:
    assert list(FILE.keys) == ["seed", "features", "model", "task", "train", "eval"]
    assert all(isinstance(each, Table) for key, each in FILE.keys.items() if key != "seed")


def test_every_setting_is_changed_in_a_golden_sweep() -> None:
    sweeps = [read(path) for path in sorted((Path(__file__).parents[2] / "golden" / "data" / "sweeps").glob("*.toml"))]
    cells = [sweep.settings(cell) for sweep in sweeps for cell in range(len(sweep))]
    assert not set(ALL_SETTINGS) - {name for cell in cells for name in cell.non_default()}


def test_a_field_that_declares_nothing_is_named() -> None:
    @dataclasses.dataclass(frozen=True)
    class Leaky:
        leak: float = 0.0

    with pytest.raises(TypeError, match=r"Leaky\.leak: expected field\(metadata=setting\(check, line\)\)"):
        table_of(Leaky, "model")
