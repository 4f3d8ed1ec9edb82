"""What every test shares: thread and hypothesis profiles, the tiny sweep, the door, a folder's bytes, stream words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, settings
from typer.testing import CliRunner

from toymodels.cli import app

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# One thread, here and in the processes that tests start: two processes of two threads on two cores fight.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """Triton interprets kernels on the CPU, here and in the processes that tests start; tests marked cuda compile them.

    It hears of this when it is imported, so one run of tests does the one or the other.
    """
    if config.option.markexpr != "cuda":
        os.environ["TRITON_INTERPRET"] = "1"


BODY = """
question = "tiny?"
[features]
n = 6
density = 0.3
[model]
hidden = 2
[train]
steps = 30
batch = 16
[eval]
samples = 256
"""
"""the tiny sweep without its grid: one model"""
GRID = """
[grid]
"model.activation" = ["relu", "solu"]
"model.layer_norm" = [false, true]
seed = { range = [0, 2] }
"""
TINY = BODY + GRID
"""the tiny sweep: eight models in four packs"""
TINIER = BODY + '[grid]\n"model.activation" = ["relu", "solu"]\nseed = [0, 1]\n'
"""half of the tiny sweep: four models in two packs"""
DOOR = "from toymodels.cli import app; app()"
"""a program that is the command"""
IN_FRONT = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {DOOR}"
"""the command as from a terminal: in the background a shell has SIGINT ignored, which the command respects"""


class Answer(NamedTuple):
    """What a command said: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one document on stdout, which has neither NaN nor infinities."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


def answered(code: int, out: str, err: str) -> Answer:
    """An answer without a traceback, whatever the command was."""
    assert "Traceback" not in err
    assert "Traceback" not in out
    return Answer(code, out, err)


def door(*arguments: object) -> Answer:
    """A command in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return answered(result.exit_code, result.stdout, result.stderr)


def process(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """A command in a process of its own, one thread, so that it does not fight with this one for the cores."""
    command = [sys.executable, "-c", IN_FRONT, *(str(argument) for argument in arguments)]
    return subprocess.Popen(
        command, stdout=-1, stderr=-1, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    )


def finish(started: subprocess.Popen[str]) -> Answer:
    """What a command in a process of its own said when it had ended."""
    out, err = started.communicate(timeout=60)
    return answered(started.returncode, out, err)


def listing(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below ``folder``, by its path inside it, but for lock files."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def word(seed: int, feature: int, sample: int, step: int, domain: int) -> int:
    """A word of the stream in whole numbers, Philox-4x32-10 as `toymodels.random` describes it."""
    counter, key = [feature, sample >> 2, step, domain], [seed % 2**32, seed >> 32]
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            second >> 32 ^ counter[1] ^ key[0],
            second % 2**32,
            first >> 32 ^ counter[3] ^ key[1],
            first % 2**32,
        ]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return counter[sample & 3]
