"""The README and CONTRIBUTING, run: every command and every Python block, small, in the reader's order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SMALL = ["--set", "train.steps=20", "--set", "train.batch=32", "--set", "eval.samples=256"]
COMMAND = [sys.executable, "-c", "from toymodels.cli import app; app()"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks(README, "sh") for line in block.splitlines() if line.strip()]


def questions() -> list[list[str]]:
    """The cells of every row of the table of questions: question, command, answer."""
    table = README.partition("## Questions and answers")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def make_targets() -> set[str]:
    return set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_is_a_front_page():
    assert len(README.splitlines()) < 120
    assert (ROOT / re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)[0]).exists()


def test_every_command_of_the_readme_is_run_here_or_by_ci():
    others = [line for line in commands() if not line.startswith("toymodels ")]
    ci, wheel = (ROOT / ".ci" / "run").read_text(), (ROOT / "tests" / "wheel.sh").read_text()
    for line in others:
        assert line in ci if line.startswith("make ") else line == "pip install ." and "pip install" in wheel, line
    mentioned = set(re.findall(r"`make (\w+)`", README))
    assert mentioned <= make_targets()
    assert {f"make {target}" for target in mentioned} <= set(ci.splitlines())


def test_every_question_has_a_command_that_is_there_and_an_answer():
    from toymodels.sweeps import studies
    from toymodels.sweeps.spec.shipped import shipped

    assert len(questions()) > len(studies.NAMES)
    assert all(len(row) == 3 and all(row) for row in questions())
    told = " ".join(command for _, command, _ in questions())
    named = {"sweep", "answer", "verdict", "inspect", "measure-transformer"}
    assert set(re.findall(r"`toymodels ([\w-]+)", told)) <= named
    assert set(re.findall(r"`toymodels sweep (\w+)", told)) <= set(shipped())
    assert set(re.findall(r"`toymodels answer (\w+)", told)) == set(studies.NAMES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the README's toymodels commands have been run, in order, with sweeps made small."""
    where = tmp_path_factory.mktemp("reader")
    for line in commands():
        program, *arguments = shlex.split(line)
        if program != "toymodels":
            continue
        if arguments[0] == "sweep":
            arguments += SMALL
        result = subprocess.run(
            [*COMMAND, *arguments],
            cwd=where,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert result.returncode == 0, f"{line}: {result.stderr}"
        assert result.stdout, f"{line} printed nothing"
    return where


def test_every_toymodels_command_works(folder):
    assert (folder / "runs" / "tms_intro" / "tms_intro.png").exists()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_python_blocks_run_as_they_stand(page, folder):
    program = "\n".join(blocks((ROOT / page).read_text(), "python"))
    program = program.replace("steps=1000", "steps=20")
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_sweep_file_in_the_docs_is_a_sweep_file():
    from toymodels.sweeps.spec.names import setting_names
    from toymodels.sweeps.spec.sweep import parse

    (text,) = blocks((ROOT / "docs" / "SWEEPS.md").read_text(), "toml")
    sweep = parse(text, "docs", "docs/SWEEPS.md")
    assert len(sweep) == 2 * 6 * 4 * 8
    sweep.settings(0)
    tables = {"features.frequency", "features.importance", "features.firing.kind"}
    leaves = {name.rpartition(".")[2] for name in setting_names() - tables}
    undocumented = {leaf for leaf in leaves if not re.search(rf"\b{leaf}\b", (ROOT / "docs" / "SWEEPS.md").read_text())}
    assert not undocumented


def test_every_fault_of_the_docs_has_its_test():
    rows = [line for line in (ROOT / "docs" / "FAULTS.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert {int(row.split("|")[1]) for row in rows} == set(range(1, 38))
    for row in rows:
        path, _, name = row.rpartition("|")[0].split("`")[-2].partition("::")
        text = (ROOT / path).read_text()
        assert not name or re.search(rf"^(def {name}\(|{name} =)", text, re.MULTILINE), row
        assert not name or ("*f*" in row) == bool(re.search(r"mark\.(kill|dask)", text)), row
