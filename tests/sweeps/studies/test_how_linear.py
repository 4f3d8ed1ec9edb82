"""What an affine map leaves of activations: each arm's own columns, with their intervals; linear layers left out."""

from __future__ import annotations

import pytest

from tests.sweeps.studies.conftest import Ran
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import how_linear
from toymodels.sweeps.studies.reply import estimate

SWEEP = """
[features]
n = 6
density = 0.2
values = "binary"
[model]
hidden = 4
tied = false
output = "linear"
[train]
steps = 30
batch = 32
[eval]
samples = 512
[grid]
"model.activation" = ["linear", "relu", "solu"]
"model.layer_norm" = [false, true]
"features.density" = [0.1, 0.3]
seed = [0, 1, 2, 3]
"""


def test_every_layer_that_is_not_linear_has_a_row_a_regime_and_measure(ran: Ran) -> None:
    run = ran(SWEEP)
    reply = how_linear.answer(run, print)
    table = reply.tables[how_linear.TABLE]
    assert list(dict.fromkeys(table["regime"])) == ["density 0.1", "density 0.3"]
    assert set(table["layer"]) == {"relu", "relu + LN", "solu", "solu + LN"}
    assert len(table) == 2 * 4 * 2
    models = run.models
    arm = models[models["model.activation"].eq("solu") & ~models["model.layer_norm"]]
    arm = arm[arm["features.density"] == 0.3]
    rows = table.set_index(["regime", "layer", "measure"]).to_dict("index")
    row = rows["density 0.3", "solu", "unexplained"]
    expected = estimate(arm["unexplained_by_affine"])
    assert row["mean"] == arm["unexplained_by_affine"].mean()
    assert (row["low"], row["high"], row["seeds"]) == (expected["low"], expected["high"], 4)
    assert row["low"] < row["mean"] < row["high"]
    assert "density 0.1" in reply.sentence


def test_a_run_of_linear_layers_alone_is_refused(ran: Ran) -> None:
    linear = ran(SWEEP.replace('["linear", "relu", "solu"]', '["linear"]').replace("[0, 1, 2, 3]", "[0]"))
    with pytest.raises(FolderError, match="activation is not linear"):
        how_linear.answer(linear, print)


def test_regimes_of_two_exponents_of_one_law_are_two(ran: Ran) -> None:
    laws = '"features.frequency" = ["uniform", { law = "zipf", exponent = 0.5 }, { law = "zipf", exponent = 1.0 }]'
    text = SWEEP.replace('"features.density" = [0.1, 0.3]', laws).replace('["linear", "relu", "solu"]', '["relu"]')
    table = how_linear.answer(ran(text.replace("[0, 1, 2, 3]", "[0, 1]")), print).tables[how_linear.TABLE]
    assert table["regime"].nunique() == 3
    assert (table["seeds"] == 2).all()
