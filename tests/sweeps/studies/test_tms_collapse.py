"""Collapse: hand-built models in the place of trained ones, on principal components and in superposition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.sweeps.studies.conftest import Ran, seen
from toymodels.bottleneck import Parameters
from toymodels.metrics.principal import captured, covariance, linear_loss
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import tms_collapse
from toymodels.sweeps.studies.tms_collapse import BEST, CAPTURED, COLLAPSED, COSINE, LOSS, OWN

SWEEP = """
[features]
n = 6
[train]
steps = 3
batch = 16
[eval]
samples = 256
[model]
hidden = 3
[grid]
"features.density" = [0.1, 0.5]
"features.firing" = [{ kind = "correlated", groups = 3 }, "independent"]
seed = { range = [0, 6] }
"""
PRINCIPAL = torch.tensor([[1.0, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]) / 2**0.5
"""three pairs, each on its principal component"""
OCTAHEDRON = torch.tensor([[1.0, 0, 0, -1, 0, 0], [0, 1, 0, 0, -1, 0], [0, 0, 1, 0, 0, -1]])
"""six features of their own in three antipodal pairs, across sets of neighbours"""


@pytest.fixture
def planted(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Correlated pairs on principal components at density .5, in superposition at .1; independent ones always so."""
    run = ran(SWEEP)
    batch = run.batch

    def built(models: list[int]) -> tuple[list[Any], Parameters]:
        experiments, _ = batch(models)
        features = seen(experiments)
        collapsed = features.density == 0.5 and features.firing.name == "correlated"
        return experiments, Parameters((PRINCIPAL if collapsed else OCTAHEDRON).expand(len(models), -1, -1))

    monkeypatch.setattr(run, "batch", built)
    return run


def test_principal_components_are_one_direction_and_capture_all(planted: Run) -> None:
    table = tms_collapse.answer(planted, print).tables[tms_collapse.TABLE]
    rows = table.set_index(["density", "firing", "measure"])["mean"]
    where = (0.5, "correlated")
    expected = {COLLAPSED: 1, OWN: 0, COSINE: 1, CAPTURED: 1, BEST: 1}
    assert {name: rows[(*where, name)] for name in expected} == pytest.approx(expected, abs=1e-6)
    C = covariance(seen(planted.batch([0])[0]))
    for firing in ("correlated", "independent"):
        assert rows[0.1, firing, COLLAPSED] == 0
        assert rows[0.1, firing, OWN] == 1
    assert rows[0.1, "correlated", CAPTURED] == pytest.approx(captured(OCTAHEDRON[None], C).item())
    assert rows[0.1, "correlated", CAPTURED] < 0.7


def test_the_loss_stands_beside_that_of_the_best_linear_model(planted: Run) -> None:
    table = tms_collapse.answer(planted, print).tables[tms_collapse.TABLE]
    row = table[(table["density"] == 0.1) & (table["firing"] == "correlated") & (table["measure"] == LOSS)].iloc[0]
    models = planted.models
    chosen = models[(models["features.density"] == 0.1) & (models["features.firing"] == "correlated")]
    C = covariance(seen(planted.batch([int(chosen["model"].iloc[0])])[0]))
    assert row["mean"] == pytest.approx(chosen["loss"].mean() / linear_loss(C, 3))


def test_the_answer_says_where_pairs_collapse_and_where_not(planted: Run) -> None:
    sentence = tms_collapse.answer(planted, print).sentence
    assert "In 3 neurons pairs do not collapse at density 0.1; collapse at density 0.5" in sentence
    assert "1.00 (1.00 to 1.00) at 0.5, where the rows of W_in capture 1.000" in sentence
    assert sentence.endswith("6 restarts of each.")


def test_intervals_of_shares_end_at_0_and_1(planted: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs collapsed in 5 of 6 restarts: Student's t runs from .40 to 1.26; in 1 of 6 from -.26."""
    batch = planted.batch

    def built(models: list[int]) -> tuple[list[Any], Parameters]:
        experiments, _ = batch(models)
        collapsed = 5 if seen(experiments).density == 0.5 else 1
        W = torch.stack([PRINCIPAL if k < collapsed else OCTAHEDRON for k in range(len(models))])
        return experiments, Parameters(W)

    monkeypatch.setattr(planted, "batch", built)
    reply = tms_collapse.answer(planted, print)
    rows = reply.tables[tms_collapse.TABLE].set_index(["density", "firing", "measure"]).to_dict("index")
    most, least = (rows[density, "correlated", COLLAPSED] for density in (0.5, 0.1))
    assert (most["mean"], most["high"], least["low"]) == (pytest.approx(5 / 6), 1, 0)
    assert most["low"] == pytest.approx(1 - least["high"])
    assert "(.40 to 1.00) at 0.5" in reply.sentence


@pytest.mark.parametrize(
    "change", [("features.firing", '["independent"]'), ("features.importance", '[{ law = "geometric", ratio = 0.9 }]')]
)
def test_a_run_without_pairs_or_of_unequal_importance_is_refused(ran: Ran, change: tuple[str, str]) -> None:
    lines = [line for line in SWEEP.splitlines() if not line.startswith(f'"{change[0]}')]
    text = "\n".join(lines).replace("[0, 6]", "[0, 1]") + f'\n"{change[0]}" = {change[1]}\n'
    with pytest.raises(FolderError, match="equally important and fire in correlated pairs"):
        tms_collapse.answer(ran(text), print)


def test_arms_that_differ_in_more_than_their_rows_say_are_refused(ran: Ran) -> None:
    text = SWEEP.replace("[0, 6]", "[0, 1]").replace("[0.1, 0.5]", "[0.1]") + '"model.output" = ["relu", "linear"]\n'
    with pytest.raises(FolderError, match=r"some also differ in model\.output$"):
        tms_collapse.answer(ran(text), print)
