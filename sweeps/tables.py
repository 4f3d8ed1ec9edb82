"""Tables: what is derived from the packs, as Parquet.

    models.parquet     a row a model: every setting by its dotted name, loss, status, measures
    features.parquet   a row a model x feature
    neurons.parquet    a row a model x neuron

What is undefined is null, never NaN: a feature never seen, a dead neuron, anything of a diverged model, a column whose
measure raised.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from sweeps.packing import DIVERGED, measure_columns
from sweeps.plan import Plan
from sweeps.spec import Settings
from sweeps.store import Store
from sweeps.tensorfile import StoredFile
from toymodels.metrics.tiers import Tier

TABLES = ("models", "features", "neurons")
INDEX = {"features": "feature", "neurons": "neuron"}
TIERS = {tier.value: tier.name.lower() for tier in Tier if tier is not Tier.UNDEFINED}
UNDEFINED_AS_MINUS_ONE = ("tier", "main_feature")


def build(store: Store, plan: Plan, parts: Sequence[tuple[Sequence[int], StoredFile, StoredFile]]) -> None:
    """Write the three tables from (model ids, pack, measures) of every finished pack, rows in model order."""
    for name in TABLES:
        chunks = [_rows(name, models, plan, pack, measures) for models, pack, measures in parts]
        table = _without_gaps(pa.concat_tables(chunks, promote_options="permissive"), parts, name)
        order = [("model", "ascending")] + ([(INDEX[name], "ascending")] if name in INDEX else [])
        table = table.sort_by(order).combine_chunks()
        if name == "models":
            table = _with_settings(table, plan)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        store.write_bytes(store.path / f"{name}.parquet", buffer.getvalue())


def _without_gaps(
    table: pa.Table, parts: Sequence[tuple[Sequence[int], StoredFile, StoredFile]], level: str
) -> pa.Table:
    """The table with a column of nulls for what was measured in no pack."""
    unmeasured = {dotted for _, _, measures in parts for dotted in measures.metadata.get("unmeasured", {})}
    for dotted in sorted(unmeasured):
        of_level, _, column = dotted.partition(".")
        if of_level == level and column not in table.column_names:
            table = table.append_column(column, pa.nulls(len(table), pa.string() if column == "tier" else pa.float64()))
    return table


def _rows(name: str, models: Sequence[int], plan: Plan, pack: StoredFile, measures: StoredFile) -> pa.Table:
    diverged = pack.tensors["status"].numpy() == DIVERGED
    columns = measure_columns(measures.tensors, name)
    if name == "models":
        layer_norm = np.array([s.model.layer_norm for s in plan.settings(models)])
        own = {
            "key": pa.array([plan.keys[model] for model in models]),
            "status": pa.array(np.where(diverged, "diverged", "ok").tolist()),
            "diverged_step": _column(pack.tensors["diverged_step"], ~diverged),
            "layer_norm_eps": _column(pack.tensors["ln_eps"], ~layer_norm),
        }
        measured = {column: _column(values, diverged) for column, values in columns.items()}
        return pa.table({"model": pa.array(models, pa.int64()), **own, **measured})
    tensor = pack.tensors["W_in"]
    width = tensor.shape[2 if name == "features" else 1]
    index = {
        "model": pa.array(np.repeat(np.asarray(models, np.int64), width)),
        INDEX[name]: pa.array(np.tile(np.arange(width, dtype=np.int64), len(models))),
    }
    known = {"density", "importance"}
    nothing = np.zeros_like(diverged)
    measured = {
        column: _column(values, np.repeat(nothing if column in known else diverged, width), column)
        for column, values in columns.items()
    }
    return pa.table({**index, **measured})


def _column(values: Tensor, undefined: np.ndarray, name: str = "") -> pa.Array:
    array = values.numpy().ravel()
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
        return pa.array(array, mask=undefined | ~np.isfinite(array))
    if name in UNDEFINED_AS_MINUS_ONE:
        undefined = undefined | (array < 0)
    if name == "tier":
        return pa.array(
            [None if no else TIERS[int(tier)] for tier, no in zip(array, undefined, strict=True)], pa.string()
        )
    return pa.array(array, mask=undefined)


def _with_settings(table: pa.Table, plan: Plan) -> pa.Table:
    """The settings of each row's model, between its number and its measures."""
    columns = dict(zip(table.column_names, table.columns, strict=True))
    settings = setting_columns(plan.settings(table["model"].to_pylist()))
    return pa.table({"model": columns.pop("model"), **settings, **columns})


def setting_columns(settings: Sequence[Settings]) -> Mapping[str, pa.Array]:
    """A column a setting, by dotted name. A setting with both numbers and words in this sweep becomes words."""
    flat = [s.flat() for s in settings]
    return {name: _setting_column([f[name] for f in flat]) for name in flat[0]}


def _setting_column(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if str in kinds and len(kinds) > 1:
        values = [value if value is None or isinstance(value, str) else repr(value) for value in values]
    return pa.array(values) if kinds else pa.array(values, pa.float64())
