"""The cost of activations: each seed against itself without one, judged at equal loss, which may say no."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tests.sweeps.studies.conftest import Ran
from toymodels.hypotheses.statistics.intervals import Status, against
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import activation_l1
from toymodels.sweeps.studies.reply import estimate

SWEEP = """
[features]
n = 8
density = 0.15
values = "binary"
[model]
hidden = 8
tied = false
output = "linear"
hidden_bias = true
embedding = 4
[train]
steps = 300
batch = 64
learning_rate = 0.02
[eval]
samples = 1024
[grid]
"model.activation" = ["relu", "gelu"]
"train.activation_l1" = [0.0, 1e-4, 3.0]
seed = [0, 1, 2, 3]
"""


def test_each_cost_is_compared_with_none_seed_by_seed(ran: Ran) -> None:
    run = ran(SWEEP)
    reply = activation_l1.answer(run, lambda _: None)
    table = reply.tables[activation_l1.AGAINST_NONE]
    rows = {(row["activation"], row["cost"], row["measure"]): row for row in table.to_dict("records")}
    assert len(rows) == 2 * 2 * len(activation_l1.MEASURES)
    relu = run.models[run.models["model.activation"] == "relu"]
    by_seed = relu.pivot(index="seed", columns="train.activation_l1", values="loss_fraction")
    expected = estimate(by_seed[3.0] - by_seed[0.0])
    assert {name: rows["relu", 3.0, activation_l1.LOSS][name] for name in expected} == pytest.approx(expected)
    # a cost that no feature is worth silences the layer: nobody takes part, and it is no longer at equal loss
    levels = reply.tables[activation_l1.BY_COST]
    part = levels[levels["measure"].eq(activation_l1.CONTRIBUTORS) & levels["activation"].eq("relu")]
    assert part["mean"].iloc[-1] < 0.7 * part["mean"].iloc[0]
    judged = reply.tables[activation_l1.JUDGED]
    assert judged["activation"].tolist() == ["relu", "gelu"]
    assert not (judged["cost"] == 3.0).any()


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [
        (3.5, 9.0, Status.SUPPORTED),
        (-1.0, 2.5, Status.NOT_SUPPORTED),
        (1.0, 5.0, Status.UNDETERMINED),
        (math.nan, math.nan, Status.UNDETERMINED),
    ],
)
def test_a_difference_may_say_yes_no_or_nothing(low: float, high: float, status: Status) -> None:
    assert against(low, high, activation_l1.MORE) is status


def test_without_two_kinds_of_models_it_is_refused(ran: Ran) -> None:
    none = SWEEP.replace("[0.0, 1e-4, 3.0]", "[0.0]").replace("[0, 1, 2, 3]", "[0]").replace("steps = 300", "steps = 5")
    with pytest.raises(FolderError, match="with a cost and without"):
        activation_l1.answer(ran(none), lambda _: None)


def test_a_cost_of_one_activation_beside_none_of_another_is_refused(ran: Ran) -> None:
    cases = (
        'case = [{ "model.activation" = "relu", "train.activation_l1" = 0.0 }, '
        '{ "model.activation" = "gelu", "train.activation_l1" = 3.0 }]\n'
    )
    apart = SWEEP.replace('"model.activation" = ["relu", "gelu"]\n"train.activation_l1" = [0.0, 1e-4, 3.0]\n', "")
    apart = cases + apart.replace("[0, 1, 2, 3]", "[0]").replace("steps = 300", "steps = 5")
    with pytest.raises(FolderError, match="an activation that has models with a cost and without"):
        activation_l1.answer(ran(apart), lambda _: None)


def test_seeds_that_only_one_of_them_has_are_left_out() -> None:
    seeds = np.arange(5)
    models = [
        pd.DataFrame(
            {"activation": "relu", "cost": cost, "seed": of} | dict.fromkeys(activation_l1.MEASURES, of + cost)
        )
        for cost, of in ((0.0, seeds), (1.0, seeds[1:]))
    ]
    table = activation_l1._differences(pd.concat(models))
    assert table["seeds"].tolist() == [4] * len(activation_l1.MEASURES)
    assert table["mean"].tolist() == [1.0] * len(activation_l1.MEASURES)
