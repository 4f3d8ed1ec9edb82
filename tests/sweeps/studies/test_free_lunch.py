"""Free lunches of a run: arms and regimes, planted lunches and paid ones, candidates, losses and LayerNorms."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sweeps.studies.conftest import Ran
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run as finish
from toymodels.sweeps.execution.tuning import chosen_by, to_be_tuned
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.tuning import make_tuning_folder, tuning_folder
from toymodels.sweeps.studies import free_lunch
from toymodels.sweeps.studies.reply import Reply, estimate

SWEEP = """
case = [
    { "task.loss" = "squared", "train.weights_kept" = 1.0 },
    { "task.loss" = "squared", "train.weights_kept" = 0.5 },
    { "task.loss" = "cross_entropy", "train.weights_kept" = 1.0 },
]
[features]
n = 6
density = 0.3
values = "binary"
[model]
hidden = 5
tied = false
output = "linear"
[train]
steps = 20
batch = 32
[eval]
samples = 512
[grid]
"model.activation" = ["relu", "solu"]
"model.layer_norm" = [false, true]
seed = [0, 1, 2, 3]
[tune]
seeds = [10, 11]
"train.learning_rate" = [0.01, 0.03, 0.05]
"""
LAYERS = ["relu", "relu + LN", "solu", "solu + LN"]
FIRST = "loss squared"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The finished run of the sweep, tuned."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    plan = make_plan(parse(SWEEP, "tiny", "tiny.toml"))
    trials = to_be_tuned(folder, plan, extend=False)
    assert trials is not None
    make_tuning_folder(folder, plan.sweep, trials)
    finish(trials, tuning_folder(folder), "autograd", "cpu")
    finish(make_plan(chosen_by(plan.sweep, trials, tuning_folder(folder))), folder, "autograd", "cpu")
    return load(folder)


@pytest.fixture(scope="module")
def reply(run: Run) -> Reply:
    return free_lunch.answer(run, print)


def of(reply: Reply, title: str, **where: object) -> Any:
    rows: Any = reply.tables[title]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def models(run: Run, layer: str, *, loss: str = "squared", kept: float = 1.0) -> Any:
    rows: Any = run.models[run.models["task.loss"].eq(loss) & run.models["train.weights_kept"].eq(kept)]
    norm = layer.endswith("LN")
    rows = rows[rows["model.activation"].eq(layer.partition(" ")[0]) & rows["model.layer_norm"].eq(norm)]
    return rows.set_index("seed")


def test_losses_are_regimes_and_shares_of_weights_are_arms(run: Run, reply: Reply) -> None:
    arms = of(reply, free_lunch.ARMS, measure=free_lunch.LOSS)
    by_regime = {regime: list(rows["arm"]) for regime, rows in arms.groupby("regime", sort=False)}
    assert sorted(by_regime[FIRST]) == sorted([*LAYERS, *(f"{layer}, weights_kept 0.5" for layer in LAYERS)])
    assert sorted(by_regime["loss cross_entropy"]) == LAYERS
    row = of(reply, free_lunch.ARMS, regime=FIRST, arm="solu, weights_kept 0.5", measure="dead neurons").iloc[0]
    expected = estimate(models(run, "solu", kept=0.5)["dead_neurons"])
    assert {name: row[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    assert (row["layer"], row["kept"]) == ("solu", 0.5)


def test_counts_are_of_recovered_features_with_a_best_neuron_above_the_cut(run: Run, reply: Reply) -> None:
    features = run.features[run.features["model"].isin(models(run, "relu")["model"])]
    there = features[(features["r2"] > 0.5) & (features["best_neuron_r2_post"] > 0.6)]
    row = of(reply, free_lunch.ARMS, regime=FIRST, arm="relu", measure="best neuron above 0.6").iloc[0]
    assert row["mean"] == len(there) / 4


def test_offers_are_to_whoever_has_the_arm_of_least_loss(run: Run, reply: Reply) -> None:
    arms = of(reply, free_lunch.ARMS, regime=FIRST, measure=free_lunch.LOSS)
    best = arms.loc[arms["mean"].idxmin(), "arm"]
    offers = of(reply, free_lunch.OFFERS, regime=FIRST)
    assert set(offers["against"]) == {best}
    assert set(offers["arm"]) == set(arms["arm"]) - {best}
    against = of(reply, free_lunch.AGAINST, regime=FIRST)
    assert list(against.loc[against["least loss"] == "*", "arm"]) == [best]
    means = arms.set_index("arm")["mean"]
    for arm, mean in of(reply, free_lunch.OFFERS, regime=FIRST, measure=free_lunch.LOSS)[["arm", "mean"]].to_numpy():
        assert mean == pytest.approx(means[arm] - means[best])


def planted(run: Run, *, cuts: bool, loss: float = 0.0) -> Reply:
    """The answer of this run if SoLU had four features more than any arm, at ``loss`` more than the least."""
    changed = Run(run.path)
    table, features = run.models.copy(), run.features.copy()
    solu = models(run, "solu")["model"].to_numpy()
    wiggle = table["seed"] * 1e-4
    table["loss_fraction"], table["features_neuron"] = 0.5 + wiggle, table["seed"] % 2
    features["best_neuron_r2_post"], features["r2"] = 0.2, 0.9
    table.loc[solu, "features_neuron"] = 6
    table.loc[solu, "loss_fraction"] = 0.5 + loss + wiggle[solu]
    if cuts:
        features.loc[features["model"].isin(solu), "best_neuron_r2_post"] = 0.9
    changed.__dict__ |= {"models": table, "features": features}
    return free_lunch.answer(changed, print)


def test_a_planted_lunch_is_found_and_one_that_is_paid_or_hangs_on_the_cut_is_not(run: Run) -> None:
    free = of(planted(run, cuts=True), free_lunch.AGAINST, regime=FIRST).set_index("arm")
    assert free.pop("least loss").tolist().count("*") == 1
    assert free.loc["relu"].tolist() == [FIRST, "supported", 1, "solu"]
    assert free.loc["solu", free_lunch.FREE] == "not supported"
    for paid in (planted(run, cuts=False), planted(run, cuts=True, loss=0.01)):
        rows = of(paid, free_lunch.AGAINST, regime=FIRST)
        assert set(rows[free_lunch.FREE]) == {"not supported"}
        assert "is not supported" in paid.sentence
    assert "is supported" in planted(run, cuts=True).sentence


def test_the_nearest_is_told_to_be_chosen_and_to_have_fewer_where_it_has(run: Run) -> None:
    """SoLU has both four features more and the least loss: whatever is nearest to a lunch beside it has fewer."""
    sentence = planted(run, cuts=True, loss=-0.1).sentence
    assert "chosen as the nearest of 7: its interval is too narrow" in sentence
    assert "features fewer in neurons" in sentence


def test_models_that_diverged_are_counted_and_an_arm_of_none_but_them_is_named(run: Run) -> None:
    changed, table = Run(run.path), run.models.copy()
    gone = models(run, "solu + LN", kept=0.5)["model"].tolist() + models(run, "relu")["model"].tolist()[:1]
    at = table["model"].isin(gone)
    table.loc[at, "status"] = "diverged"
    table.loc[at, ["features_recovered", "features_neuron", "loss_fraction"]] = float("nan")
    changed.__dict__["models"] = table
    notes = free_lunch.answer(changed, print).notes
    assert "5 models that diverged are left out." in notes
    (told,) = (note for note in notes if "every model diverged" in note)
    assert "weights_kept 0.5" in told
    assert "solu" in told
    assert ";" not in told
    assert not any("diverged" in note for note in free_lunch.answer(run, print).notes)


def test_candidates_are_those_of_the_tuning_by_their_means(run: Run, reply: Reply) -> None:
    row = of(reply, free_lunch.CANDIDATES, regime=FIRST, arm="relu", count=free_lunch.IN_NEURONS).iloc[0]
    tuning = models(load(tuning_folder(run.path)), "relu")
    means = tuning.groupby("train.learning_rate")[["loss_fraction", "features_neuron"]].mean()
    near = means[means["loss_fraction"] <= 1.01 * means["loss_fraction"].min()]["features_neuron"]
    assert row["near"] == f"{len(near)} of 3"
    assert (row["least"], row["most"]) == (near.min(), near.max())
    assert row["at best"] == means["features_neuron"][means["loss_fraction"].idxmin()]


def test_losses_and_layer_norms_are_compared_seed_by_seed(run: Run, reply: Reply) -> None:
    row = of(reply, free_lunch.ENTROPY, arm="solu", measure="recovered").iloc[0]
    entropy, squared = (models(run, "solu", loss=loss)["features_recovered"] for loss in ("cross_entropy", "squared"))
    assert row["mean"] == pytest.approx((entropy - squared).mean())
    assert "By cross-entropy in place of squared error the features of relu" in reply.sentence
    assert (row["squared"], row["cross-entropy"]) == (squared.mean(), entropy.mean())
    assert set(of(reply, free_lunch.ENTROPY)["arm"]) == set(LAYERS)
    assert any("not compared" in note for note in reply.notes)
    dead = of(reply, free_lunch.DEAD, regime=FIRST, arm="relu, weights_kept 0.5").iloc[0]
    pair = [models(run, layer, kept=0.5)["dead_neurons"] for layer in ("relu", "relu + LN")]
    assert dead["mean"] == pytest.approx((pair[1] - pair[0]).mean())
    assert (dead["without"], dead["with"]) == (pair[0].mean(), pair[1].mean())


def test_runs_that_cannot_say_are_refused(ran: Ran) -> None:
    alone = "[features]" + SWEEP.partition("[features]")[2].partition("[grid]")[0].replace(
        "hidden = 5", 'hidden = 5\nactivation = "relu"'
    )
    with pytest.raises(FolderError, match="no regime of this run has two"):
        free_lunch.answer(ran(alone), print)
    pairs = alone + '[task]\ntarget = { kind = "and", pairs = 3 }\n'
    with pytest.raises(FolderError, match="say what each feature is"):
        free_lunch.answer(ran(pairs), print)
