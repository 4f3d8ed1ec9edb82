"""The tables: every setting a column, every row a model in order, and what is undefined null."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from toymodels import And
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.results import tables
from toymodels.sweeps.results.reading import load
from toymodels.sweeps.results.summary import summarise
from toymodels.sweeps.spec.names import setting_names
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.store import Store
from toymodels.training.experiment import sampler

# Hard on the tables: a diverging rate, a density that never fires, two widths, an eps of both kinds, a listed law.
TEXT = """
question = "hard?"
[features]
n = 6
density = 0.3
[model]
hidden = 2
output = "linear"
[train]
steps = 30
batch = 16
[eval]
samples = 256
[[case]]
"train.learning_rate" = 1e30
[[case]]
"features.density" = 1e-9
[[case]]
"model.hidden" = 3
"features.n" = 4
[[case]]
"model.layer_norm" = true
"model.layer_norm_eps" = "matched"
[[case]]
"model.layer_norm" = true
"model.layer_norm_eps" = 1e-12
[[case]]
"features.importance" = { law = "list", values = [1, 2, 3, 4, 5, 0] }
[[case]]
"features.importance" = { law = "list", values = [0, 0, 0, 0, 0, 0] }
[grid]
seed = [3, 1]
"""
PLAN: Plan = make_plan(parse(TEXT, "hard", "hard.toml"))
SIZES = [(s["features.n"], s["model.hidden"]) for s in PLAN.settings(range(len(PLAN)))]
ROWS = {"models": len(PLAN), "features": sum(n for n, _ in SIZES), "neurons": sum(m for _, m in SIZES)}
DIVERGED = {0, 1}
UNSEEN = {2, 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hard")
    outcome = run(PLAN, path, "autograd", "cpu")
    assert (outcome.diverged, outcome.failed) == (len(DIVERGED), {})
    return path


def table(folder: Path, name: str) -> pa.Table:
    return pq.read_table(folder / f"{name}.parquet")


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return table(folder, name).to_pylist()


@pytest.mark.parametrize("name", ROWS)
def test_a_row_for_each_in_model_order(folder: Path, name: str) -> None:
    found = rows(folder, name)
    if name == "models":
        assert [row["model"] for row in found] == list(range(len(PLAN)))
    else:
        index, axis = name.removesuffix("s"), ["features", "neurons"].index(name)
        expected = [(model, i) for model, sizes in enumerate(SIZES) for i in range(sizes[axis])]
        assert [(row["model"], row[index]) for row in found] == expected
    assert len(found) == ROWS[name]


def test_every_setting_is_a_column_by_its_dotted_name(folder: Path) -> None:
    columns = table(folder, "models").column_names
    other_spellings = {"features.frequency", "features.importance", "features.firing.kind", "model.embedding.size"}
    assert setting_names() - other_spellings - {"task.target.kind"} <= set(columns)
    for row, settings, key in zip(rows(folder, "models"), PLAN.settings(range(len(PLAN))), PLAN.keys, strict=True):
        flat = settings.flat()
        flat["model.layer_norm_eps"] = str(flat["model.layer_norm_eps"])  # numbers and a word: words
        assert {name: row[name] for name in flat} == flat
        assert row["key"] == key


@pytest.mark.parametrize(
    "name, columns",
    [
        ("models", ["model", "seed", "loss", "loss_fraction", "status", "layer_norm_eps", "diverged_step"]),
        ("features", ["model", "feature", "density", "importance", "norm", "tier", "r2", "weight_alignment"]),
        ("neurons", ["model", "neuron", "monosemanticity", "main_feature", "dead"]),
    ],
)
def test_columns_of_the_contract_are_there(folder: Path, name: str, columns: list[str]) -> None:
    assert set(columns) <= set(table(folder, name).column_names)


@pytest.mark.parametrize("name", ROWS)
def test_no_number_is_nan_or_infinite(folder: Path, name: str) -> None:
    whole = table(folder, name)
    floats = [n for n in whole.column_names if pa.types.is_floating(whole.schema.field(n).type)]
    assert floats
    for column in floats:
        assert all(value is None or math.isfinite(value) for value in whole[column].to_pylist()), column


def test_tiers_are_three_words_or_null(folder: Path) -> None:
    features = rows(folder, "features")
    assert {row["tier"] for row in features} <= {"neuron", "hidden", "lost", None}
    assert {row["model"] for row in features if row["tier"] is None} == DIVERGED | UNSEEN
    for row in features:
        assert (row["tier"] is None) == (row["r2"] is None)
        if row["tier"]:
            assert (row["tier"] == "lost") == (row["r2"] <= 0.5)


def test_tier_counts_are_those_of_the_features(folder: Path) -> None:
    features = rows(folder, "features")
    for row in rows(folder, "models"):
        mine = [feature["tier"] for feature in features if feature["model"] == row["model"]]
        for tier in ("neuron", "hidden", "lost"):
            assert row[f"features_{tier}"] == (None if row["model"] in DIVERGED else mine.count(tier))


def test_diverged_model_has_settings_and_nothing_measured(folder: Path) -> None:
    settings = {*PLAN.settings([0])[0].flat(), "model", "key", "status", "diverged_step"}
    for row in rows(folder, "models"):
        diverged = row["model"] in DIVERGED
        assert row["status"] == ("diverged" if diverged else "ok")
        assert (row["diverged_step"] is not None) == diverged
        assert (row["loss"] is None) == diverged
        if diverged:
            assert {name for name in row.keys() - settings if row[name] is not None} == set()
    for row in rows(folder, "features"):
        known = {name for name, value in row.items() if value is not None}
        assert (known == {"model", "feature", "density", "importance"}) == (row["model"] in DIVERGED)


def test_unseen_feature_has_no_r2_but_a_norm(folder: Path) -> None:
    for row in rows(folder, "features"):
        if row["model"] in UNSEEN:
            assert (row["active_examples"], row["r2"]) == (0, None)
            assert row["norm"] is not None


def test_loss_fraction_is_null_where_nothing_matters(folder: Path) -> None:
    for row in rows(folder, "models"):
        nothing_matters = row["features.importance.values"] == [0.0] * 6
        assert (row["loss_fraction"] is None) == (nothing_matters or row["model"] in DIVERGED)
        if nothing_matters:
            assert row["loss"] == 0


def test_main_feature_is_a_feature_or_null(folder: Path) -> None:
    for row in rows(folder, "neurons"):
        assert row["main_feature"] is None or 0 <= row["main_feature"] < SIZES[row["model"]][0]
        assert (row["main_feature"] is None) == (row["monosemanticity"] is None)


def test_resolved_eps_is_a_number_exactly_where_there_is_a_layer_norm(folder: Path) -> None:
    for row in rows(folder, "models"):
        assert (row["layer_norm_eps"] is not None) == (row["model.layer_norm"] and row["model"] not in DIVERGED)
        if row["model.layer_norm_eps"] == "1e-12":
            assert row["layer_norm_eps"] == 1e-12


def test_summary_has_an_arm_for_what_varies_seeds_aside(folder: Path) -> None:
    arms = summarise(load(folder))
    assert [arm.models for arm in arms] == [2] * (len(PLAN) // 2)
    assert sum(arm.diverged for arm in arms) == len(DIVERGED)
    assert all("seed" not in arm.settings for arm in arms)
    for arm in arms:
        for value in arm.measures.values():
            assert value is None or math.isfinite(value.mean)


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_tables_are_the_same_rows_however_few_models_are_held_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Packs of several shapes interleave: a window of models cuts across them."""
    shutil.copytree(folder, tmp_path / "run")
    monkeypatch.setattr(tables, "MODELS_AT_ONCE", at_once)
    tables.build(Store(tmp_path / "run"), PLAN, PLAN.packs)
    for name in ROWS:
        assert pq.ParquetFile(tmp_path / "run" / f"{name}.parquet").num_row_groups == -(-len(PLAN) // at_once)
        assert table(tmp_path / "run", name).equals(table(folder, name))


def test_tables_of_some_packs_have_their_rows(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    some = PLAN.packs[1:-1]
    tables.build(Store(tmp_path / "run"), PLAN, some)
    kept = {model for pack in some for model in pack.models}
    for name in ROWS:
        expected = [row for row in rows(folder, name) if row["model"] in kept]
        for row, like in zip(rows(tmp_path / "run", name), expected, strict=True):
            # Words where the whole sweep has words and numbers; only numbers are left here.
            assert row | {"model.layer_norm_eps": None} == like | {"model.layer_norm_eps": None}


# ------------------------------------------------------------------------------------- targets that are not features

MIXED = """
question = "of pairs?"
[features]
n = 6
density = 0.3
values = "binary"
importance = { law = "geometric", ratio = 0.5 }
[model]
hidden = 3
activation = "relu"
output = "linear"
tied = false
hidden_bias = true
[train]
steps = 40
batch = 16
[eval]
samples = 512
[grid]
seed = [3, 1]
[[case]]
"task.target" = "identity"
[[case]]
"task.target" = { kind = "and", pairs = 4 }
"model.embedding" = 2
[[case]]
"task.target" = { kind = "and", pairs = 15 }
"task.loss" = "cross_entropy"
"features.firing" = { kind = "anticorrelated", groups = 2 }
[[case]]
"task.target" = { kind = "and", pairs = 4 }
"train.learning_rate" = 1e30
"""
MIXED_PLAN: Plan = make_plan(parse(MIXED, "mixed", "mixed.toml"))
PAIRS = [None, None, 4, 4, 15, 15, 4, 4]
"""by model how many it has; none is of features"""
WILD = {6, 7}
OF_FEATURES = ("r2", "hiddenness", "dead", "tier", "best_neuron_r2_", "ridge_r2_")


@pytest.fixture(scope="module", params=["autograd", "fused"])
def mixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixed")
    outcome = run(MIXED_PLAN, path, request.param, "cpu")
    assert (outcome.diverged, outcome.failed) == (len(WILD), {})
    return path


def test_a_row_for_each_pair_of_models_that_have_pairs(mixed: Path) -> None:
    assert [s["task.target.pairs"] for s in MIXED_PLAN.settings(range(8))] == PAIRS
    found = [(row["model"], row["target"]) for row in rows(mixed, "targets")]
    assert found == [(model, q) for model, pairs in enumerate(PAIRS) for q in range(pairs or 0)]
    assert load(mixed).targets["model"].tolist() == [model for model, _ in found]


def test_rows_of_pairs_are_what_the_model_says_of_its_samples(mixed: Path) -> None:
    loaded, found = load(mixed), rows(mixed, "targets")
    for model, pairs in enumerate(PAIRS):
        if pairs is None or model in WILD:
            continue
        one, mine = loaded.model(model), [row for row in found if row["model"] == model]
        e = one.experiment
        x, target = sampler([e]).evaluation(0, 512), e.target
        assert target == And(pairs)
        members = And(pairs).members(6, e.seed)
        taps = one(x)
        said = e.cost.prediction(taps.out)[0].double().numpy()
        weights, p = e.feature_importance(), e.features.probabilities()
        for q, (row, (i, j)) in enumerate(zip(mine, members.tolist(), strict=True)):
            assert (row["first"], row["second"]) == (i, j)
            apart = pairs == 4 or i // 3 != j // 3
            assert row["density"] == pytest.approx(p[i] * p[j] if apart else 0)
            assert row["importance"] == pytest.approx((weights[i] * weights[j]) ** 0.5)
            t = (x[0, i] * x[0, j]).double().numpy()
            assert (row["r2"] is not None) == bool(t.any())
            if not t.any():
                assert (row["best_neuron"], row["best_neuron_r2_post"], row["dead"]) == (None, None, False)
                continue
            assert row["r2"] == pytest.approx(1 - ((t - said[q]) ** 2).mean() / t.var(), rel=1e-4, abs=1e-5)
            with np.errstate(invalid="ignore", divide="ignore"):
                alone = np.corrcoef(t, taps.post[0].double().numpy())[0, 1:] ** 2
            assert row["best_neuron_r2_post"] == pytest.approx(np.nanmax(alone), rel=1e-3, abs=1e-6)
            assert alone[row["best_neuron"]] == pytest.approx(np.nanmax(alone), rel=1e-3)
        (whole,) = [row for row in rows(mixed, "models") if row["model"] == model]
        recovered = [row["r2"] is not None and row["r2"] > 0.5 for row in mine]
        assert whole["targets_recovered"] == sum(recovered)
        assert whole["dead_targets"] == sum(row["dead"] for row in mine)


def test_a_diverged_model_has_pairs_and_nothing_measured_of_them(mixed: Path) -> None:
    known = {"model", "target", "first", "second", "density", "importance"}
    for row in rows(mixed, "targets"):
        assert ({name for name, value in row.items() if value is not None} == known) == (row["model"] in WILD)


def test_models_of_features_and_of_pairs_stand_in_one_table_each_with_its_own(mixed: Path) -> None:
    of_features = {model for model, pairs in enumerate(PAIRS) if pairs is None}
    for row in rows(mixed, "features"):
        said = {name for name in row if name.startswith(OF_FEATURES) and row[name] is not None}
        assert bool(said) == (row["model"] in of_features)
        assert (row["norm"] is None) == (row["model"] in WILD)
        assert row["importance"] is not None
    for row in rows(mixed, "models"):
        ours = row["model"] in of_features
        for name in ("features_recovered", "features_lost", "features_neuron", "features_hidden", "dead_features"):
            assert (row[name] is not None) == ours, name
        for name in ("targets_recovered", "dead_targets"):
            assert (row[name] is not None) == (not ours and row["model"] not in WILD), name
        assert (row["best_neuron_recovered_post"] is None) == (row["model"] in WILD)
        assert (row["loss_exact"] is None) == (row["model"] in WILD)
    widths = [row["model"] for row in rows(mixed, "features")], [row["model"] for row in rows(mixed, "neurons")]
    assert widths == ([m for m in range(8) for _ in range(6)], [m for m in range(8) for _ in range(3)])


@pytest.mark.parametrize("name", ["models", "features", "neurons", "targets"])
def test_no_number_of_pairs_is_nan_or_infinite(mixed: Path, name: str) -> None:
    for row in rows(mixed, name):
        assert all(value is None or math.isfinite(value) for value in row.values() if isinstance(value, float))


@pytest.mark.parametrize("at_once", [1, 3])
def test_tables_with_pairs_are_the_same_however_few_models_are_held_at_once(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    shutil.copytree(mixed, tmp_path / "run")
    monkeypatch.setattr(tables, "MODELS_AT_ONCE", at_once)
    tables.build(Store(tmp_path / "run"), MIXED_PLAN, MIXED_PLAN.packs)
    for name in ("models", "features", "neurons", "targets"):
        assert table(tmp_path / "run", name).equals(table(mixed, name))


def test_there_is_a_table_of_targets_only_where_they_are_no_features(folder: Path) -> None:
    assert not (folder / "targets.parquet").exists()
    with pytest.raises(FolderError, match=r"every target is of a feature: the table of features has them$"):
        _ = load(folder).targets
