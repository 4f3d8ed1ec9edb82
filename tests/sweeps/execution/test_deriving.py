"""Tables with metrics of one's own: as the measures say, and nothing of them lost without a word."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import toymodels as tm
from tests.conftest import TINIER, door, listing
from toymodels.sweeps.spec.importing import digest_of

METRIC = """
import toymodels as tm

@tm.metrics.register("largest", table="models", unit="1", description="the largest norm")
def largest(models):
    return models.column("features.norm").amax(1)
"""


@pytest.fixture(autouse=True)
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a sweep and a metric in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "largest.py").write_text(METRIC)
    (tmp_path / "named.toml").write_text('metrics = ["largest:largest"]\n' + TINIER)
    (tmp_path / "plain.toml").write_text(TINIER)
    yield tmp_path
    tm.metrics.unregister("ones", "models")
    sys.modules.pop("largest", None)


def swept(name: str) -> tm.Run:
    return tm.sweep(f"{name}.toml", out="run", progress=False, allow_code=name == "named")


def with_ones() -> tm.Run:
    """A run with a column that this process alone registered, until here."""
    tm.metrics.register("ones", lambda of: torch.ones(len(of.experiments)), table="models", description="1 of each")
    run = swept("plain")
    tm.metrics.unregister("ones", "models")
    return run


@pytest.mark.parametrize("name", ["named", "plain"])
def test_a_deleted_table_is_the_same_though_its_metric_is_not_registered(name: str) -> None:
    """Fault 15, with columns of one's own."""
    run = with_ones() if name == "plain" else swept(name)
    assert run.columns["meaning"].isin(["1 of each", "the largest norm"]).sum() == 1
    before = listing(Path("run"))
    Path("run/models.parquet").unlink()
    swept(name)
    assert listing(Path("run")) == before


def test_tables_take_over_the_source_of_a_metric(current: Path) -> None:
    was = swept("named").models["largest"]
    place = current / "largest.py"
    place.write_text(METRIC.replace("amax(1)", "amax(1).mul(2)"))
    answer = door("tables", "run", "--allow-code")
    assert answer.code == 0
    assert "run: takes over the source of largest; its models are the same" in answer.err
    assert "leaves out" not in answer.err
    assert json.loads(Path("run/manifest.json").read_bytes())["code"] == {"largest": digest_of(place)}
    table = pq.read_table("run/models.parquet")
    assert table["largest"].to_pylist() == pytest.approx((2 * was).tolist())
    before = listing(Path("run"))
    swept("named")
    assert listing(Path("run")) == before


def test_a_column_that_is_measured_no_more_is_left_out_with_a_word() -> None:
    assert with_ones().models["ones"].eq(1).all()
    answer = door("tables", "run")
    assert answer.code == 0
    assert answer.err.count("run: leaves out models.ones, which neither its sweep nor this process measures") == 1
    assert "ones" not in tm.load("run").models
    assert "leaves out" not in door("tables", "run").err
    with_ones()
    swept("named")  # which measures anew, as it has another metric
    assert {"largest"} == {"ones", "largest"} & {*tm.load("run").models}


def test_what_a_sweep_file_names_no_more_stays_until_tables_leave_it_out() -> None:
    swept("named")
    Path("named.toml").write_text(TINIER)
    assert "largest" in swept("named").models
    answer = door("tables", "run", "--allow-code")
    assert answer.code == 0
    assert "leaves out models.largest" in answer.err
    assert "largest" not in tm.load("run").models
