"""The run that reports are made of, trained once, and a copy of it for each test to change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINIER
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse

EVIL = "</script><img src=x onerror=window.hit=1>"
"""what a name says that would be more than text"""

Trained = Callable[[str], Run]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The run of a sweep, as text, in a folder of its own."""

    def train(text: str) -> Run:
        folder = tmp_path_factory.mktemp("reported")
        run(make_plan(parse(text, "tiny", "tiny.toml")), folder, "autograd", "cpu")
        return load(folder)

    return train


@pytest.fixture(scope="session")
def whole(trained: Trained) -> Path:
    """The folder of four models of two neurons: ReLU and SoLU, two seeds each."""
    return trained(TINIER.replace("tiny?", EVIL)).path


@pytest.fixture
def ran(whole: Path, tmp_path: Path) -> Run:
    """A copy, in a folder whose name is hostile too."""
    return load(shutil.copytree(whole, tmp_path / f"x{EVIL}"))
