"""Curves: the losses that the packs hold, a row a model x step, null once a model has diverged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toymodels.sweeps.execution.deriving import rebuild
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.store import Store

PLAN = make_plan(
    parse(
        """
[features]
n = 5
density = 0.3
[model]
hidden = 2
[train]
steps = 40
batch = 8
curve_points = 12
[eval]
samples = 256
[grid]
"train.learning_rate" = [1e-3, 1e20]
"model.activation" = ["relu", "solu"]
"train.curve_points" = [3, 12]
""",
        "curves",
        "curves.toml",
    )
)


def trained(folder: Path) -> None:
    run(PLAN, folder, "autograd", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("curves")
    trained(path)
    return path


def test_a_row_is_what_the_model_lost_at_that_step(folder: Path) -> None:
    loaded = load(folder)
    assert list(loaded.curves.columns) == ["model", "step", "loss"]
    assert loaded.curves["model"].is_monotonic_increasing
    diverged = 0
    for model in range(len(PLAN)):
        of_it, pack = loaded.curves[loaded.curves["model"] == model], loaded.model(model)
        assert of_it["step"].tolist() == pack.curve_step.tolist()
        begun = loaded.models["diverged_step"][model]
        expected = pack.curve.double().numpy()
        if begun == begun:
            diverged += 1
            expected = np.where(of_it["step"] >= begun, np.nan, expected)
            assert np.isnan(expected).any()
        np.testing.assert_array_equal(of_it["loss"], expected)
    assert diverged == 4


def test_a_folder_that_lacks_it_gets_it_from_either_command(folder: Path) -> None:
    path = folder / "curves.parquet"
    before = path.read_bytes()
    path.unlink()
    trained(folder)
    assert path.read_bytes() == before
    path.unlink()
    rebuild(Store.open_existing(folder))
    assert path.read_bytes() == before
