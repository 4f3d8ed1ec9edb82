"""The study of the frozen mask: its rows are what the science says of each arm; its answers can be yes, no or open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.sweeps.studies.conftest import Ran
from toymodels.hosts import Models
from toymodels.hypotheses.linearisation import asked
from toymodels.hypotheses.linearisation.bits import independent_bits
from toymodels.hypotheses.linearisation.replaced import Replacement
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import frozen_mask
from toymodels.sweeps.studies.reply import Reply, estimate

SWEEP = """
[features]
n = 8
density = 0.2
[model]
hidden = 6
embedding = 4
tied = false
hidden_bias = true
output = "linear"
[train]
steps = 100
batch = 32
learning_rate = 0.03
[eval]
samples = 512
[grid]
"model.activation" = ["linear", "relu", "gelu"]
"model.layer_norm" = [false, true]
"features.values" = ["binary", "uniform"]
seed = [0, 1, 2, 3]
"""


@pytest.fixture(scope="module")
def small(ran: Ran) -> Run:
    return ran(SWEEP)


@pytest.fixture(scope="module")
def reply(small: Run) -> Reply:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PAIRS": 256, "LEVELS_ON": 512, "CODED": 2048, "CHUNK": 1024, "CANDIDATES": 16}.items():
            patch.setattr(asked, name, value)
        patch.setattr(asked, "SUITED", 256)
        return frozen_mask.answer(small, lambda sentence: None)


def one(table: pd.DataFrame, **where: object) -> dict[Any, Any]:
    for name, value in where.items():
        table = table[table[name] == value]
    (row,) = table.to_dict("records")
    return row


def test_every_layer_that_is_not_linear_is_in_every_table(reply: Reply) -> None:
    layers = {"relu", "relu + LN", "gelu", "gelu + LN"}
    for title, table in reply.tables.items():
        assert set(table["regime"]) == {"values binary", "values uniform"}, title
        assert set(table["layer"]) == (layers if title != frozen_mask.REPLACED else {"gelu", "gelu + LN"})
        assert table["mean"].notna().sum() > len(table) / 3
    assert any(word in reply.sentence for word in ("undetermined", "carries over", "carry over", "not testable"))
    assert "values binary" in reply.sentence
    assert "4 seeds" in reply.sentence


def test_rows_are_estimates_over_seeds_of_what_the_science_says(reply: Reply, small: Run) -> None:
    models = small.models
    gelu = models[models["model.activation"].eq("gelu") & models["model.layer_norm"]]
    arm = Models(*small.batch(gelu[gelu["features.values"] == "uniform"]["model"].tolist()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asked, "PAIRS", 256)
        found = asked._frozen(arm)[0]["mask + scale", "values", "explained"]
    row = one(
        reply.tables[frozen_mask.FIDELITY],
        regime="values uniform",
        layer="gelu + LN",
        frozen="mask + scale",
        changed="values",
        measure="explained",
    )
    assert {name: row[name] for name in ("mean", "low", "high", "seeds")} == estimate(found)


@pytest.mark.parametrize(("does", "kept"), [(-0.009, np.nan), (0.05, np.nan), (0.2, 0.75)])
def test_what_is_kept_is_undefined_of_a_layer_that_is_affine(
    does: float, kept: float, small: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = small.models[small.models["model.activation"] == "gelu"]["model"].tolist()[:1]
    cost = torch.tensor([0.05], dtype=torch.float64)
    monkeypatch.setattr(asked, "replaced", lambda *_: Replacement(2 * cost, cost, cost))
    monkeypatch.setattr(asked, "affine_substitution", lambda *_: torch.tensor([does], dtype=torch.float64))
    found = asked._replaced(Models(*small.batch(models)))
    assert found["kept of what it does, refitted",] == pytest.approx([kept], nan_ok=True)
    assert ("kept of what it does",) not in found


def test_bits_keep_their_bounds(reply: Reply) -> None:
    table, exact = reply.tables[frozen_mask.BITS], independent_bits(np.full(8, 0.2))
    binary = table[table["regime"] == "values binary"]
    told = binary[(binary["of"] == "active set, exact")]
    assert told["mean"].tolist() == pytest.approx([exact] * 4)
    seen = {layer: one(binary, layer=layer, of="active set", measure="bits")["mean"] for layer in set(binary["layer"])}
    for layer, most in seen.items():
        for of in ("mask", "map"):
            assert one(binary, layer=layer, of=of, measure="bits")["mean"] <= most + 1e-9
            assert one(binary, layer=layer, of=of, measure="at most")["mean"] <= exact + 1e-9
    assert one(binary, layer="relu", of="mask", measure="rise of two levels")["mean"] == pytest.approx(0, abs=1e-6)
    crowd = reply.tables[frozen_mask.CROWD].query("regime == 'values binary'")
    assert (crowd[crowd["measure"] == "exact"]["mean"] == 1).all()
    merged = crowd.pivot_table(index=["layer", "active"], columns="measure", values="mean")
    assert (merged["bits"] <= merged["active set"] + 1e-9).all()


def test_what_stays_at_an_independent_example_loses_twice_the_variance(reply: Reply) -> None:
    table = reply.tables[frozen_mask.FIDELITY].query("frozen == 'the read-out' and changed == 'other'")
    assert table["mean"].between(1.6, 3).all()  # pairs that do not differ are left out: somewhat above 2


@pytest.mark.parametrize(
    ("intervals", "said"),
    [
        ([(0.91, 0.99), (0.92, 0.95)], "yes"),
        ([(0.1, 0.2), (0.3, 0.89)], "no"),
        ([(0.1, 0.2), (0.92, 0.95)], "undetermined"),
        ([(0.85, 0.95)], "undetermined"),
        ([(np.nan, np.nan)], "undetermined"),
        ([], "undetermined"),
    ],
)
def test_an_answer_is_yes_or_no_only_where_every_interval_says_so(
    intervals: list[tuple[float, float]], said: str
) -> None:
    rows = [{"low": low, "high": high} for low, high in intervals]
    assert frozen_mask._verdict(rows, "yes", "no") == said


def test_of_a_layer_that_is_affine_no_mask_is_judged(reply: Reply) -> None:
    """GeLU's interval below says yes; that nothing is asked of GeLU makes it no answer."""
    table, rows = reply.tables[frozen_mask.LAYERS].copy(), [{"regime": "", "layer": "gelu", "low": 0.95, "high": 0.99}]
    table["regime"] = ""
    for cost, told in ((-0.009, "not testable: gelu's layer is affine"), (0.2, "yes")):
        table.loc[table["measure"] == "affine_substitution", "mean"] = cost
        assert frozen_mask._told(rows, frozen_mask._idle(table), "yes", "no") == told
    assert frozen_mask._told([*rows, rows[0] | {"layer": "relu"}], {("", "gelu")}, "yes", "no") == (
        "yes, not testable: gelu's layer is affine"
    )
    whole = dict(reply.tables) | {frozen_mask.LAYERS: reply.tables[frozen_mask.LAYERS].assign(mean=0.0)}
    sentence = frozen_mask._sentence("values binary", whole)
    assert "well approximated" not in sentence
    assert "carr" not in sentence
    assert sentence.count("not testable: gelu's layer is affine") == 3


def test_a_number_of_maps_that_some_seed_exceeds_has_no_mean() -> None:
    maps: dict[tuple[object, ...], np.ndarray] = {
        ("to keep", 0): np.array([3.0, np.nan, 5.0, np.nan]),
        ("to match it", 0): np.array([1.0, 2.0, 3.0, 2.0]),
    }
    layer = frozen_mask._Layer("", "gelu", asked.Answers({}, {}, {}, {}, {}, maps), pd.DataFrame())
    censored, known = frozen_mask._maps([layer])
    assert [censored[name] for name in ("mean", "low", "high", "seeds")] == [None, None, None, 4]
    assert censored["censored"] == "> 256 in 2 of 4"
    assert {name: known[name] for name in ("mean", "low", "high", "seeds")} == estimate([1, 2, 3, 2])
    assert known["censored"] == ""


@pytest.mark.parametrize(
    ("was", "is_"),
    [('["linear", "relu", "gelu"]', '["linear"]'), ("hidden = 6", "hidden = 6\ntop_k = 2")],
)
def test_a_run_without_a_layer_whose_mask_is_its_activations_is_refused(was: str, is_: str, ran: Ran) -> None:
    other = ran(SWEEP.replace(was, is_).replace("[0, 1, 2, 3]", "[0]"))
    with pytest.raises(FolderError, match="activation is not linear"):
        frozen_mask.answer(other, print)


def test_the_science_refuses_a_layer_that_is_gated(ran: Ran) -> None:
    gated = ran(SWEEP.replace("hidden = 6", "hidden = 6\ngated = true").replace("[0, 1, 2, 3]", "[0]"))
    with pytest.raises(ValueError, match="their activation's alone"):
        asked.ask(Models(*gated.batch([0])))
