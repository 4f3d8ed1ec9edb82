"""The regimes of a run: which models form them, what is left out, and which is the primary one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import door
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.results.reading import load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.verdict import judging, regimes


def test_regimes_are_paired_by_seed_and_the_primary_one_comes_first(tiny):
    found, notes = regimes.regimes(tiny)
    assert [(regime.name, regime.primary) for regime in found] == [("binary values", True), ("uniform values", False)]
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
                assert {regimes.eps_label(value) for value in rows["model.layer_norm_eps"]} == {eps}


def test_batches_are_the_models_in_the_order_asked_for(tiny):
    numbers = regimes.regimes(tiny)[0][0].arms["1e-05"]["solu + LN"][::-1]
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


def test_without_controls_whether_solu_adds_anything_is_open(make_run, tmp_path):
    found = judging.judge(make_run(tmp_path, ('"gelu"', '"elu"')), "none")
    for verdict in found.verdicts:
        assert verdict.adds is not Status.SUPPORTED
        assert any("no LN-only control" in note for note in verdict.notes)


def test_without_solu_and_layer_norm_there_is_nothing_to_judge(make_run, tmp_path):
    with pytest.raises(FolderError, match=r"no models of solu \+ LN"):
        judging.judge(make_run(tmp_path, ('"solu"', '"elu"')), "none")


OF_PAIRS = ("hidden = 4\n", 'hidden = 4\ntied = false\n[task]\ntarget = { kind = "and", pairs = 5 }\n')
OF_BOTH = (
    ("hidden = 4\n", "hidden = 4\ntied = false\n"),
    ("[grid]\n", '[grid]\n"task.target" = ["identity", { kind = "and", pairs = 5 }]\n'),
)


def test_pairs_of_features_are_left_out_as_the_predictions_are_of_features(make_run, tmp_path):
    found, notes = regimes.regimes(make_run(tmp_path / "both", *OF_BOTH))
    assert [(regime.settings["task.target"], regime.primary) for regime in found] == [
        ("identity", True),
        ("identity", False),
    ]
    assert len(notes) == 2
    assert all("target 'and' is not of features, which the predictions are about" in note for note in notes)
    of_pairs = make_run(tmp_path / "pairs", OF_PAIRS)
    with pytest.raises(FolderError, match=r"nothing to judge: .*target 'and' is not of features"):
        regimes.regimes(of_pairs)
    code, _, err = door("verdict", of_pairs.path)
    assert (code, len([line for line in err.splitlines() if line.startswith("toymodels: ")])) == (4, 1)


def test_a_decoder_and_its_entropies_are_judged(make_run, tmp_path):
    decoder = 'hidden = 4\ntied = false\noutput = "linear"\nembedding = 5\n'
    of = make_run(
        tmp_path,
        ("hidden = 4\n", f'{decoder}[task]\nloss = "cross_entropy"\n'),
        ('["uniform", "binary"]', '["binary"]'),
    )
    found = judging.judge(of, "none")
    assert [regime.primary for regime in found.regimes] == [True]


def test_primary_is_checked_and_kept(tiny):
    assert load(tiny.path).plan.sweep.primary == {"features.values": "binary"}
    with pytest.raises(SpecError, match="did you mean"):
        parse('[features]\nn = 3\n[primary]\n"features.value" = "binary"\n', "t", "t.toml")
    with pytest.raises(SpecError, match="primary: expected a table"):
        parse("primary = 3\n[features]\nn = 3\n", "t", "t.toml")


def test_a_run_without_a_named_regime_says_so(make_run, tmp_path):
    found, notes = regimes.regimes(make_run(tmp_path, ('[primary]\n"features.values" = "binary"\n', "")))
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
    found, _ = regimes.regimes(with_diverged(tiny, model__activation="gelu", model__layer_norm=False))
    assert set(found[0].arms["1e-05"]) == {"solu + LN", "gelu + LN"}
    assert found[0].notes == ("gelu: every model diverged",)


def test_an_eps_at_which_solu_diverged_is_named_and_left_out(tiny):
    diverged = {"model__activation": "solu", "model__layer_norm_eps": "matched"}
    found, _ = regimes.regimes(with_diverged(tiny, **diverged))
    assert list(found[0].arms) == ["1e-05"]
    assert found[0].notes == ("solu + LN at LayerNorm eps matched: every model diverged",)


def test_an_eps_without_a_control_is_judged_and_said(tiny):
    diverged = {"model__activation": "gelu", "model__layer_norm": True, "model__layer_norm_eps": "matched"}
    found, _ = regimes.regimes(with_diverged(tiny, **diverged))
    assert list(found[0].arms) == ["1e-05", "matched"]
    assert set(found[0].arms["matched"]) == {"solu + LN", "gelu"}
    assert "no LN-only control" in found[0].notes[1]


def test_one_seed_that_diverged_is_counted(tiny):
    found, _ = regimes.regimes(with_diverged(tiny, model__activation="solu", seed=2))
    assert found[0].seeds == (0, 1, 3)
    assert found[0].notes == ("1 seeds left out: an arm of theirs diverged or is missing",)


def test_a_primary_regime_that_is_not_there_makes_no_other_primary(make_run, tmp_path):
    found, notes = regimes.regimes(make_run(tmp_path, ('["uniform", "binary"]', '["uniform"]')))
    assert [regime.primary for regime in found] == [False]
    assert "is not in this run" in notes[0]


def test_a_run_of_a_version_without_gates_and_experts_is_judged(tiny):
    older = load(tiny.path)
    older.__dict__["models"] = tiny.models.drop(columns=["model.gated", "model.experts"])
    assert [regime.name for regime in regimes.regimes(older)[0]] == ["binary values", "uniform values"]
