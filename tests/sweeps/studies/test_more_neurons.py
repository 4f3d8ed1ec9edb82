"""More neurons: budgets and measures of every layer, differences at equal budgets, and a claim that can be refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.sweeps.studies.conftest import Ran
from toymodels.hypotheses.statistics.equal_budget import at_budget
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import more_neurons
from toymodels.sweeps.studies.reply import Reply, estimate

DENSE = """
case = [
    { "model.hidden" = 4 },
    { "model.hidden" = 16 },
    OTHERS
]
[features]
n = 8
density = 0.2
values = "binary"
[model]
activation = "relu"
output = "linear"
tied = false
hidden_bias = true
embedding = 4
[train]
steps = 40
batch = 32
learning_rate = 0.02
[eval]
samples = 2048
[grid]
seed = [0, 1, 2, 3]
"""
OTHERS = """
    { "model.hidden" = 8, "model.experts" = 2 },
    { "model.hidden" = 8, "model.experts" = 4 },
    { "model.hidden" = 8, "model.top_k" = 2 },
    { "model.hidden" = 64, "model.blocks" = 2 },
    { "model.hidden" = 8, "model.gated" = true, "model.activation" = "linear" },
"""


def sweep(others: str = OTHERS) -> str:
    return DENSE.replace("    OTHERS", others)


@pytest.fixture(scope="module")
def whole(ran: Ran) -> tuple[Run, Reply]:
    run = ran(sweep())
    return run, more_neurons.answer(run, print)


def test_every_layer_has_its_budget_and_every_difference_is_that_of_its_budget(whole: tuple[Run, Reply]) -> None:
    run, reply = whole
    layers = reply.tables[more_neurons.LAYERS]
    assert list(dict.fromkeys(layers["layer"])) == [
        "relu",
        "relu, 2 experts",
        "relu, 4 experts",
        "relu, top 2",
        "relu, 2 blocks",
        "bilinear",
    ]
    row = layers[(layers["layer"] == "relu, top 2") & (layers["measure"] == "loss_fraction")].iloc[0]
    assert (row["parameters"], row["multiply_adds"]) == (4 * 8 + 8 * 8 + 8 + 8, 4 * 8 + 8 * 2)
    models = run.models

    def losses(rows: pd.Series) -> np.ndarray:
        return models[rows].sort_values("seed")["loss_fraction"].to_numpy()

    dense = models["model.top_k"].eq(0) & models["model.blocks"].eq(0) & models["model.experts"].eq(0)
    dense &= ~models["model.gated"]
    assert row["mean"] == pytest.approx(losses(models["model.top_k"] == 2).mean())
    four, sixteen = (losses(dense & (models["model.hidden"] == m)) for m in (4, 16))
    equal = reply.tables[more_neurons.EQUAL]
    equal = equal[(equal["layer"] == "relu, top 2") & (equal["measure"] == "loss_fraction")].set_index("budget")
    for spent, budgets in (("parameters", (60, 216)), ("multiply_adds", (48, 192))):
        there = at_budget(np.array(budgets), np.stack([four, sixteen]), float(row[spent]))
        expected = estimate(losses(models["model.top_k"] == 2) - there)
        found = equal.loc[spent]
        assert [found[name] for name in ("mean", "low", "high")] == pytest.approx(list(expected.values())[:3])
        assert (found["seeds"], found["widths"], found["reference"]) == (4, "8", "relu")


def test_what_no_dense_layer_is_as_large_as_is_left_out_and_said(whole: tuple[Run, Reply]) -> None:
    reply = whole[1]
    assert "relu, 2 blocks" not in set(reply.tables[more_neurons.EQUAL]["layer"])
    for spent in ("parameters", "multiply-adds"):
        assert any(f"the {spent} of" in note and "relu, 2 blocks of 64 neurons" in note for note in reply.notes)


def test_experts_alone_have_routing_and_the_claim_has_three_readings_a_measure(whole: tuple[Run, Reply]) -> None:
    reply = whole[1]
    layers = reply.tables[more_neurons.LAYERS]
    for measure in more_neurons.OF_EXPERTS:
        assert set(layers[layers["measure"] == measure]["layer"]) == {"relu, 2 experts", "relu, 4 experts"}
    balance = layers[layers["measure"] == "balance"]["mean"]
    assert balance.between(0, 1).all()
    claim = reply.tables[more_neurons.CLAIM]
    assert list(claim["at"].unique()) == ["equal parameters", "equal multiply-adds", "twice the experts"]
    assert len(claim) == 12
    for measure, words in more_neurons.READ_FROM.items():
        statuses = claim[claim["measure"] == measure]["status"].value_counts()
        words_of = [f"{s} in {statuses[s]}" for s in ("supported", "not supported", "undetermined") if s in statuses]
        told = ", ".join(words_of)
        assert f"{told} of 3 readings by {words}" in reply.sentence


@pytest.mark.parametrize(
    ("differences", "status"),
    [
        ([5.0, 6.0, 5.5, 6.5], "supported"),
        ([1.0, 1.2, 0.9, 1.1, 1.0, 1.05], "not supported"),
        ([-9.0, -8.0, -9.5, -7.0], "not supported"),
        ([0.0, 9.0, -2.0, 8.0], "undetermined"),
    ],
)
def test_the_claim_can_be_refused(differences: list[float], status: str) -> None:
    assert more_neurons._found(differences, "in_neurons")["status"] == status


def test_the_layer_that_the_sentence_names_is_told_to_be_chosen_and_to_have_fewer_where_it_has() -> None:
    rows = [
        {"regime": "", "layer": layer, "budget": "parameters", "reference": "relu", "measure": measure}
        | {"mean": mean, "low": mean - 1, "high": mean + 1, "seeds": 4}
        for layer, mean in (("relu, top 2", -2.0), ("relu, 2 blocks", -3.0))
        for measure in ("in_neurons", "loss_fraction")
    ]
    sentence = more_neurons._sentence(pd.DataFrame(rows), pd.DataFrame())
    assert "relu, top 2 has most features in neurons, 2.0 (1.0 to 3.0) fewer than dense relu" in sentence
    assert "chosen as the largest of 2: its interval is too narrow" in sentence


def test_the_slope_is_that_over_doublings() -> None:
    rows = pd.DataFrame(
        {"seed": [0, 0, 0, 1, 1], "hidden": [8, 8, 8, 8, 8], "experts": [2, 4, 8, 2, 8], "x": [1.0, 3, 5, 0, 1]}
    )
    assert more_neurons._slopes(rows, "x") == pytest.approx([2.0, 0.5])
    assert more_neurons._slopes(rows[rows["experts"] == 2], "x") == []


@pytest.mark.parametrize(
    "others", ["", '    { "model.hidden" = 64, "model.blocks" = 2 },'], ids=["dense alone", "nothing as large"]
)
def test_a_run_without_anything_to_compare_is_refused(ran: Ran, others: str) -> None:
    with pytest.raises(FolderError, match="dense"):
        more_neurons.answer(ran(sweep(others).replace("[0, 1, 2, 3]", "[0]")), print)


def test_without_experts_there_is_no_claim(ran: Ran) -> None:
    top_k = sweep('    { "model.hidden" = 8, "model.top_k" = 2 },').replace("[0, 1, 2, 3]", "[0]")
    reply = more_neurons.answer(ran(top_k), print)
    assert more_neurons.CLAIM not in reply.tables
    assert "experts" not in reply.sentence


def test_layers_that_differ_in_their_training_alone_are_told_apart(ran: Ran) -> None:
    balances = """
    { "model.hidden" = 8, "model.experts" = 2, "train.load_balance" = 0.0 },
    { "model.hidden" = 8, "model.experts" = 2, "train.load_balance" = 0.1 },
    { "model.hidden" = 8, "model.top_k" = 2 },"""
    run = ran(sweep(balances).replace("[0, 1, 2, 3]", "[0, 1]"))
    layers = more_neurons.answer(run, print).tables[more_neurons.LAYERS]
    rows = layers[layers["measure"] == "loss_fraction"].set_index("layer")
    assert list(rows.index) == [
        "relu",
        "relu",
        "relu, 2 experts, load_balance 0",
        "relu, 2 experts, load_balance 0.1",
        "relu, top 2",
    ]
    assert (rows["seeds"] == 2).all()
    experts = run.models[run.models["model.experts"] == 2].groupby("train.load_balance")["loss_fraction"].mean()
    assert rows["mean"].iloc[2:4].tolist() == pytest.approx(experts.tolist())


def test_what_tells_dense_layers_apart_makes_a_regime(ran: Ran) -> None:
    run = ran(
        sweep('    { "model.hidden" = 8, "model.top_k" = 2 },')
        .replace("hidden_bias = true\n", "")
        .replace("[0, 1, 2, 3]", '[0]\n"model.hidden_bias" = [true, false]')
    )
    equal = more_neurons.answer(run, print).tables[more_neurons.EQUAL]
    assert equal["regime"].nunique() == 2
    assert set(equal["layer"]) == {"relu, top 2"}
