"""Evidence tables: what a verdict rests on, feature by feature and neuron by neuron, as Parquet.

    evidence.parquet                 a row a regime x LayerNorm eps x arm x seed x feature
    evidence_neurons.parquet         a row a regime x LayerNorm eps x arm x seed x neuron x class of activation
    evidence_dictionaries.parquet    a row a regime x LayerNorm eps x arm x seed x dictionary

The columns are those that tiers and predictions state; a prediction whose rows are no features has a table of its own.
``tier`` is that of the feature in SoLU + LN of the same seed, in every arm. What is undefined or was not measured is
null. Rows are written as they are measured, so any number of them may come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from toymodels.hypotheses import tiers as tiers_of
from toymodels.hypotheses.evidence import OF_TIERS, Evidence, Measured
from toymodels.hypotheses.prediction import OwnTable
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.hypotheses.tiers import AnalysisSetting, Tiers
from toymodels.metrics.tiers import Tier
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unwritable

FEATURES = "evidence"
"""The name of the table that has a row a feature."""
WORDS = pa.dictionary(pa.int16(), pa.string())
OF_MODEL = [
    ("regime", WORDS),
    ("primary", pa.bool_()),
    ("eps", WORDS),
    ("arm", WORDS),
    ("seed", pa.int64()),
    ("model", pa.int64()),
]
"""The columns that say of which model a row is, in every table."""
OF_FEATURE = [("feature", pa.int32()), ("tier", WORDS), ("density", pa.float64()), ("importance", pa.float64())]
"""The columns that say what a feature is, beside those that were measured of it."""
FEATURE_COLUMNS = (*tiers_of.COLUMNS, *(name for prediction in PREDICTIONS for name in prediction.columns))
"""The columns that were measured of a feature."""


def _own_schema(table: OwnTable) -> pa.Schema:
    index = [(name, WORDS if kind is str else pa.from_numpy_dtype(kind)) for name, kind in table.index.items()]
    return pa.schema([*OF_MODEL, *index, *((name, pa.float32()) for name in table.columns)])


SCHEMAS: dict[str, pa.Schema] = {
    FEATURES: pa.schema([*OF_MODEL, *OF_FEATURE, *((name, pa.float32()) for name in FEATURE_COLUMNS)]),
    **{p.own_table.name: _own_schema(p.own_table) for p in PREDICTIONS if p.own_table is not None},
}
"""The columns of every table with their types, by the table's name."""


@dataclass(frozen=True)
class Writer:
    """The tables of a run folder while they are written, by name."""

    folder: Path
    tables: Mapping[str, pq.ParquetWriter]

    def write(self, rows: Iterable[tuple[str, pa.Table]]) -> None:
        """Add rows, each the name of a table and what to add to it."""
        with _unwritable_named(self.folder):
            for name, table in rows:
                self.tables[name].write_table(table)


@contextmanager
def writing(folder: Path) -> Iterator[Writer]:
    """Write the tables into a run folder: whole, or what was there before. Raises `FolderError`."""
    with ExitStack() as stack:
        writers = {}
        for name, schema in SCHEMAS.items():
            with _unwritable_named(folder):
                file = stack.enter_context(atomic.writing(folder / f"{name}.parquet"))
                writers[name] = stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd"))
        yield Writer(folder, writers)
        with _unwritable_named(folder):
            stack.close()


@contextmanager
def _unwritable_named(folder: Path) -> Iterator[None]:
    """Raise `FolderError`, which names the file, where it cannot be written."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder / f"{FEATURES}.parquet", error) from None


def rows_of(
    evidence: Evidence, primary: bool, seeds: Sequence[int], models: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, pa.Table]]:
    """The rows of some seeds of a regime at one eps, table by table; ``models`` has the numbers of their models, by
    arm."""
    tiers = Tiers.of(evidence, AnalysisSetting(evidence.eps))
    for arm, measured in evidence.arms.items():
        of_arm = {"regime": evidence.regime, "primary": primary, "eps": evidence.eps, "arm": arm}
        of_models = {"seed": np.asarray(seeds), "model": np.asarray(models[arm])}
        rows: dict[str, Mapping[str, object]] = {FEATURES: _feature_rows(measured, tiers, evidence.covariates)}
        for prediction in PREDICTIONS:
            if prediction.own_table is not None and prediction.key in measured:
                rows[prediction.own_table.name] = prediction.own_rows(measured[prediction.key])
        yield from ((name, _table(name, columns, of_arm, of_models)) for name, columns in rows.items() if columns)


def _feature_rows(measured: Measured, tiers: Tiers, covariates: np.ndarray) -> dict[str, object]:
    """The columns of the features of one arm; ``place`` says of which model of the arm a row is."""
    place, feature = np.indices(covariates.shape[:2]).reshape(2, -1)
    words = np.array([tier.name.lower() for tier in Tier], dtype=object)
    columns: dict[str, object] = {
        "place": place,
        "feature": feature,
        "tier": words[np.searchsorted(list(Tier), tiers.each.numpy().ravel())],
        "density": np.exp(covariates[:, :, 0]).ravel(),
        "importance": np.exp(covariates[:, :, 1]).ravel(),
        **dict.fromkeys(FEATURE_COLUMNS, torch.full(covariates.shape[:2], torch.nan)),
    }
    if OF_TIERS in measured:
        columns |= {name: measured[OF_TIERS][quantity] for name, quantity in tiers_of.COLUMNS.items()}
    for prediction in PREDICTIONS:
        if prediction.key in measured:
            columns |= prediction.evidence_columns(measured[prediction.key], tiers)
    return columns


def _table(
    name: str, columns: Mapping[str, object], of_arm: Mapping[str, object], of_models: Mapping[str, np.ndarray]
) -> pa.Table:
    """Rows of a table: their columns, and once a row what is said of the arm and of its models."""
    place = np.asarray(columns["place"])
    repeated = {name: np.full(len(place), value) for name, value in of_arm.items()}
    repeated |= {name: values[place] for name, values in of_models.items()}
    schema, arrays = SCHEMAS[name], []
    for at in schema:
        values = repeated[at.name] if at.name in repeated else columns[at.name]
        values = values.numpy().ravel() if isinstance(values, Tensor) else np.asarray(values)
        undefined = ~np.isfinite(values) if values.dtype.kind == "f" else None
        arrays.append(pa.array(values, mask=undefined).cast(at.type))
    return pa.Table.from_arrays(arrays, schema=schema)
