"""A small trained run of which figures ask what its models do, with tiers that are given to its features."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import BODY
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse

GRID = '[grid]\n"model.activation" = ["solu"]\n"model.layer_norm" = [false, true]\nseed = { range = [0, 4] }\n'
TIERS = ["neuron", "neuron", "neuron", "hidden", "hidden", "lost"]


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
