"""Tables: what is derived from the packs, as Parquet.

    models.parquet     a row a model: every setting by its dotted name, loss, status, measures
    features.parquet   a row a model x feature
    neurons.parquet    a row a model x neuron
    targets.parquet    a row a model x target, of models whose targets are not their features (pairs of these)

`toymodels.sweeps.results.curves` has one more, of the packs alone. What is undefined is null, never NaN: a feature
never seen, a dead neuron, anything of a diverged model, a column whose measure raised. Each file says what its columns
are, and of which plan it is (`toymodels.sweeps.results.described`). Rows are in model order, written
a window of models at a time: memory hardly grows with the sweep.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toymodels.metrics.meanings import Meaning
from toymodels.metrics.tiers import Tier
from toymodels.sweeps.plan.plan import Pack, Plan
from toymodels.sweeps.results.described import described
from toymodels.sweeps.spec.settings import Settings
from toymodels.sweeps.store.packing import DIVERGED
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import Mapped

TABLES = ("models", "features", "neurons")
TARGETS = "targets"
"""The table that there is only where targets are not features."""
INDEX = {"features": "feature", "neurons": "neuron", TARGETS: "target"}
TIER_NAMES = np.array([tier.name.lower() for tier in sorted(Tier) if tier is not Tier.UNDEFINED])
UNDEFINED_AS_MINUS_ONE = ("tier", "main_feature", "best_neuron")
KNOWN = {"features": ("density", "importance"), TARGETS: ("first", "second", "density", "importance")}
"""The columns that a diverged model has too."""
ROWS_AT_ONCE = 2**17
MODELS_AT_ONCE = 2**13


def build(store: Store, plan: Plan, packs: Sequence[Pack]) -> None:
    """Write the tables of these packs, which are stored and measured."""
    by_table, largest = _columns(store, packs)
    for name, columns in by_table.items():
        if name == TARGETS and not columns.types():
            continue
        settings = _settings_schema(plan, packs) if name == "models" else pa.schema([])
        schema = described(name, _schema(name, settings, columns), store.manifest.plan, columns.meanings)
        models_at_once = min(MODELS_AT_ONCE, max(1, ROWS_AT_ONCE // largest[name]))
        with (
            store.writing(store.path / f"{name}.parquet") as file,
            pq.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            for window in windows(packs, models_at_once):
                parts = [_rows(name, store, plan, part, schema) for part in window]
                order = [(column, "ascending") for column in ("model", INDEX.get(name)) if column]
                writer.write_table(pa.concat_tables(parts).sort_by(order))


@dataclass(frozen=True)
class Stretch:
    """Those models of a pack that are in a window: its rows ``first`` to ``last``."""

    pack: Pack
    first: int
    last: int

    @property
    def models(self) -> Sequence[int]:
        """The numbers of these models in the plan, ascending."""
        return self.pack.models[self.first : self.last]


def windows(packs: Sequence[Pack], models_at_once: int) -> Iterator[list[Stretch]]:
    """The packs cut by ranges of models, in order; models ascend in a pack, and packs interleave."""
    waiting = sorted(packs, key=lambda pack: pack.models[0], reverse=True)
    current: list[Pack] = []
    end = 0
    while waiting or current:
        end += models_at_once
        while waiting and waiting[-1].models[0] < end:
            current.append(waiting.pop())
        parts = [
            Stretch(pack, bisect_left(pack.models, end - models_at_once), bisect_left(pack.models, end))
            for pack in current
        ]
        current = [pack for pack in current if pack.models[-1] >= end]
        if any(part.models for part in parts):
            yield [part for part in parts if part.models]


# ------------------------------------------------------------------------------------------------------------- columns


@dataclass
class _Columns:
    """The measured columns of a table with their types, in the order in which packs have them."""

    measured: dict[str, pa.DataType] = field(default_factory=dict)
    unmeasured: set[str] = field(default_factory=set)
    meanings: dict[str, Meaning] = field(default_factory=dict)
    """of those that are one's own"""

    def add(self, name: str, kind: pa.DataType) -> None:
        """A column of one pack. One that is all undefined there is a number, and whatever it is elsewhere."""
        if self.measured.get(name, pa.float64()) == pa.float64():
            self.measured[name] = kind

    def types(self) -> dict[str, pa.DataType]:
        """The types of all columns, also of one that could be measured in no pack."""
        return self.measured | {name: _type(name, "F") for name in sorted(self.unmeasured - self.measured.keys())}


def _columns(store: Store, packs: Sequence[Pack]) -> tuple[dict[str, _Columns], dict[str, int]]:
    """What was measured in some pack, and the most rows that a model has, by table: the files' headers say it."""
    found: dict[str, _Columns] = {name: _Columns() for name in (*TABLES, TARGETS)}
    largest: dict[str, int] = dict.fromkeys(found, 1)
    for pack in packs:
        measures = Mapped(store.measures_path(pack))
        for dotted in measures.names:
            table, _, column = dotted.partition(".")
            found[table].add(column, _type(column, measures.kind(dotted)))
            largest[table] = max(largest[table], *measures.shape(dotted)[1:], 1)
        for dotted in measures.metadata.get("unmeasured", {}):
            table, _, column = dotted.partition(".")
            found[table].unmeasured.add(column)
        for dotted, said in measures.metadata.get("meanings", {}).items():
            table, _, column = dotted.partition(".")
            found[table].meanings[column] = Meaning(*said)
    return found, largest


def _type(column: str, kind: str) -> pa.DataType:
    if column == "tier":
        return pa.string()
    return {"F": pa.float64(), "B": pa.bool_()}.get(kind, pa.int64())


def _schema(name: str, settings: pa.Schema, columns: _Columns) -> pa.Schema:
    fields: dict[str, pa.DataType] = {"model": pa.int64()}
    if name == "models":
        fields |= {each.name: each.type for each in settings}
        fields |= {"key": pa.string(), "status": pa.string(), "diverged_step": pa.int64()}
        fields |= {"layer_norm_eps": pa.float64()}
    else:
        fields |= {INDEX[name]: pa.int64()}
    return pa.schema(list((fields | columns.types()).items()))


# ---------------------------------------------------------------------------------------------------------------- rows


def _rows(name: str, store: Store, plan: Plan, part: Stretch, schema: pa.Schema) -> pa.Table:
    """The rows of some models of a pack, with all columns of the table."""
    pack, measures = Mapped(store.pack_path(part.pack)), Mapped(store.measures_path(part.pack))
    diverged = pack.rows("status", part.first, part.last) == DIVERGED
    measured = {
        dotted.removeprefix(f"{name}."): measures.rows(dotted, part.first, part.last)
        for dotted in measures.names
        if dotted.startswith(f"{name}.")
    }
    models = np.asarray(part.models, np.int64)
    if name == "models":
        settings = plan.settings(part.models)
        layer_norm = np.array([s["model.layer_norm"] for s in settings])
        own = {
            **setting_columns(settings, schema),
            "model": pa.array(models),
            "key": pa.array([plan.keys[model] for model in part.models]),
            "status": pa.array(np.where(diverged, "diverged", "ok")),
            "diverged_step": _column(pack.rows("diverged_step", part.first, part.last), ~diverged),
            "layer_norm_eps": _column(pack.rows("ln_eps", part.first, part.last), ~layer_norm),
        }
    else:
        width = _width(name, pack, measures)
        own = {
            "model": pa.array(np.repeat(models, width)),
            INDEX[name]: pa.array(np.tile(np.arange(width), len(models))),
        }
        diverged = np.repeat(diverged, width)
    nothing = np.zeros_like(diverged)
    known = KNOWN.get(name, ())
    columns = own | {
        column: _column(values, nothing if column in known else diverged, column) for column, values in measured.items()
    }
    rows = len(columns["model"])
    return pa.table(
        [columns[each.name].cast(each.type) if each.name in columns else pa.nulls(rows, each.type) for each in schema],
        schema=schema,
    )


def _width(name: str, pack: Mapped, measures: Mapped) -> int:
    """How many rows a model of this pack has in a table."""
    if name == "neurons":
        return pack.shape("W_in")[1]
    if name == "features":
        return pack.shape("E" if "E" in pack.names else "W_in")[2]
    return pack.shape("W_out")[1] if any(dotted.startswith(f"{TARGETS}.") for dotted in measures.names) else 0


def _column(values: np.ndarray, undefined: np.ndarray, name: str = "") -> pa.Array:
    array = values.ravel()
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        return pa.array(array, mask=undefined | ~np.isfinite(array))
    if name in UNDEFINED_AS_MINUS_ONE:
        undefined = undefined | (array < 0)
    if name == "tier":
        return pa.array(TIER_NAMES[np.where(undefined, 0, array)], pa.string(), mask=undefined)
    return pa.array(array, mask=undefined)


# ------------------------------------------------------------------------------------------------------------ settings


def _settings_schema(plan: Plan, packs: Sequence[Pack]) -> pa.Schema:
    """The types of the settings' columns: a setting that is both a number and a word in this sweep becomes a word."""
    found: dict[str, set[pa.DataType]] = {}
    for window in windows(packs, MODELS_AT_ONCE):
        for part in window:
            for name, values in _by_name(plan.settings(part.models)).items():
                found.setdefault(name, set()).update(_types(values))
    return pa.schema([(name, _common(types)) for name, types in found.items()])


def setting_columns(settings: Sequence[Settings], schema: pa.Schema) -> Mapping[str, pa.Array]:
    """A column a setting, by dotted name, of the types in ``schema``."""
    columns: dict[str, pa.Array] = {}
    for name, values in _by_name(settings).items():
        kind = schema.field(name).type
        if pa.types.is_string(kind):
            values = [value if value is None or isinstance(value, str) else repr(value) for value in values]
        columns[name] = pa.array(values, kind)
    return columns


def _by_name(settings: Sequence[Settings]) -> dict[str, list[Any]]:
    flat = [s.flat() for s in settings]
    return {name: [each[name] for each in flat] for name in flat[0]}


def _types(values: Sequence[Any]) -> set[pa.DataType]:
    """The Arrow types of the values that a setting has, nulls aside."""
    by_kind: dict[type, list[Any]] = {}
    for value in values:
        if value is not None:
            by_kind.setdefault(type(value), []).append(value)
    return {pa.array(alike).type for alike in by_kind.values()}


def _common(types: set[pa.DataType]) -> pa.DataType:
    """The type of a column whose values have these types: text where any is text, else one that holds them all."""
    if any(pa.types.is_string(each) for each in types):
        return pa.string()
    alone = [pa.schema([("", each)]) for each in sorted(types, key=str)]
    return pa.unify_schemas(alone, promote_options="permissive").field(0).type if alone else pa.float64()
