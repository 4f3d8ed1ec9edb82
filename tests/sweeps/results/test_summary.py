"""The summary: what is said of arms whose activation does nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from toymodels.figures.report import write_report
from toymodels.hypotheses.statistics.intervals import student_interval
from toymodels.sweeps.console.printing import print_summary
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import load
from toymodels.sweeps.results.summary import ArmSummary, as_text, notes, summarise
from toymodels.sweeps.spec.sweep import parse

TEXT = """
question = "idle?"
[features]
n = 4
density = 0.3
signed = true
[model]
hidden = 8
tied = false
hidden_bias = true
hidden_bias_start = 9.0
output = "linear"
[train]
steps = 300
batch = 64
learning_rate = 1e-2
[eval]
samples = 512
[[case]]
"task.target" = "absolute"
"model.hidden_bias_start" = 0.0
[[case]]
"task.target" = "identity"
[grid]
"model.activation" = ["relu", "linear"]
seed = { range = [0, 3] }
"""
SAID = (
    "In relu (1 of 2 arms) the activation does nothing: its best affine map in its place costs at most .05 of the loss "
    "fraction; no arm of these can show what an activation does to neurons."
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("idle")
    run(make_plan(parse(TEXT, "idle", "idle.toml")), path, "autograd", "cpu")
    return path


def arm(name: str, *costs: float, loss_fraction: float = 0.3) -> ArmSummary:
    interval = student_interval(list(costs)) if costs else None
    linear, loss = name.startswith("linear"), student_interval([loss_fraction] * 2)
    return ArmSummary(name, linear, {}, len(costs), 0, {"affine_substitution": interval, "loss_fraction": loss})


@pytest.mark.parametrize(
    "costs, nothing",
    [
        ((0.01, 0.012), True),
        ((-0.2, -0.21), True),
        ((0.05, 0.05), True),
        ((0.02, 0.07), False),  # on average below, and its interval reaches above
        ((0.06, 0.06), False),
        ((0.01,), False),  # of one model there is no interval
        ((), False),
    ],
)
def test_an_activation_does_nothing_where_the_whole_interval_says_so(costs: tuple[float, ...], nothing: bool) -> None:
    assert arm("gelu", *costs).does_nothing is nothing
    assert not arm("linear + LN", *costs).does_nothing


def test_of_what_learned_nothing_nothing_is_said() -> None:
    assert arm("gelu", 0.01, 0.012, loss_fraction=0.99).does_nothing
    assert not arm("gelu", 0.01, 0.012, loss_fraction=1.0).does_nothing
    assert not arm("gelu", 0.01, 0.012, loss_fraction=1.2).does_nothing


def test_one_sentence_names_the_hidden_layers() -> None:
    idle, busy = (0.0, 0.001), (0.4, 0.41)
    assert notes([]) == notes([arm("gelu", *busy), arm("linear", *idle)]) == []
    some = [arm("solu + LN", *idle), arm("gelu", *idle), arm("gelu", *idle), arm("relu", *idle), arm("relu", *busy)]
    (said,) = notes(some)
    assert said.startswith("In solu + LN, gelu, relu (1 of 2 arms) the activation does nothing: its best affine map")


def test_a_run_says_it_wherever_its_table_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arms = summarise(load(folder))
    assert notes(arms) == [SAID]
    assert [each.does_nothing for each in arms] == [False, False, True, False]
    assert SAID in write_report(load(folder)).read_text()
    print_summary("idle?", arms, notes(arms))
    assert SAID in " ".join(capsys.readouterr().out.split())


def test_what_an_older_version_did_not_measure_is_not_defined(folder: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    for name in ("manifest.json", "sweep.toml"):
        (older / name).write_bytes((folder / name).read_bytes())
    table = pq.read_table(folder / "models.parquet")
    pq.write_table(table.drop_columns(["affine_substitution", "effective_neurons"]), older / "models.parquet")
    arms = summarise(load(older))
    assert [each.measures["affine_substitution"] for each in arms] == [None] * 4
    assert notes(arms) == []
    titles, rows = as_text(arms)
    assert {row[titles.index("affine costs")] for row in rows} == {"-"}
