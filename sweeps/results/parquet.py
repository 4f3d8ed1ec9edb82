"""Parquet files of a run folder: whole, or the rows of some models a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unreadable


def read_table(path: Path, remedy: Callable[[], str]) -> pd.DataFrame:
    """The whole table. Raises `FolderError`, with the ``remedy``, where it is not there or damaged."""
    with _opened(path, remedy) as file:
        # Of bytes: Arrow's threads may outlive a Python file at exit, and then abort the process.
        return pq.read_table(pa.BufferReader(file.read())).to_pandas()


def read_schema(path: Path, remedy: Callable[[], str]) -> pa.Schema:
    """Names, types and metadata of its columns. Raises as `read_table`."""
    with _opened(path, remedy) as file:
        return pq.ParquetFile(file, pre_buffer=False).schema_arrow


def read_rows(path: Path, remedy: Callable[[], str], models: Sequence[int], columns: Sequence[str]) -> pd.DataFrame:
    """The rows that are of ``models``, with ``model`` and whichever of ``columns`` the table has, in its order; no more
    of the file is in memory than a piece. Raises as `read_table`.
    """
    with _opened(path, remedy) as file:
        held = pq.ParquetFile(file, pre_buffer=False)
        schema = pa.schema(
            [held.schema_arrow.field(name) for name in ("model", *columns) if name in held.schema_arrow.names]
        )
        pieces = held.iter_batches(columns=schema.names, use_threads=False)
        found = [
            piece.filter(pa.array(np.isin(piece["model"].to_numpy(zero_copy_only=False), models))) for piece in pieces
        ]
        return pa.Table.from_batches(found, schema).to_pandas()


@contextmanager
def _opened(path: Path, remedy: Callable[[], str]) -> Iterator[IO[bytes]]:
    """The file to read. What goes wrong meanwhile is a `FolderError` that says what to do."""
    try:
        with atomic.opened(path, through_links=True) as file:
            yield file
    except FileNotFoundError:
        raise FolderError(f"{path}: not there yet: {remedy()}") from None
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, KeyError, pa.ArrowException):
        raise FolderError(f"{path}: damaged: {remedy()}") from None
