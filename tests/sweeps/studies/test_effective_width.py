"""Equivalent widths of a run: its tables are the science's of its own losses; what is left out is said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.sweeps.studies.conftest import Ran
from toymodels.hypotheses.effective_width import Losses, Reference
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import grouped
from toymodels.sweeps.studies import effective_width
from toymodels.sweeps.studies.effective_width import AT_A_WIDTH, CLAIMS, COSTS, FIT, MORE, WON
from toymodels.sweeps.studies.reply import UNCORRECTED

SWEEP = """
[features]
n = 6
density = 0.2
values = "binary"
[model]
tied = false
output = "linear"
[train]
steps = 40
batch = 32
[eval]
samples = 512
[grid]
"model.activation" = ["gelu", "solu"]
"model.layer_norm" = [false, true]
"model.hidden" = [2, 3, 5]
seed = [0, 1, 2, 3]
"""
SETTINGS = ("features.density", "model.activation", "model.layer_norm", "model.layer_norm_eps", "model.hidden", "seed")


def made(losses: dict[tuple[str, bool, Any], dict[int, float]], density: float = 0.1, seeds: int = 5) -> pd.DataFrame:
    """A table of models whose losses, of activation, LayerNorm and eps by width, vary a little by seed."""
    rng, rows = np.random.default_rng(0), []
    for (activation, norm, eps), of in losses.items():
        for width, loss in of.items():
            for seed in range(seeds):
                fraction = loss * np.exp(0.001 * rng.standard_normal() + 0.1 * seed)
                settings = zip(SETTINGS, (density, activation, norm, eps, width, seed), strict=True)
                rows.append(dict(settings) | {"loss_fraction": fraction, "loss": 2 * fraction, "status": "ok"})
    return pd.DataFrame(rows).assign(loss_exact=np.nan)


def run_of(models: pd.DataFrame) -> Any:
    arms = lambda over: grouped(models, SETTINGS, over=over)  # noqa: E731
    return SimpleNamespace(path="a run", models=models, arms=arms, tuned=(), tuned_at_ends=[])


def by(table: pd.DataFrame, names: str | list[str]) -> dict[Any, Any]:
    """The rows by what they are of."""
    return table.set_index(names).to_dict("index")


GELU = {width: width**-0.5 for width in (4, 8, 16, 32, 64)}


def as_good_as(share: float, widths: tuple[int, ...] = (8, 16, 32)) -> dict[int, float]:
    return {width: (share * width) ** -0.5 for width in widths}


def test_what_stands_in_the_tables_is_of_the_runs_own_losses(ran: Ran) -> None:
    run = ran(SWEEP)
    reply = effective_width.answer(run, print)
    models = run.models.sort_values("seed")

    def losses(activation: str, norm: bool) -> Losses:
        of = models[models["model.activation"].eq(activation) & models["model.layer_norm"].eq(norm)]
        exact = of["loss_exact"] * of["loss_fraction"] / of["loss"]  # six binary features: the population loss is known
        table = of.assign(exact=exact).pivot(index="seed", columns="model.hidden", values="exact")
        return Losses(table.columns.to_numpy(), table.to_numpy())

    assert run.models["loss_exact"].notna().all()
    reference = Reference(losses("gelu", False))
    expected = reference.smaller(losses("solu", True))
    rows = reply.tables[AT_A_WIDTH]
    rows = rows[rows["layer"] == "solu + LN"]
    assert rows["width"].tolist() == [2, 3, 5]
    for place, row in enumerate(rows.to_dict("records")):
        x = expected.at(place)
        inside = -np.inf < x.mean < 1
        assert np.isnan(row["mean"]) or (inside and row["mean"] == pytest.approx(100 * x.mean))
    assert reply.tables[FIT]["fitted"].tolist() == pytest.approx(np.exp(reference.fitted[0]))
    assert set(reply.tables[CLAIMS]["layer"]) == {"solu", "gelu + LN", "solu + LN"}


def test_what_is_known_of_made_losses_is_found_and_said() -> None:
    arms = {
        ("gelu", False, 1e-5): GELU,
        ("solu", False, 1e-5): {8: 4.8**-0.5, 16: 8**-0.5, 32: 12.8**-0.5},  # 40, 50, 60 % smaller
        ("solu", True, 1e-5): as_good_as(1.2),
    }
    reply = effective_width.answer(run_of(made(arms)), print)
    claims = by(reply.tables[CLAIMS], ["layer", "claim"])
    for key, expected in {
        ("solu", COSTS): 50,
        ("solu", MORE): 10,
        ("solu + LN", COSTS): -20,
        ("solu + LN", MORE): 0,
        ("solu + LN", WON): 70,
    }.items():
        row = claims[key]
        assert row["mean"] == pytest.approx(expected, abs=0.4)
        assert row["low"] < row["mean"] < row["high"]
        assert row["high"] - row["low"] < 1.5  # seeds are paired: what a seed's models share is no spread
        assert row["widths"] == "8, 16, 32"
    assert claims["solu", MORE]["status"] == "supported"
    assert claims["solu + LN", COSTS]["status"] == "not supported"
    assert "solu 50 (" in reply.sentence
    assert reply.sentence.endswith("5 seeds.")
    assert reply.notes == (effective_width.INTERVALS, effective_width.AT_ENDS, UNCORRECTED)


def test_what_is_out_of_range_is_said_in_words_and_counts_as_at_its_end() -> None:
    arms = {("gelu", False, 1e-5): GELU, ("relu", False, 1e-5): {8: 3**-0.5, 16: 8**-0.5, 32: 80**-0.5}}
    reply = effective_width.answer(run_of(made(arms)), print)
    rows = by(reply.tables[AT_A_WIDTH], "width")
    assert rows[8]["smaller, %"] == "> 50 (> 50 to > 50)"
    assert rows[32]["smaller, %"] == "< -100 (< -100 to < -100)"
    assert np.isnan([rows[width][end] for width in (8, 32) for end in ("mean", "low", "high")]).all()
    claims = by(reply.tables[CLAIMS], "claim")
    assert (claims[COSTS]["widths"], claims[COSTS]["out of range"]) == ("16", "8, 32")
    assert ": relu 0 (0 to 0) % (widths 16; 8, 32 out of range); 5 seeds." in reply.sentence
    assert claims[COSTS]["mean"] == pytest.approx((50 + 50 - 100) / 3, abs=0.5)
    assert np.isnan(claims[MORE]["mean"])
    assert claims[MORE]["status"] == "undetermined"


def test_a_claim_about_a_layer_norm_is_made_where_every_eps_makes_it() -> None:
    models = made(
        {
            ("gelu", False, 1e-5): GELU,
            ("gelu", False, 1e-12): GELU,
            ("solu", True, 1e-5): as_good_as(1.2),
            ("solu", True, 1e-12): as_good_as(0.7),
        }
    )
    reply = effective_width.answer(run_of(models), print)
    assert set(reply.tables[CLAIMS]["layer"]) == {"solu + LN, eps 1e-05", "solu + LN, eps 1e-12"}
    assert f"solu + LN, {COSTS}, at all of 2 eps: undetermined." in reply.notes


def test_regimes_stand_beside_each_other_and_diverged_models_are_left_out_and_said() -> None:
    arms = {("gelu", False, 1e-5): GELU, ("solu", False, 1e-5): as_good_as(0.5)}
    one, other = made(arms), made(arms, density=0.3)
    lost = one.index[one["model.activation"].eq("solu") & one["model.hidden"].eq(8)][:3]
    one.loc[lost, "status"] = "diverged"
    other.loc[other.index[0], "status"] = "diverged"
    reply = effective_width.answer(run_of(pd.concat([one, other], ignore_index=True)), print)
    assert list(dict.fromkeys(reply.tables[CLAIMS]["regime"])) == ["density 0.1", "density 0.3"]
    widths = reply.tables[AT_A_WIDTH].groupby("regime")["width"].apply(list)
    assert widths["density 0.1"] == [16, 32]
    assert reply.tables[AT_A_WIDTH].groupby("regime")["seeds"].first().tolist() == [5, 4]
    assert "density 0.1: solu at width 8 is left out: too many models diverged." in reply.notes
    assert "density 0.3: 1 seeds are left out, in which a model diverged." in reply.notes


def test_a_regime_in_which_every_seed_lacks_a_model_is_left_out_and_said() -> None:
    arms = {("gelu", False, 1e-5): GELU, ("solu", False, 1e-5): as_good_as(0.5)}
    one, other = made(arms, seeds=4), made(arms, density=0.3, seeds=4)
    for seed, width in enumerate((4, 8, 16, 32)):  # one in four of a width, of which none is left out for it
        lost = one["model.activation"].eq("gelu") & one["seed"].eq(seed) & one["model.hidden"].eq(width)
        one.loc[lost, "status"] = "diverged"
    reply = effective_width.answer(run_of(pd.concat([one, other], ignore_index=True)), print)
    assert set(reply.tables[CLAIMS]["regime"]) == {"density 0.3"}
    assert "density 0.1: 4 seeds are left out, in which a model diverged." in reply.notes
    with pytest.raises(FolderError, match="effective_width needs trained gelu models"):
        effective_width.answer(run_of(one), print)


@pytest.mark.parametrize(
    "arms",
    [
        {("gelu", False, 1e-5): GELU},
        {("relu", False, 1e-5): GELU, ("solu", False, 1e-5): GELU},
        {("gelu", False, 1e-5): {8: 0.5}, ("solu", False, 1e-5): {8: 0.5}},
    ],
)
def test_a_run_without_a_reference_or_anything_beside_it_is_refused(arms: dict[Any, Any]) -> None:
    with pytest.raises(FolderError, match="effective_width needs trained gelu models"):
        effective_width.answer(run_of(made(arms)), print)
