"""Names: what a user, or another package, calls by the name of one of our folders is not in our way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OURS = ["cli", "sweeps", "figures"]


def run(place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A Python process that finds modules of ``place`` before all others."""
    path = os.pathsep.join(each for each in (str(place), os.environ.get("PYTHONPATH")) if each)
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, *command], cwd=place, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("as_package", [False, True])
def test_a_users_own_module_breaks_neither_the_command_nor_the_api(tmp_path: Path, name: str, as_package: bool) -> None:
    theirs = tmp_path / name / "__init__.py" if as_package else tmp_path / f"{name}.py"
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("MINE = True\n")
    listed = run(tmp_path, "-m", "toymodels", "list")
    assert listed.returncode == 0, listed.stderr
    assert "two_tiers" in listed.stdout
    script = f"import toymodels as tm, {name}, toymodels.sweeps.results.reading; assert {name}.MINE; tm.load('nothing')"
    loaded = run(tmp_path, "-c", script)
    assert "no such run folder" in loaded.stderr


def test_a_users_script_may_be_called_sweeps(tmp_path: Path) -> None:
    (tmp_path / "sweeps.py").write_text("import toymodels as tm\nprint(tm.Zipf(1.0))\n")
    assert run(tmp_path, "sweeps.py").stdout == "Zipf(exponent=1.0)\n"


def test_the_module_is_the_command() -> None:
    help_ = run(Path.cwd(), "-m", "toymodels", "--help").stdout
    assert help_.startswith("Usage: toymodels ")
