"""Curves: the loss of every model on its way, as a table derived from the packs.

    curves.parquet     a row a model x step: the batch loss at that step, before its update

Steps are counted from 1 and log-spaced (``train.curve_points``). Once a model has diverged its loss is null.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toymodels.sweeps.plan.plan import Pack
from toymodels.sweeps.results.described import described
from toymodels.sweeps.results.tables import MODELS_AT_ONCE, ROWS_AT_ONCE, Stretch, windows
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import Mapped

NAME = "curves"
SCHEMA = pa.schema([("model", pa.int64()), ("step", pa.int64()), ("loss", pa.float64())])


def build(store: Store, packs: Sequence[Pack]) -> None:
    """Write the curves of these packs, which are stored, in the order of models and steps."""
    longest = max((Mapped(store.pack_path(pack)).shape("curve_step")[0] for pack in packs), default=1)
    models_at_once = min(MODELS_AT_ONCE, max(1, ROWS_AT_ONCE // longest))
    schema = described(NAME, SCHEMA, store.manifest.plan)
    with (
        store.writing(store.path / f"{NAME}.parquet") as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for window in windows(packs, models_at_once):
            rows = pa.concat_tables([_rows(store, part, schema) for part in window])
            writer.write_table(rows.sort_by([("model", "ascending"), ("step", "ascending")]))


def _rows(store: Store, part: Stretch, schema: pa.Schema) -> pa.Table:
    """The loss curves of some models of a pack, a row a model x step."""
    pack = Mapped(store.pack_path(part.pack))
    step = pack.rows("curve_step", 0, pack.shape("curve_step")[0])
    loss = pack.rows("curve", part.first, part.last).astype(np.float64)
    diverged = pack.rows("diverged_step", part.first, part.last)[:, None]
    undefined = ((diverged > 0) & (step >= diverged)) | ~np.isfinite(loss)
    columns = (np.repeat(np.asarray(part.models, np.int64), len(step)), np.tile(step, len(loss)))
    arrays = [*map(pa.array, columns), pa.array(loss.ravel(), mask=undefined.ravel())]
    return pa.table(arrays, schema=schema)
