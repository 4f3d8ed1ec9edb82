"""The verdict of a run: its regimes, what it writes, and what it refuses."""

from __future__ import annotations

import importlib
import json
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from toymodels import figures
from toymodels.figures.report import write_report
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.verdict import judging as verdict
from toymodels.sweeps.verdict.evidence import SCHEMAS

TINY = """
case = [
    { "model.activation" = "solu", "model.layer_norm" = true, "model.layer_norm_eps" = 1e-5 },
    { "model.activation" = "solu", "model.layer_norm" = true, "model.layer_norm_eps" = "matched" },
    { "model.activation" = "gelu", "model.layer_norm" = true, "model.layer_norm_eps" = 1e-5 },
    { "model.activation" = "gelu", "model.layer_norm" = true, "model.layer_norm_eps" = "matched" },
    { "model.activation" = "gelu" },
]
[features]
n = 8
importance = { law = "geometric", ratio = 0.8, shuffle = true }
frequency = { law = "zipf", exponent = 1.0, cap = 0.5 }
[model]
hidden = 4
[train]
steps = 30
batch = 32
[eval]
samples = 512
[primary]
"features.values" = "binary"
[grid]
"features.density" = [0.2]
"features.values" = ["uniform", "binary"]
seed = { range = [0, 4] }
"""


def made(folder, text=TINY):
    run(make_plan(parse(text, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return made(tmp_path_factory.mktemp("tiny"))


def test_regimes_are_paired_by_seed_and_the_primary_one_comes_first(tiny):
    found, notes = verdict.regimes(tiny)
    assert [(regime.name, regime.primary) for regime in found] == [("binary", True), ("uniform", False)]
    assert notes == ()
    assert list(found[0].arms) == ["1e-05", "matched"]
    assert list(found[0].arms["matched"]) == ["solu + LN", "gelu + LN", "gelu"]
    models = tiny.models.set_index("model")
    for eps, arms in found[0].arms.items():
        for name, numbers in arms.items():
            rows = models.loc[numbers]
            assert tuple(rows["seed"]) == found[0].seeds == (0, 1, 2, 3)
            assert set(rows["features.values"]) == {"binary"}
            assert set(rows["model.activation"] + rows["model.layer_norm"].map({True: " + LN", False: ""})) == {name}
            if name != "gelu":
                assert {verdict.eps_label(value) for value in rows["model.layer_norm_eps"]} == {eps}


def test_batches_are_the_models_in_the_order_asked_for(tiny):
    numbers = verdict.regimes(tiny)[0][0].arms["1e-05"]["solu + LN"][::-1]
    experiments, parameters = tiny.batch(numbers)
    for place, number in enumerate(numbers):
        one = tiny.model(number)
        assert experiments[place] == one.experiment
        assert (parameters.W_in[place] == one.parameters.W_in[0]).all()
        assert parameters.ln_eps is not None
        assert one.parameters.ln_eps is not None
        assert parameters.ln_eps[place] == one.parameters.ln_eps[0]
    with pytest.raises(ValueError, match="one structure"):
        tiny.batch([0, len(tiny.plan) - 1])


def test_without_controls_there_is_nothing_to_judge(tmp_path):
    text = TINY.replace('"gelu"', '"elu"')
    with pytest.raises(FolderError, match="no LN-only control"):
        verdict.judge(made(tmp_path, text), "none")


def test_primary_is_checked_and_kept(tiny):
    assert load(tiny.path).plan.sweep.primary == {"features.values": "binary"}
    with pytest.raises(SpecError, match="did you mean"):
        parse(TINY.replace('"features.values" = "binary"', '"features.value" = "binary"'), "t", "t.toml")
    with pytest.raises(SpecError, match="primary: expected a table"):
        parse("primary = 3\n[features]\nn = 3\n", "t", "t.toml")


def test_a_run_without_a_named_regime_says_so(tmp_path):
    text = TINY.replace('[primary]\n"features.values" = "binary"\n', "")
    found, notes = verdict.regimes(made(tmp_path, text))
    assert not any(regime.primary for regime in found)
    assert "was not named" in notes[0]


def with_diverged(of, **settings):
    """The run, its models of these settings said to have diverged."""
    again = load(of.path)
    models = of.models.copy()
    chosen = np.logical_and.reduce([models[name.replace("__", ".")] == value for name, value in settings.items()])
    models.loc[chosen, "status"] = "diverged"
    again.__dict__["models"] = models
    return again


def test_an_arm_that_diverged_is_named(tiny):
    found, _ = verdict.regimes(with_diverged(tiny, model__activation="gelu", model__layer_norm=False))
    assert set(found[0].arms["1e-05"]) == {"solu + LN", "gelu + LN"}
    assert found[0].notes == ("gelu: every model diverged",)


def test_an_eps_at_which_solu_diverged_is_named_and_left_out(tiny):
    diverged = {"model__activation": "solu", "model__layer_norm_eps": "matched"}
    found, _ = verdict.regimes(with_diverged(tiny, **diverged))
    assert list(found[0].arms) == ["1e-05"]
    assert found[0].notes == ("solu + LN at LayerNorm eps matched: every model diverged",)


def test_an_eps_without_a_control_is_left_out_and_not_the_regime(tiny):
    diverged = {"model__activation": "gelu", "model__layer_norm": True, "model__layer_norm_eps": "matched"}
    found, _ = verdict.regimes(with_diverged(tiny, **diverged))
    assert list(found[0].arms) == ["1e-05"]
    assert "no LN-only control" in found[0].notes[1]


def test_one_seed_that_diverged_is_counted(tiny):
    found, _ = verdict.regimes(with_diverged(tiny, model__activation="solu", seed=2))
    assert found[0].seeds == (0, 1, 3)
    assert found[0].notes == ("1 seeds left out: an arm of theirs diverged or is missing",)


def test_a_primary_regime_that_is_not_there_makes_no_other_primary(tmp_path):
    text = TINY.replace('["uniform", "binary"]', '["uniform"]')
    found, notes = verdict.regimes(made(tmp_path, text))
    assert [regime.primary for regime in found] == [False]
    assert "is not in this run" in notes[0]


def test_too_few_samples_are_refused(tmp_path):
    with pytest.raises(FolderError, match=r"eval\.samples: a verdict needs at least"):
        verdict.judge(made(tmp_path, TINY.replace("samples = 512", "samples = 200")), "none")


# -------------------------------------------------------------------------------------------------- what it rests on


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """`TINY`, its features all recovered or nearly so, with its verdict and tables of evidence."""
    text = TINY.replace("steps = 30\nbatch = 32", "steps = 400\nbatch = 64\nlearning_rate = 1e-2")
    text = text.replace("hidden = 4", "hidden = 8")
    made_run = made(tmp_path_factory.mktemp("judged"), text)
    verdict.write(made_run, verdict.judge(made_run, "primary"))
    return made_run


def test_what_is_written_holds_every_setting_and_no_nan(judged):
    document = json.loads((judged.path / "verdicts.json").read_text(), parse_constant=pytest.fail)
    first, second = document["regimes"]
    assert (first["primary"], second["primary"]) == (True, False)
    assert len(first["settings_of_analysis"]) == 2 * 4 * 3
    assert sum(at["default"] for at in first["settings_of_analysis"]) == 1
    assert set(first["predictions"]) == {"P1", "P2", "P3", "P4", "P6", "P7", "P9"}
    f1 = {s["statistic"]: s for s in first["settings_of_analysis"][0]["predictions"]["P9"]["statistics"]}["F1 of TopK"]
    assert f1["reason"] != "not measured"
    assert "1e-12" in first["notes"][0]
    assert first["overall"] in ("not supported", "undetermined")


def test_evidence_has_every_feature_of_every_arm_and_no_nan(judged):
    rows = judged.evidence()
    index = ["regime", "eps", "arm", "seed", "feature"]
    assert len(rows) == 2 * 2 * 3 * 4 * 8 == len(rows.drop_duplicates(index))
    for table in SCHEMAS:
        columns = pq.read_table(judged.path / f"{table}.parquet")
        assert columns.num_rows > 0
        for column in columns.columns:
            if pa.types.is_floating(column.type):
                assert np.isfinite(column.drop_null().to_numpy()).all()
    models = judged.models.set_index("model")
    assert (models.loc[rows["model"], "seed"].to_numpy() == rows["seed"]).all()
    assert (models.loc[rows["model"], "features.values"].to_numpy() == rows["regime"]).all()


def test_tiers_of_the_evidence_are_those_of_the_verdict(judged):
    rows = judged.evidence()
    for regime in judged.verdicts["regimes"]:
        for at in regime["settings_of_analysis"]:
            if (at["recovered"], at["percentile"]) != (0.5, 99.0):
                continue
            main = rows[(rows["regime"] == regime["name"]) & (rows["eps"] == at["eps"]) & (rows["arm"] == "solu + LN")]
            sizes = [(main["tier"] == tier).sum() / len(regime["seeds"]) for tier in ("one", "two")]
            assert sizes == pytest.approx([at["tier_one"], at["tier_two"]])
            recovered = main[main["tier"] != "lost"]
            assert (recovered["r2"] > 0.5).all()
            assert ((recovered["response_alignment_percentile"] >= 99) == (recovered["tier"] == "one")).all()


def test_effects_in_company_are_the_means_that_p3_compares(judged):
    """One model, one feature, by running it on one, and on two features at a time."""
    rows = judged.evidence()
    main = rows[(rows["arm"] == "solu + LN") & rows["effect_with_tier_two"].notna()]
    row = main.iloc[len(main) // 2]
    of_model = rows[(rows["arm"] == "solu + LN") & (rows["model"] == row["model"])]
    company = [j for j in of_model.loc[of_model["tier"] == "two", "feature"] if j != row["feature"]]
    model, i = judged.model(int(row["model"])), int(row["feature"])
    mean = {"binary": 1.0, "uniform": 0.5}[str(row["regime"])]
    x = torch.zeros(8, 2 + 2 * len(company))
    x[i, 1::2] = mean
    for place, j in enumerate(company):
        x[j, 2 + 2 * place : 4 + 2 * place] = mean
    effects = model(x).readout[0, i].diff()[::2]
    assert float(row["effect_alone"]) == pytest.approx(float(effects[0]), abs=1e-5)
    assert float(row["effect_with_tier_two"]) == pytest.approx(float(effects[1:].mean()), abs=1e-4)


def test_dictionaries_are_scored_at_both_taps(judged):
    rows = judged.evidence("evidence_dictionaries")
    assert set(rows["regime"]) == {"binary"}
    taps = rows.groupby(["arm", "eps"], observed=True)[["tap", "kind"]].apply(lambda of: len(of.drop_duplicates()))
    assert taps.loc["solu + LN"].tolist() == [4, 4]
    assert taps.loc["gelu"].tolist() == [2, 2]
    assert rows["mcc"].between(0, 1).all()
    assert (rows["mcc"] <= rows["mcc_matched"] + 1e-6).all()
    assert (rows["mcc"] <= rows["mmcs_absolute"] + 1e-6).all()
    assert (rows["mmcs"] <= rows["mmcs_absolute"] + 1e-6).all()


@pytest.mark.parametrize("name", figures.OF_PREDICTIONS)
def test_every_prediction_is_drawn_and_the_same_twice(judged, name, tmp_path):
    first, second = (figures.draw(name, judged, tmp_path / part) for part in "ab")
    assert [path.name for path in first] == [f"{name}.svg", f"{name}.png"]
    for a, b in zip(first, second, strict=True):
        assert a.stat().st_size > 5000
        assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("name", figures.OF_PREDICTIONS)
def test_every_figure_of_a_prediction_names_its_regime_and_says_that_it_pools_seeds(judged, name):
    figure = importlib.import_module(f"toymodels.figures.{name}").draw(judged)
    plt.close(figure)
    assert figure.get_suptitle().replace("\n", " ").endswith("primary: binary; eps 1e-05; pooled over 4 seeds")


def test_before_the_verdict_a_figure_says_what_makes_it(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copytree(tiny.path, tmp_path / "run", dirs_exist_ok=True, ignore=shutil.ignore_patterns("verdicts.json"))
    with pytest.raises(FolderError, match="not there yet: 'toymodels verdict"):
        figures.draw("p3_gated", load(tmp_path / "run"), tmp_path)


def test_seeds_measured_in_parts_give_the_same_verdict(judged, monkeypatch):
    whole = verdict.document(verdict.judge(judged, "none"))
    monkeypatch.setattr(verdict, "MOST_SEEDS", 3)
    parts = verdict.document(verdict.judge(judged, "none"))
    for a, b in zip(whole["regimes"], parts["regimes"], strict=True):
        assert a["predictions"] == b["predictions"]
        for at_a, at_b in zip(a["settings_of_analysis"], b["settings_of_analysis"], strict=True):
            assert (at_a["tier_one"], at_a["tier_two"]) == (at_b["tier_one"], at_b["tier_two"])


def test_the_report_shows_the_verdict(judged):
    page = write_report(judged).read_text()
    assert "<h2>Verdict</h2>" in page
    for regime in judged.verdicts["regimes"]:
        assert regime["name"] in page
        assert regime["predictions"]["P1"]["status"] in page


def test_the_report_without_a_verdict_has_no_such_part(tiny):
    (tiny.path / "verdicts.json").unlink(missing_ok=True)
    assert "Verdict" not in write_report(tiny).read_text()
