"""The document of a reply: ``<study>.json`` in the run folder, which the study's figure is drawn from."""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import as_python
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unreadable, unwritable
from toymodels.sweeps.studies.reply import Reply

SCHEMA = 1
"""The version of the form of these documents."""
MOST_BYTES = 2**26


def document(name: str, reply: Reply) -> dict[str, Any]:
    """What the file of study ``name`` holds: the reply, each table by its columns and rows; null is undefined."""
    return {
        "schema": SCHEMA,
        "toymodels": version("toymodels"),
        "study": name,
        "question": reply.question,
        "answer": reply.sentence,
        "notes": list(reply.notes),
        "tables": {
            title: {"columns": [str(column) for column in table.columns], "rows": _rows(table)}
            for title, table in reply.tables.items()
        },
    }


def write(run: Run, name: str, reply: Reply) -> Path:
    """Write ``<name>.json`` into the run folder; returns its path."""
    path = run.path / f"{name}.json"
    text = json.dumps(document(name, reply), indent=1, allow_nan=False)
    try:
        atomic.write(path, text.encode() + b"\n")
    except OSError as error:
        raise unwritable(path, error) from None
    return path


def read(run: Run, name: str) -> Reply:
    """The reply of study ``name`` that the run folder holds.

    Raises `FolderError` before ``toymodels answer`` ran, or where another version of it did.
    """
    path, remedy = run.path / f"{name}.json", f"'toymodels answer {name} {run.path}' makes it"
    try:
        held = json.loads(atomic.read(path, MOST_BYTES, through_links=True))
        if held["schema"] != SCHEMA or held["study"] != name:
            raise FolderError(f"{path}: of another version of the study: {remedy}")
        tables = {title: pd.DataFrame(of["rows"], columns=of["columns"]) for title, of in held["tables"].items()}
        reply = Reply(held["question"], held["answer"], tables, tuple(held["notes"]))
        if not all(isinstance(text, str) for text in (reply.question, reply.sentence, *reply.notes)):
            raise ValueError
        return reply
    except FileNotFoundError:
        raise FolderError(f"{path}: not there yet: {remedy}") from None
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise FolderError(f"{path}: damaged: {remedy}") from None


def _rows(table: pd.DataFrame) -> list[list[Any]]:
    return [[_cell(as_python(value)) for value in row] for row in table.itertuples(index=False, name=None)]


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
