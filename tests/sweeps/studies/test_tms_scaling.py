"""Scaling: each model's own loss, overlap and tail; exponents over widths; and that they can say no."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.sweeps.studies.conftest import Ran
from toymodels.metrics.geometry import norms
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import tms_scaling
from toymodels.sweeps.studies.reply import estimate

SWEEP = """
[features]
n = 12
density = 0.1
importance = { law = "geometric", ratio = 0.9 }
[model]
[train]
steps = 200
batch = 32
learning_rate = 0.02
[eval]
samples = 512
[grid]
"features.frequency" = ["uniform", { law = "zipf", exponent = 1.0 }]
"model.hidden" = [2, 4]
seed = [0, 1, 2, 3]
[[case]]
"train.weight_decay" = 2.0
[[case]]
"train.weight_growth" = 2.0
"""


KEYS = ("regime", "decay", "width", "measure")


def test_each_arm_has_what_its_models_have(ran: Ran) -> None:
    run = ran(SWEEP)
    reply = tms_scaling.answer(run, lambda _: None)
    table = reply.tables[tms_scaling.BY_WIDTH]
    assert set(table["decay"]) == {2.0, -2.0}
    uniform = table["regime"].iloc[0]
    assert uniform == "frequency uniform"
    rows = {tuple(row[key] for key in KEYS): row for row in table.to_dict("records")}

    models = run.models[run.models["features.frequency.law"].eq("uniform") & run.models["train.weight_decay"].eq(2.0)]
    narrow = models[models["model.hidden"] == 2]
    experiments, parameters = run.batch(narrow["model"].tolist())
    lost = norms(parameters.W_in) <= 0.5
    assert lost.any()
    p, importance = 0.1, torch.tensor(experiments[0].importance())
    tail = ((p / 3 - p**2 / 4) * importance * lost).sum(1)
    assert rows[uniform, 2.0, 2, "tail"]["mean"] == pytest.approx(tail.mean().item())
    expected = estimate(narrow["loss"])
    assert {name: rows[uniform, 2.0, 2, "loss"][name] for name in expected} == expected
    shares = [float(rows[uniform, decay, 2, "represented"]["mean"]) for decay in (-2.0, 2.0)]
    assert shares[0] > shares[1]

    laws = reply.tables[tms_scaling.LAWS].set_index(["regime", "decay", "exponent"])
    by_seed = models.pivot(index="seed", columns="model.hidden", values="loss")
    a = np.log(by_seed[4] / by_seed[2]) / math.log(2)
    assert laws.loc[(uniform, 2.0, "loss on width"), "mean"] == pytest.approx(a.mean())
    assert laws.loc[(uniform, 2.0, "loss on width"), "seeds"] == 4
    neighbours = reply.tables[tms_scaling.NEIGHBOURS]
    assert neighbours[["from", "to"]].drop_duplicates().to_numpy().tolist() == [[2, 4]]
    first = neighbours[neighbours["regime"].eq(uniform) & neighbours["decay"].eq(2.0)]
    assert first["mean"].tolist() == pytest.approx([a.mean()])


@pytest.mark.parametrize(
    ("low", "high", "between", "said"),
    [
        (-1.05, -0.95, (-1.1, -0.9), "as 1 / m"),
        (-1.05, -0.95, (-0.5, -1.0, -1.5), "no power law"),
        (-1.4, -1.2, (-1.3, -1.3), "steeper than 1 / m"),
        (-0.8, -0.2, (-0.5, -0.4), "flatter than 1 / m"),
        (-1.2, -0.95, (-1.0, -1.1), "undetermined"),
        (math.nan, math.nan, (-1.0, -1.0), "undetermined"),
        (-1.05, -0.95, (), "undetermined"),
        (-1.05, -0.95, (-1.0,), "undetermined"),
        (-1.4, -1.2, (-1.3, math.nan), "undetermined"),
    ],
)
def test_an_exponent_may_say_yes_no_or_nothing(low: float, high: float, between: tuple[float, ...], said: str) -> None:
    assert tms_scaling.verdict(low, high, between) == said


def test_one_width_is_refused(ran: Ran) -> None:
    one = SWEEP.replace("[2, 4]", "[2]").replace("steps = 200", "steps = 5").replace("[0, 1, 2, 3]", "[0]")
    with pytest.raises(FolderError, match="two widths"):
        tms_scaling.answer(ran(one), lambda _: None)


UNEQUAL = (
    SWEEP.partition("[grid]")[0].replace("steps = 200", "steps = 5")
    + """
[grid]
seed = [0, 1]
[[case]]
"train.weight_growth" = 2.0
"model.hidden" = 2
[[case]]
"train.weight_decay" = 2.0
"model.hidden" = 4
"""
)


def test_a_regime_of_one_width_beside_one_of_two_is_undetermined(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tms_scaling, "STRONG", 0.0)
    wider = '[[case]]\n"train.weight_decay" = 2.0\n"model.hidden" = 8\n'
    sentence = tms_scaling.answer(ran(UNEQUAL + wider), lambda _: None).sentence
    assert "decay -2: undefined, undetermined" in sentence
    assert "decay 2: -" in sentence or "decay 2: ." in sentence


def test_two_widths_of_different_decay_are_refused(ran: Ran) -> None:
    with pytest.raises(FolderError, match="two widths at one decay"):
        tms_scaling.answer(ran(UNEQUAL), lambda _: None)
