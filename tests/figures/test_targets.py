"""Figures of features leave out models whose targets are others, and say so; of such models alone they are refused."""

from __future__ import annotations

import importlib

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.text import Text

from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse

BOTH = """
[features]
n = 5
density = 0.3
[model]
hidden = 2
tied = false
output = "linear"
[train]
steps = 5
batch = 16
[eval]
samples = 256
[grid]
"task.target" = ["identity", { kind = "and", pairs = 3 }]
seed = [0, 1]
"""
PAIRS = BOTH.replace('["identity", { kind', "[{ kind")


@pytest.fixture(scope="module", params=["solu_neurons", "two_tiers"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def ran(text: str, folder_of: pytest.TempPathFactory) -> Run:
    folder = folder_of.mktemp("drawn")
    run(make_plan(parse(text, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


def test_models_of_pairs_are_left_out_and_that_is_said(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    of = ran(BOTH, tmp_path_factory)
    figure = importlib.import_module(f"toymodels.figures.{name}").draw(of)
    plt.close(figure)
    written = [text.get_text().replace("\n", " ") for text in figure.findobj(Text) if isinstance(text, Text)]
    assert sum("2 models whose targets are not features are left out" in text for text in written) == 1
    sizes = [
        len(np.asarray(axis.get_offsets()))
        for axis in figure.findobj(PathCollection)
        if isinstance(axis, PathCollection)
    ]
    models = {"solu_neurons": 2, "two_tiers": 2 * 5}[name]
    assert max(sizes) == models
    if name == "two_tiers":
        assert any("(2 models)" in text for text in written)


def test_a_run_of_pairs_alone_is_refused_in_a_sentence(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    of = ran(PAIRS, tmp_path_factory)
    with pytest.raises(FolderError, match=r"this figure needs .*models that say what each feature is"):
        importlib.import_module(f"toymodels.figures.{name}").draw(of)
