"""docs/COMING_FROM.md, run: every command and every block, in the reader's order, with fewer steps."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "COMING_FROM.md").read_text()
SMALL = ["--set", "train.steps=20", "--set", "train.batch=32", "--set", "eval.samples=256"]
STEPS = re.compile(r"steps=\d+")


def blocks() -> list[tuple[str, str]]:
    """Language and text of every block, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(place: Path, *command: str) -> str:
    result = subprocess.run(
        [sys.executable, *command],
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, f"{command}: {result.stderr}"
    assert result.stdout, f"{command} printed nothing"
    return result.stdout


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All that the page prints, run in one folder."""
    place, printed = tmp_path_factory.mktemp("coming"), []
    for language, text in blocks():
        if language == "python":
            printed.append(run(place, "-c", STEPS.sub("steps=20", text)))
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "toymodels"
            small = SMALL if arguments[0] == "sweep" else []
            printed.append(run(place, "-m", "toymodels", *arguments, *small))
    return "\n".join(printed)


def test_every_line_of_the_page_runs(said: str) -> None:
    assert "torch.Size([10, 80])" in said


def test_the_probability_of_a_pair_is_a_members(said: str) -> None:
    found = dict(re.findall(r"^(\w+): feature 0 [\d.]+, with feature 1 ([\d.]+)", said, re.MULTILINE))
    assert abs(float(found["Correlated"]) - 0.1) < 0.02
    assert float(found["Anticorrelated"]) == 0
    assert abs(float(found["Together"]) - 0.1) < 0.02
    alone = re.findall(r"^\w+: feature 0 ([\d.]+)", said, re.MULTILINE)
    assert [abs(float(share) - 0.1) < 0.02 for share in alone] == [True] * 3
