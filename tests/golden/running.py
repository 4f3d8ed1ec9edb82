"""The runs whose folders are recorded: every setting and choice, on both engines where both can."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors import safe_open

from .door import door, files_of
from .text import DATA, read, rounded

FUSED, AUTOGRAD = ("--engine", "fused"), ("--engine", "autograd")
BOTH = ("activations", "laws", "values", "firing", "layers", "training", "pressed", "decoders", "wild")
RUNS: dict[str, list[tuple[str, ...]]] = {
    **{f"{name}_autograd": [(name, *AUTOGRAD)] for name in (*BOTH, "outputs", "tasks", "not_dense")},
    **{f"{name}_fused": [(name, *FUSED)] for name in BOTH},
    "outputs_fused": [("outputs", *FUSED, "--grid", "model.output=linear,relu")],
    "tasks_fused": [("tasks", *FUSED, "--set", "task.loss=squared")],
    "defaults": [("defaults",)],
    "axes": [("axes",)],
    "extended": [("axes", "--set", "seed=0"), ("axes", "--extend")],
}
"""By run: the sweeps that its folder is made of, one after the other."""
TABLES = ("models", "features", "neurons", "targets", "curves")
"""those of a run; that of targets only where these are not features"""
OF_TABLES = ("pyarrow", "scipy")
"""on whose versions the bytes of tables depend beside those that a manifest names"""


def run_all(folder: Path) -> None:
    """Make every run in ``folder``."""
    for name in RUNS:
        run(name, folder)


def run(name: str, folder: Path) -> None:
    """Make one run, ``folder/name``."""
    for sweep, *options in RUNS[name]:
        answer = door("sweep", str(DATA / "sweeps" / f"{sweep}.toml"), "--out", str(folder / name), *options, "--json")
        assert answer.code == 0, answer.err


def made_on(folder: Path) -> dict[str, str]:
    """What the bytes of the runs in ``folder`` depend on: the processor, and versions of all but this program."""
    versions = json.loads((folder / next(iter(RUNS)) / "manifest.json").read_text())["versions"]
    return {**versions, **{name: importlib.metadata.version(name) for name in OF_TABLES}}


def bytes_are_equal_here(folder: Path) -> bool:
    """Whether this machine writes the bytes of the one on which ``data/`` was recorded.

    Another version of this program must write them too, or be recorded anew.
    """
    others = [{**each, "toymodels": ""} for each in (made_on(folder), read("made_on.json"))]
    return others[0] == others[1]


def digests(run: Path) -> dict[str, str]:
    """The SHA-256 of every file of a run folder but its manifest, which names versions."""
    files = {str(path.relative_to(run)): path.read_bytes() for path in files_of(run)}
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "manifest.json"}


def manifest(run: Path) -> dict[str, Any]:
    """The manifest, its versions by name only."""
    said = json.loads((run / "manifest.json").read_text())
    return {**said, "versions": sorted(said["versions"])}


def table(path: Path) -> dict[str, Any]:
    """A table: how many rows, and in order each column's name, type and values; one value where they are all alike."""
    rows = pq.read_table(path)
    columns: list[list[Any]] = []
    for field in rows.schema:
        values = rounded(rows[field.name].to_pylist())
        alike = bool(values) and all(value == values[0] for value in values)
        columns.append([field.name, str(field.type), values[:1] if alike else values])
    return {"rows": rows.num_rows, "columns": columns}


def types_of(of: dict[str, Any]) -> list[str]:
    """Of what `table` gives the columns in order, with their types."""
    return [f"{name}: {kind}" for name, kind, _ in of["columns"]]


def values_of(of: dict[str, Any]) -> dict[str, list[Any]]:
    """Of what `table` gives the values by column, one where they are all alike."""
    return {name: values for name, _, values in of["columns"]}


def tables(run: Path) -> dict[str, Any]:
    """Every table of a run."""
    paths = {name: run / f"{name}.parquet" for name in TABLES}
    return {name: table(path) for name, path in paths.items() if path.exists()}


def packs(run: Path) -> list[Path]:
    """The packs of a run, in order."""
    return sorted((run / "packs").iterdir())


def pack(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """The metadata of a pack, and its tensors."""
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in sorted(file.keys())}
