"""How a run came to be, for the page: settings, versions, seeds, and the command that makes it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toymodels.sweeps.results.arms import as_python, title, value_text
from toymodels.sweeps.results.reading import Run

MOST_VALUES = 12
"""values of a setting, or seeds, that are listed one by one"""


@dataclass(frozen=True)
class Provenance:
    """What there is to know to believe a run, and to make it again."""

    settings: Sequence[tuple[str, str, str]]
    """of those that vary: dotted name, what it is called, its values"""
    facts: Sequence[tuple[str, str]]
    """name and value: plan hash, engine, device, versions"""
    command: str
    """makes the run again from the sweep file below"""
    remarks: Sequence[str]
    sweep_file: str


def provenance(run: Run) -> Provenance:
    """The provenance of a run: of its manifest, its sweep file and the seeds of its models."""
    said = dict(run.manifest.document())
    versions = said.pop("versions", {})
    facts = [
        ("run folder", str(run.path)),
        ("plan", str(said.get("plan", ""))),
        ("engine", f"{said.get('engine', '')}, on {said.get('device', '')}"),
        ("models", f"{said.get('models', 0):,} in {said.get('packs', 0):,} packs"),
        ("seeds", _values(run.models["seed"]) if "seed" in run.models else ""),
        ("format", f"schema {said.get('schema', '')}, numerics {said.get('numerics', '')}"),
        *((str(name), str(version)) for name, version in versions.items()),
    ]
    engine, device = (shlex.quote(str(said.get(name, "auto"))) for name in ("engine", "device"))
    remarks = []
    if said.get("sweeps"):
        remarks.append(
            f"The folder was extended: it is of {said['sweeps']} sweeps, and model numbers follow their order. "
            "The file below, the newest, has all of its models."
        )
    if said.get("tuned"):
        remarks.append(
            "The sweep is tuned: the file below has what was chosen for each arm, so nothing is tuned again."
        )
    return Provenance(
        settings=[(name, title(name), _values(run.models[name])) for name in run.varying()],
        facts=facts,
        command=f"toymodels sweep ./sweep.toml --engine {engine} --device {device}",
        remarks=remarks,
        sweep_file=run.sweep_text,
    )


def _values(column: Any) -> str:
    """The values of a column in words: each of a few, the ends of many numbers, how many there are of others."""
    values = list(dict.fromkeys(_word(value) for value in column))
    if len(values) <= MOST_VALUES:
        return ", ".join(values)
    try:
        ends = f"{value_text(as_python(column.min()))} to {value_text(as_python(column.max()))}, "
    except TypeError:
        ends = ""
    return f"{ends}{len(values):,} values"


def _word(value: Any) -> str:
    value = as_python(value)
    return (
        "none" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else value_text(value)
    )
