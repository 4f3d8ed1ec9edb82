"""The page on dictionaries, run with SAELens: every Python block in the reader's order, then every command, small."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.saelens

ROOT = Path(__file__).parents[2]
SMALLER = {'"steps": 6000': '"steps": 300', "SAMPLES, BATCH = 2_000_000": "SAMPLES, BATCH = 40_000", "20_000": "2_000"}
COMMAND = [sys.executable, "-c", "from toymodels.cli import app; app()"]


def run(command: list[str], where: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=where, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout


def test_every_block_and_every_command_of_the_page_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "DICTIONARIES.md").read_text(encoding="utf-8")
    program, commands = (
        "\n".join(re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
        for language in ("python", "sh")
    )
    for large, small in SMALLER.items():
        assert large in program
        program = program.replace(large, small)
    run([sys.executable, "-W", "ignore", "-c", program], tmp_path)
    for m in range(4):
        assert (tmp_path / "saes" / str(m) / "cfg.json").exists()
        assert (tmp_path / "ours" / str(m) / "cfg.json").exists()
    lines = [line for line in commands.splitlines() if line]
    assert len(lines) == 4
    for line in lines:
        name, *arguments = shlex.split(line)
        assert name == "toymodels"
        said = run([*COMMAND, *arguments, "--samples", "2000"], tmp_path)
        assert "mcc" in said
