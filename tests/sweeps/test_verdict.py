"""The verdict of a run: its regimes, what it writes, and what it refuses."""

from __future__ import annotations

import json

import pytest

from sweeps import verdict
from sweeps.errors import FolderError, SpecError
from sweeps.plan import make_plan
from sweeps.reading import load
from sweeps.run import run
from sweeps.sweep import parse

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
    run(make_plan(parse(text, "tiny", "tiny.toml")), folder, "autograd", "cpu", lambda _: None, lambda _: None)
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


def test_what_is_written_holds_every_setting_and_no_nan(tiny):
    judgement = verdict.judge(tiny, "primary")
    document = json.loads(verdict.write(tiny, judgement).read_text())
    first, second = document["regimes"]
    assert (first["primary"], second["primary"]) == (True, False)
    assert len(first["settings_of_analysis"]) == 2 * 4 * 3
    assert sum(at["default"] for at in first["settings_of_analysis"]) == 1
    assert set(first["predictions"]) == {"P1", "P2", "P3", "P4", "P6", "P7", "P9"}
    f1 = {s["statistic"]: s for s in first["settings_of_analysis"][0]["predictions"]["P9"]["statistics"]}["F1 of TopK"]
    assert f1["reason"] != "not measured"
    assert "1e-12" in first["notes"][0]
    assert first["overall"] in ("not supported", "undetermined")


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
