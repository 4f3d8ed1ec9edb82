"""The pages that say how to use the program, run: every command and Python block, small, in the reader's order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SMALL = ["--set", "train.steps=20", "--set", "train.batch=32", "--set", "eval.samples=256"]
COMMAND = [sys.executable, "-c", "from toymodels.cli import app; app()"]


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(command: list[str], where: Path) -> str:
    """What a program of ours prints in the folder ``where``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=where, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    assert result.stdout, f"{command} printed nothing"
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the page on running sweeps have been run, in order, with sweeps made small."""
    where = tmp_path_factory.mktemp("reader")
    for line in (line for block in blocks("RUNNING.md", "sh") for line in block.splitlines() if line.strip()):
        program, *arguments = shlex.split(line)
        assert program == "toymodels"
        run([*COMMAND, *arguments, *(SMALL if arguments[0] == "sweep" else [])], where)
    return where


def test_every_command_works(folder: Path) -> None:
    assert (folder / "runs" / "tms_intro" / "report.html").exists()
    assert (folder / "runs" / "small" / "two_tiers.png").exists()
    assert (folder / "runs" / "small" / "verdicts.json").exists()


def test_python_blocks_run_as_they_stand(folder: Path) -> None:
    program = "\n".join(blocks("PYTHON.md", "python"))
    small = re.sub(r"steps=\d+", "steps=20", program).replace('": 1000', '": 20')
    assert "torch.Size" in run([sys.executable, "-c", small.replace("latents=64", "latents=64, steps=20")], folder)


def test_every_question_has_a_command_that_is_there_and_an_answer() -> None:
    from toymodels.sweeps import studies
    from toymodels.sweeps.spec.shipped import shipped

    table = (DOCS / "ANSWERS.md").read_text(encoding="utf-8").partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > len(studies.NAMES)
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)
    told = " ".join(command for _, command, _ in rows)
    named = {"sweep", "answer", "verdict", "inspect", "measure-transformer"}
    assert set(re.findall(r"`toymodels ([\w-]+)", told)) <= named
    assert set(re.findall(r"`toymodels sweep (\w+)", told)) <= set(shipped())
    assert set(re.findall(r"`toymodels answer (\w+)", told)) == set(studies.NAMES)


def test_the_map_names_every_module_and_room() -> None:
    map_ = (DOCS / "MODULES.md").read_text(encoding="utf-8")
    for path in (ROOT / "toymodels").iterdir():
        if path.suffix == ".py" and path.stem != "__init__":
            assert f"{path.name} " in map_, path.name
        elif path.is_dir() and (path / "__init__.py").exists():
            assert f"{path.name}/" in map_, path.name
    for path in (ROOT / "sweeps").iterdir():
        assert not (path / "__init__.py").exists() or f"  {path.name}/" in map_, path.name
