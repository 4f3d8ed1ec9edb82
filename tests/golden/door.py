"""The door: a command in this process, on one thread, and the files that it leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner

from toymodels.cli import app

ENVIRONMENT: dict[str, str | None] = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "TOYMODELS_TRACEBACK": None}


@dataclass(frozen=True)
class Answer:
    """What a command said: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one document on stdout."""
        assert self.out, self.err
        return json.loads(self.out)


def door(*arguments: str, **environment: str) -> Answer:
    """Run a command here and now, with some variables of the environment set."""
    torch.set_num_threads(1)
    result = CliRunner(env=ENVIRONMENT | environment).invoke(app, list(arguments))
    return Answer(result.exit_code, result.stdout, result.stderr)


def files_of(folder: Path) -> list[Path]:
    """Every file below ``folder`` but for locks, in order."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".lock")]
