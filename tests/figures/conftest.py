"""A small trained run of which figures ask what its models do, with tiers that are given to its features; and the
browser in which reports are opened: Debian's Chromium, headless, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BODY
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GRID = '[grid]\n"model.activation" = ["solu"]\n"model.layer_norm" = [false, true]\nseed = { range = [0, 4] }\n'
TIERS = ["neuron", "neuron", "neuron", "hidden", "hidden", "lost"]

ABSENT = "no Chromium here: 'apt-get install -y chromium' installs the browser that reports are tested in"
ARGUMENTS = [
    "--no-sandbox",  # as root it has none
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose features are said to be in these tiers."""
    folder: Path = tmp_path_factory.mktemp("run")
    text = BODY.replace("samples = 256", "samples = 1024").replace("density = 0.3", "density = 0.4")
    run(make_plan(parse(text + GRID, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    of = load(folder)
    features = of.features.sort_values(["model", "feature"])
    of.__dict__["features"] = features.assign(tier=TIERS * features["model"].nunique())
    of.__dict__["models"] = of.models.assign(features_neuron=3, features_hidden=2)
    return of


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Where there is none the test is skipped, and fails under CI."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(ABSENT)
        pytest.skip(ABSENT)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()
