"""Every run, once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from .running import bytes_are_equal_here, run_all


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs of `running.RUNS`."""
    folder = tmp_path_factory.mktemp("golden")
    run_all(folder)
    return folder


@pytest.fixture(scope="session")
def exact(runs: Path) -> bool:
    """Whether bytes and numbers must be equal, or near."""
    return bytes_are_equal_here(runs)
