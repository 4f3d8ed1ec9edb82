"""A cube: a table of a run as an `xarray.Dataset`, with an axis for every axis of the sweep's grid.

A sweep is a cross product, so its models fill a box: the axes of the grid by their dotted names, ``case`` for settings
that vary together, and, after them, ``feature``, ``neuron``, ``target`` or ``step`` of a table that has these. What is
not there, a model that is not trained yet or a feature that a smaller model has not got, is NaN or None.

Each variable has the attributes ``units`` and ``long_name``; the dataset says of which plan and version it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from toymodels.sweeps.errors import SpecError, SweepError
from toymodels.sweeps.results.arms import as_python, label
from toymodels.sweeps.results.described import read_back, whose
from toymodels.sweeps.results.tables import INDEX
from toymodels.sweeps.spec.axes import Axis
from toymodels.sweeps.spec.wording import did_you_mean

if TYPE_CHECKING:
    import xarray as xr

    from toymodels.sweeps.results.reading import Run

CASE = "case"
"""The axis of the settings that vary together, ``[[case]]`` in a sweep file."""
INNER = {"models": None, **INDEX, "curves": "step"}
"""The axis of each table beside those of the sweep."""


def to_xarray(run: Run, table: str) -> xr.Dataset:
    """A table of a run as a dataset. Raises `SpecError` for no such table, `SweepError` where xarray is missing."""
    try:
        import xarray as xr
    except ImportError:
        raise SweepError("to_xarray: needs xarray, which is not installed: pip install xarray") from None
    if table not in INNER:
        raise SpecError(f"no table is called '{table}'{did_you_mean(table, INNER)}")
    rows: pd.DataFrame = getattr(run, table)
    axes, inner = run.plan.sweep.axes, INNER[table]
    coordinates: dict[str, Any] = {axis.name or CASE: _labels(axis) for axis in axes}
    shape = [len(axis.values) for axis in axes]
    cells = np.array([run.plan.cell(int(model)) for model in rows["model"].unique()], np.int64)
    places = [cells[np.searchsorted(rows["model"].unique(), rows["model"])]]
    if inner is not None:
        coordinates[inner] = np.unique(rows[inner])
        places.append(np.searchsorted(coordinates[inner], rows[inner]))
        shape.append(len(coordinates[inner]))
    schema = run.schema(table)
    known = read_back(table, schema)
    fixed = _fixed(run, table, axes)
    aside = {*coordinates, "model", *fixed}
    variables = {
        name: (
            list(coordinates),
            _box(rows[name], places, shape),
            {"units": known[name].unit, "long_name": known[name].says},
        )
        for name in rows.columns
        if name not in aside
    }
    attributes = {"sweep": run.plan.sweep.stem, "plan": run.manifest.plan, "question": run.question}
    attributes["version"] = whose(schema).get("version", "")
    return xr.Dataset(variables, coordinates, {**attributes, **fixed})


def _box(values: pd.Series, places: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """A column in its place in the box, whose first axes are the cells, the last one fastest."""
    found = values.to_numpy()
    inner = shape[-1] if len(places) > 1 else 1
    flat = places[0] * inner + (places[1] if len(places) > 1 else 0)
    size = int(np.prod(shape, dtype=np.int64))
    if len(found) < size and found.dtype.kind in "iub":  # something is not there, which whole numbers cannot say
        found = found.astype(float if found.dtype.kind != "b" else object)
    box = np.full(size, np.nan if found.dtype.kind == "f" else None if found.dtype == object else 0, found.dtype)
    box[flat] = found
    return box.reshape(shape)


def _labels(axis: Axis) -> list[Any]:
    """What an axis is labelled with: its values, as words where they are not all numbers or all words."""
    if axis.name is None:
        return [label(dict(case)) or "as it is" for case in axis.values]
    alike = all(isinstance(v, int | float) for v in axis.values) or all(isinstance(v, str) for v in axis.values)
    return list(axis.values) if alike else [str(value) for value in axis.values]


def _fixed(run: Run, table: str, axes: Sequence[Axis]) -> Mapping[str, Any]:
    """The settings that are the same in every model, by dotted name."""
    if table != "models":
        return {}
    swept = {name for axis in axes for name in axis.names} | {*run.varying(over=())}
    constant = [name for name in run.setting_columns if name not in swept]
    found = {name: as_python(run.models[name].iloc[0]) for name in constant}
    return {name: value for name, value in found.items() if value is not None}
