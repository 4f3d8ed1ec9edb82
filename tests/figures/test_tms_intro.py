"""tms_intro: a panel an arm, the best of its restarts, and how good that is."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from toymodels.figures import tms_intro
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse

SWEEP = """
[features]
n = 5
density = 0.3
[model]
hidden = 2
[train]
steps = 5
batch = 16
[eval]
samples = 256
[grid]
seed = [0, 1, 2, 3]
"""


def made(folder: Path, grid: str = "") -> Run:
    run(make_plan(parse(SWEEP + grid, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


def titles(of: Run) -> list[str]:
    """The titles of the panels that are there, their lines joined."""
    figure = tms_intro.draw(of)
    plt.close(figure)
    return [
        axis.get_title().replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")
        for axis in figure.axes
        if axis.get_visible()
    ]


def test_arms_are_never_pooled(tmp_path):
    """Two activations at one density are two panels, each of its own best of four and named by what sets it apart."""
    of = made(tmp_path, '"model.activation" = ["relu", "gelu"]\n')
    found = titles(of)
    assert len(found) == 2
    for title, activation in zip(found, ("relu", "gelu"), strict=True):
        rows = of.models[of.models["model.activation"] == activation]
        fraction = rows.sort_values("loss").iloc[0]["loss_fraction"]
        before, _, said = title.partition("loss fraction ")
        assert before == f"density 0.3, activation {activation} best of 4, "
        assert float(said.split()[0]) == pytest.approx(fraction, abs=0.005)


def test_what_varies_is_in_the_title_and_what_does_not_is_not(tmp_path):
    grid = (
        '"features.density" = [0.1, 0.3]\n"features.importance" = ["uniform", { law = "list", values = [1,2,3,4,5] }]\n'
    )
    found = titles(made(tmp_path, grid))
    assert len(found) == 4
    assert len(set(found)) == 4
    assert all(
        title.startswith(f"density {d}, importance") for title, d in zip(found, (0.1, 0.1, 0.3, 0.3), strict=True)
    )
    assert not any("activation" in title for title in found)


def test_too_many_panels_are_refused_in_a_sentence(tmp_path, monkeypatch):
    of = made(tmp_path, '"model.activation" = ["relu", "gelu"]\n"features.density" = [0.1, 0.3]\n')
    assert len(titles(of)) == 4
    monkeypatch.setattr(tms_intro, "MOST_PANELS", 3)
    with pytest.raises(
        FolderError, match=r"each of 4 combinations of features\.density, model\.activation, more than 3"
    ):
        tms_intro.draw(of)


def rows(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"loss": [0.2, 0.1, 0.3], "loss_fraction": [0.4, 0.2, 0.6]} | columns)


def test_the_best_has_the_least_population_loss_where_all_have_one_else_the_least_sampled():
    assert tms_intro.best(rows()).name == 1
    assert tms_intro.best(rows(loss_exact=[0.15, 0.16, 0.17])).name == 0
    assert tms_intro.best(rows(loss_exact=[0.15, np.nan, 0.17])).name == 1


def test_the_loss_fraction_stands_with_its_standard_error_where_there_is_one(tmp_path):
    of = made(tmp_path)
    chosen = of.models.sort_values("loss").iloc[0]
    of.__dict__["models"] = of.models.drop(columns="loss_error", errors="ignore")
    assert titles(of) == [f"density 0.3 best of 4, loss fraction {chosen['loss_fraction']:.2g}"]
    model = {"model": chosen["model"], "loss": 0.5, "loss_fraction": 0.2034, "loss_error": 0.009}
    of.__dict__["models"] = of.models.assign(**model)
    assert titles(of) == ["density 0.3 best of 4, loss fraction 0.203 ± 0.004"]
    of.__dict__["models"] = of.models.assign(**model | {"loss_error": np.nan})
    assert titles(of) == ["density 0.3 best of 4, loss fraction 0.2"]


def test_a_run_whose_losses_could_not_be_measured_is_refused_in_a_sentence(tmp_path):
    of = made(tmp_path)
    of.__dict__["models"] = of.models.assign(loss=np.nan)
    with pytest.raises(FolderError, match="needs trained models with 2 hidden neurons"):
        tms_intro.draw(of)
