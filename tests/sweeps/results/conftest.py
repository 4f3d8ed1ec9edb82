"""What tests of results share: the tiny sweep, run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import TINY
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny sweep: eight models; not to be changed."""
    path = tmp_path_factory.mktemp("tiny") / "run"
    run(make_plan(parse(TINY, "tiny", "tiny.toml")), path, "autograd", "cpu")
    return path
