"""Comparisons: models are paired by what they are; differences are those of the tables, with intervals over seeds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import toymodels as tm
from tests.conftest import BODY, GRID, TINY
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse

LONGER = TINY.replace("steps = 30", "steps = 60")


def swept(folder: Path, text: str) -> tm.Run:
    run(make_plan(parse(text, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return tm.load(folder)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("longer"), LONGER).path


def test_a_run_beside_itself_has_not_moved(tiny: Path) -> None:
    found = tm.load(tiny).compare(tiny)
    assert (len(found.pairs), found.identical, found.alone) == (8, 8, (0, 0))
    assert found.settings.empty
    assert found.moved.empty
    assert "8 pairs of models, 8 with the same measures to the last bit" in repr(found)


def test_differences_are_those_of_the_tables_seed_by_seed(tiny: Path, longer: Path) -> None:
    found = tm.load(tiny).compare(longer)
    assert found.settings.T.to_dict()["train.steps"] == {"run": "30", "other": "60"}
    a, b = (tm.load(path).models for path in (tiny, longer))
    difference = b["loss"] - a["loss"]
    assert found.pairs["loss"].tolist() == difference.tolist()
    by_seed = difference.groupby(a["seed"]).mean()
    low, high = stats.t.interval(0.95, 1, by_seed.mean(), stats.sem(by_seed))
    row = found.measures.T.to_dict()["loss"]
    assert (row["run"], row["other"]) == pytest.approx((a["loss"].mean(), b["loss"].mean()))
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((by_seed.mean(), low, high))
    assert row["seeds"] == 2
    assert abs(row["largest"]) == difference.abs().max()
    arm = (a["model.activation"] == "solu") & a["model.layer_norm"]
    at = found.arms[found.arms["measure"] == "loss"].set_index(["model.activation", "model.layer_norm"])
    assert len(at) == 4
    assert at.loc[("solu", True), "difference"] == pytest.approx(difference[arm].mean())
    low, high = stats.t.interval(0.95, 1, difference[arm].mean(), stats.sem(difference[arm]))
    assert (at.loc[("solu", True), "low"], at.loc[("solu", True), "high"]) == pytest.approx((low, high))


def test_the_order_of_models_means_nothing(tiny: Path, tmp_path: Path) -> None:
    turned = BODY + GRID.replace('["relu", "solu"]', '["solu", "relu"]').replace("{ range = [0, 2] }", "[1, 0, 2]")
    found = tm.load(tiny).compare(swept(tmp_path, turned))
    assert (len(found.pairs), found.identical, found.alone) == (8, 8, (0, 4))
    assert found.settings.T.to_dict()["seed"] == {"run": "0, 1", "other": "1, 0, 2"}
    assert f"4 only in {tmp_path}" in repr(found)


def test_what_only_one_of_two_says_is_not_the_same(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "copy")
    table = pd.read_parquet(tmp_path / "copy" / "models.parquet")
    table.loc[3, ["loss", "status"]] = [np.nan, "diverged"]
    table = table.drop(columns=["train.weight_decay"])  # of an older version, which had no such setting
    table.to_parquet(tmp_path / "copy" / "models.parquet")
    found = tm.load(tiny).compare(tmp_path / "copy")
    assert (len(found.pairs), found.identical, found.diverged) == (8, 7, (0, 1))
    assert "diverged 0 and 1" in repr(found)
    assert found.measures.loc["loss", "largest"] == 0


def test_models_that_cannot_be_told_apart_are_refused(tiny: Path, tmp_path: Path) -> None:
    two = TINY.replace("[grid]", '[grid]\n"train.steps" = [40, 60]')
    with pytest.raises(FolderError, match=r"differ only in train.steps, in which the runs differ too"):
        tm.load(tiny).compare(swept(tmp_path / "two", two))
    with pytest.raises(FolderError, match=r"none of its models is one of .*: they differ in seed"):
        tm.load(tiny).compare(swept(tmp_path / "other", TINY.replace("[0, 2]", "[7, 9]")))


def test_its_page_is_text_whatever_the_folder_is_called(tiny: Path, tmp_path: Path) -> None:
    hostile = Path(shutil.copytree(tiny, tmp_path / "<img src=x onerror=alert(1)>"))
    page = tm.load(tiny).compare(hostile)._repr_html_()
    assert "<img" not in page
    assert "&lt;img src=x" in page
