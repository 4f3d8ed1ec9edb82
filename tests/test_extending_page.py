"""docs/EXTENDING.md, run: every example applied to a copy of the tree, in order, and its commands after it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "EXTENDING.md").read_text(encoding="utf-8")
SMALL = ("--set", "train.steps=20", "--set", "train.batch=32", "--set", "eval.samples=512")
FUSED = "kernels"
"""what the path of an example has that makes the fused engine compile anew"""


def examples() -> list[tuple[str, list[str]]]:
    """Every diff of the page with the command lines that follow it."""
    blocks = re.findall(r"^```(diff|sh)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    found: list[tuple[str, list[str]]] = []
    for language, text in blocks:
        if language == "diff":
            found.append((text, []))
        else:
            found[-1][1].extend(text.splitlines())
    return found


def touched(diff: str) -> list[str]:
    return re.findall(r"^\+\+\+ b/(.*)$", diff, re.MULTILINE)


def copied(folder: Path) -> Path:
    """The tree without what git does not know, as it is on the disk."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


def tried(tree: Path, diff: str, lines: list[str]) -> None:
    """Apply a diff to the tree and run the lines there."""
    subprocess.run(["git", "apply", "--unidiff-zero", "-"], cwd=tree, input=diff, text=True, check=True)
    for line in lines:
        program, *arguments = shlex.split(line)
        command = arguments if program == "python" else ["-m", "toymodels", *arguments]
        small = SMALL if arguments[0] == "sweep" else ()
        ran = subprocess.run(
            [sys.executable, *command, *small],
            cwd=tree,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(tree)},
        )
        assert ran.returncode == 0, f"{line}: {ran.stderr}"


def test_every_example_does_what_the_page_says(tmp_path: Path) -> None:
    tree = copied(tmp_path)
    for diff, lines in examples():
        if not any(FUSED in name for name in touched(diff)):
            tried(tree, diff, lines)
    settings = (tree / "docs" / "SWEEPS.md").read_text()
    assert all(name in settings for name in ("relu2", "falling", "model.ceiling", "log_cosh"))
    assert (tree / "runs" / "curves" / "curves.dark.svg").exists()


@pytest.mark.slow
def test_the_fused_engine_has_the_activation_once_it_is_in_the_kernels(tmp_path: Path) -> None:
    tree = copied(tmp_path)
    for diff, lines in examples()[:2]:
        tried(tree, diff, lines)


def test_the_table_names_every_file_that_an_example_touches() -> None:
    table = PAGE.partition("## An activation")[0]
    for diff, _ in examples():
        for name in touched(diff):
            assert f"`{name}`" in table or f"`{Path(name).parent.as_posix()}/`" in table, (
                f"{name} is not in the table of files"
            )


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE))), ids="::".join)
def test_the_walks_name_what_is_there(named: tuple[str, str]) -> None:
    path, name = named
    assert re.search(rf"^\s*(def|class) {name}\b", (ROOT / path).read_text(), re.MULTILINE)
