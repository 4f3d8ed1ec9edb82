"""What every command prints about a tiny run of five arms and four seeds, as JSON and as a terminal shows it."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

from .door import Answer, door, files_of
from .running import table, types_of
from .text import DATA, rounded

RUN = "runs/tiers"
TIERS = ("sweep", "tiers.toml")
FEWER = ("--set", "model.layer_norm=false", "--set", "model.activation=gelu", "--set", "seed=0")
COMMANDS: dict[str, tuple[str, ...]] = {
    "list": ("list",),
    "doctor": ("doctor",),
    "sweep_dry_run": (*TIERS, *FEWER, "--dry-run"),
    "sweep": TIERS,
    "sweep_again": TIERS,
    "show": ("show", RUN),
    "status": ("status", RUN),
    "tables": ("tables", RUN),
    "figure": ("figure", "two_tiers", RUN),
    "verdict": ("verdict", RUN),
    "answer": ("answer", "how_linear", RUN),
    "report": ("report", RUN),
    "sweep_shard_of_two": (*TIERS, "--out", "shared", "--shard", "1/2"),
    "status_of_a_shard": ("status", "shared"),
    "show_of_a_shard": ("show", "shared"),
    "sweep_last_shard": (*TIERS, "--out", "shared", "--shard", "0/2"),
    "sweep_fewer": (*TIERS, *FEWER, "--out", "small"),
    "sweep_extend": (*TIERS, "--out", "small", "--extend"),
    "status_extended": ("status", "small"),
    "sweep_diverging": ("sweep", "wild.toml"),
    "show_diverging": ("show", "runs/wild"),
    "sweep_repeated": (*TIERS, "--out", "repeated", *FEWER, "--grid", "model.layer_norm_eps=1e-5,1e-12"),
    "sweep_signed": (*TIERS, "--out", "signed", *FEWER, "--set", "features.signed=true"),
    "sweep_output": (*TIERS, "--out", "output", *FEWER, "--set", "model.output=solu"),
    "doctor_clear_cache": ("doctor", "--clear-cache"),
}
"""By name, in the order in which they are said: each first with and then without ``--json``."""
FILES = ("tiers", "wild")
EVIDENCE = ("evidence", "evidence_neurons", "evidence_dictionaries")
HELP = (
    (),
    ("sweep",),
    ("figure",),
    ("show",),
    ("verdict",),
    ("answer",),
    ("tables",),
    ("report",),
    ("list",),
    ("status",),
    ("doctor",),
)
MEASURED = ("seconds", "seconds_low", "seconds_high", "memory_bytes", "disk_bytes", "packs_a_minute")
"""what depends on the machine, and on what else it does"""


def say_all(folder: Path) -> dict[str, Any]:
    """Every command of `COMMANDS` said in ``folder``: by file of ``data/said``, what was said."""
    for name in FILES:
        shutil.copyfile(DATA / "sweeps" / f"{name}.toml", folder / f"{name}.toml")
    with chdir(folder):
        said: dict[str, Any] = {name: _said(name, command) for name, command in COMMANDS.items()}
        said["files"] = [str(path) for path in files_of(Path())]
        said["evidence"] = {name: _shape(table(Path(RUN) / f"{name}.parquet")) for name in EVIDENCE}
    said["help"] = {" ".join(("toymodels", *command)): _lines(door(*command, "--help").out) for command in HELP}
    said["help"] |= {"typer": importlib.metadata.version("typer")}
    return said


def _said(name: str, command: tuple[str, ...]) -> dict[str, Any]:
    environment = {"NUMBA_CACHE_DIR": str(Path("kernels").absolute())} if name == "doctor_clear_cache" else {}
    answer = door(*command, "--json", **environment)
    plain = door(*command, **environment)
    stable = {"doctor": _kinds, "status": _versionless, "verdict": _versionless}.get(command[0], _same)
    return {
        "command": " ".join(command),
        "plain": {**_spoken(plain), "out": [] if command == ("doctor",) else _lines(_without_measured(plain.out))},
        "json": {**_spoken(answer), "out": rounded(_stable(answer.json(), stable)) if answer.out else None},
    }


def _spoken(answer: Answer) -> dict[str, Any]:
    return {"code": answer.code, "err": _lines(answer.err)}


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def _without_measured(text: str) -> str:
    """``text`` without the lines of a dry run that tell sizes and times, and without a rate."""
    lines = [
        line.partition(":")[0] if line.startswith(("memory:", "disk:", "time:")) else line for line in text.split("\n")
    ]
    return "\n".join(line.partition("), ")[0] + ")" if " packs a minute" in line else line for line in lines)


def _stable(document: dict[str, Any], stable: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    return {key: f"<{key}>" if key in MEASURED else value for key, value in stable(document).items()}


def _same(document: dict[str, Any]) -> dict[str, Any]:
    return document


def _kinds(document: dict[str, Any]) -> dict[str, Any]:
    """Of every fact whether it is a word or a number."""
    return {
        key: "number" if isinstance(value, int | float) else type(value).__name__ for key, value in document.items()
    }


def _versionless(document: dict[str, Any]) -> dict[str, Any]:
    """The document, of versions the names alone."""
    return document | {
        key: sorted(value) if isinstance(value, dict) else f"<{key}>"
        for key, value in document.items()
        if key in ("versions", "toymodels")
    }


def _shape(of: dict[str, Any]) -> dict[str, Any]:
    """Of a table its columns in order, their types, and how many rows there are."""
    return {"rows": of["rows"], "columns": types_of(of)}
