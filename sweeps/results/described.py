"""Described: what every column of the tables is, and in which unit; as the Parquet files and docs/RUNS.md have it.

What is measured says it in `toymodels.metrics.meanings`, a setting where it is declared, a metric of one's own beside
what was measured by it, and the rest here. A file has it as metadata of each column, ``unit`` and ``description``, and
of itself, ``toymodels``: which plan its models are of, and which version built it.

    python -m toymodels.sweeps.results.described docs/RUNS.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from toymodels import __version__
from toymodels.checks import Check, Each, Flag, NumberOr, OrNone, Whole
from toymodels.metrics.meanings import MEANINGS, NUMBER, TRUTH, Meaning
from toymodels.roles import OneOf
from toymodels.sweeps.spec.schema import ALL_SETTINGS
from toymodels.sweeps.spec.settings import canonical_json

KEY = b"toymodels"
"""The one key of a file's own metadata that is ours."""
MODEL = Meaning("index", "which model, counted from 0 in plan order")
OWN: Mapping[str, Mapping[str, Meaning]] = {
    "models": {
        "model": MODEL,
        "key": Meaning("hexadecimal", "a hash of the model's settings, the same in every folder"),
        "status": Meaning("word", "ok, or diverged: then nothing is measured"),
        "diverged_step": Meaning("steps", "the step at which the model diverged and was frozen"),
        "layer_norm_eps": Meaning(NUMBER, "the eps of the LayerNorm as used, which a file may call matched"),
    },
    "features": {"model": MODEL, "feature": Meaning("index", "which feature, counted from 0")},
    "neurons": {"model": MODEL, "neuron": Meaning("index", "which neuron, counted from 0")},
    "targets": {"model": MODEL, "target": Meaning("index", "which target, counted from 0")},
    "curves": {
        "model": MODEL,
        "step": Meaning("steps", "the step, counted from 1, log-spaced (train.curve_points)"),
        "loss": Meaning("loss", "the loss of that step's batch, before its update"),
    },
}
"""The columns that are not measured, in the order of a table; settings aside."""
NONE: Mapping[str, Meaning] = {}
BEGIN, END = "<!-- {}: written by toymodels.sweeps.results.described -->", "<!-- end of {} -->"


def meaning(table: str, column: str) -> Meaning | None:
    """What a column of a table is; None of one that this version does not know."""
    if table == "models" and column in ALL_SETTINGS:
        setting = ALL_SETTINGS[column]
        return Meaning(_unit(setting.check), setting.says)
    return OWN.get(table, {}).get(column) or MEANINGS.get(table, {}).get(column)


def described(table: str, columns: pa.Schema, plan: str, others: Mapping[str, Meaning] = NONE) -> pa.Schema:
    """The schema of a table of a plan, by its hash, with what its columns are, those ``others`` that are one's own too,
    and whose the file is.
    """
    of = {"plan": plan, "table": table, "version": __version__}
    fields = [_with(field, meaning(table, field.name) or others.get(field.name)) for field in columns]
    return pa.schema(fields, {KEY: canonical_json(of).encode()})


def whose(schema: pa.Schema) -> dict[str, str]:
    """Of which plan and table a file is, and which version built it, as it says itself; nothing of an older file."""
    return json.loads((schema.metadata or {}).get(KEY, b"{}"))


def read_back(table: str, schema: pa.Schema) -> dict[str, Meaning]:
    """What the columns of a file are, as it says itself; of an older file as this version says."""
    found: dict[str, Meaning] = {}
    for field in schema:
        said = field.metadata or {}
        known = meaning(table, field.name) or Meaning("", "")
        texts = (said.get(key, text.encode()) for key, text in ((b"unit", known.unit), (b"description", known.says)))
        found[field.name] = Meaning(*(text.decode("utf-8", "replace") for text in texts))
    return found


def _with(field: pa.Field, of: Meaning | None) -> pa.Field:
    return field if of is None else field.with_metadata({"unit": of.unit, "description": of.says})


def _unit(check: Check) -> str:
    match check:
        case OrNone():
            return _unit(check.check)
        case Flag():
            return TRUTH
        case OneOf():
            return "word"
        case Each():
            return "list"
        case NumberOr():
            return f"{NUMBER}, or the word {check.instead.name}"
        case Whole():
            return "whole number"
        case _:
            return NUMBER


# ------------------------------------------------------------------------------------------------------- docs/RUNS.md


def page_table(table: str) -> str:
    """The columns of a table, settings aside, a line each: name, unit, what it is."""
    columns = {**OWN[table], **MEANINGS.get(table, {})}
    rows = (f"| `{name}` | {_cell(of.unit)} | {_cell(of.says)} |" for name, of in columns.items())
    return "\n".join(["| column | unit | |", "| --- | --- | --- |", *rows])


def with_tables(page: str, tables: Iterable[str] = OWN) -> str:
    """The page with each table between its marks; raises ``ValueError`` where it lacks them."""
    for table in tables:
        begin, end = BEGIN.format(table), END.format(table)
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"expected the marks {begin} and {end}")
        page = f"{before}{begin}\n{page_table(table)}\n{end}{after}"
    return page


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_tables(file.read_text(encoding="utf-8")), encoding="utf-8")
