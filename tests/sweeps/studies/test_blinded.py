"""The blinded test: what is shown is the order of examples alone, as many of each arm, and nothing of where it is
from."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import toymodels as tm
from tests.sweeps.studies.conftest import Ran
from toymodels.metrics.inspection import strongest
from toymodels.sweeps.console.inspecting import lines
from toymodels.sweeps.errors import FolderError, InUse, SpecError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import blinded, judgements, persons
from toymodels.sweeps.studies.judgements import Judged, Judgements
from toymodels.training.experiment import sampler, start

SWEEP = """
[features]
n = 12
density = 0.2
values = "binary"
[model]
hidden = 8
tied = false
output = "linear"
hidden_bias = true
[train]
steps = 30
batch = 32
[eval]
samples = 2048
[grid]
"model.activation" = ["gelu", "solu", "relu"]
"model.layer_norm" = [false, true]
seed = [0, 1]
"""


@pytest.fixture(scope="module")
def run(ran: Ran) -> Run:
    return ran(SWEEP)


def begun(run: Run, seed: int = 5, judge: str = "ada", neurons: int = 3) -> tuple[blinded.BlindTest, Judgements]:
    test = blinded.draw(run, None, neurons, seed)
    held = Judgements(judge, seed, test.arms, neurons, test.digest, (None,) * len(test.places))
    with judgements.judging(run, judge):
        judgements.write(run, held)
    return test, held


def test_the_usual_arms_have_as_many_neurons_each_in_an_order_of_the_seeds(run: Run) -> None:
    test = blinded.draw(run, None, 5, 0)
    assert Counter(place.arm for place in test.places) == {"gelu": 5, "gelu + LN": 5, "solu + LN": 5}
    assert len({(place.model, place.neuron) for place in test.places}) == 15
    assert all(len(place.examples) == 20 for place in test.places)
    assert blinded.draw(run, ["solu + LN", "gelu", "gelu + LN"], 5, 0) == test  # as they are asked for or not
    assert blinded.draw(run, None, 5, 1).digest != test.digest
    arms = [tuple(place.arm for place in blinded.draw(run, None, 5, seed).places) for seed in range(4)]
    assert len(set(arms)) == 4
    every = blinded.draw(run, ["relu", "solu + LN"], 60, 0)
    counts = Counter(place.arm for place in every.places)
    assert counts["relu"] == counts["solu + LN"] <= 16
    assert counts["relu"] == 16 - max(every.dead[arm] + every.tied[arm] for arm in counts)


def test_where_the_rule_could_call_no_neuron_interpretable_it_is_no_judge(ran: Ran) -> None:
    """Each of 12 features is alone in its examples: no neuron's list can have 16 that differ."""
    test, held = begun(ran(SWEEP.replace("density = 0.2\n", 'firing = "one"\n')))
    assert {place.by_rule for place in test.places} == {None}
    judged = replace(held, verdicts=(Judged.NOT,) * len(test.places))
    scores = persons.scores(test, judged)[persons.SCORES]
    assert scores.loc[scores["judge"] == persons.RULE, "mean"].isna().all()
    assert (scores.loc[scores["judge"] == held.judge, "mean"] == 0).all()
    assert (persons.against_rule(test, judged)[persons.AGREEMENT]["neurons"] == 0).all()


def test_an_arm_that_is_not_there_is_refused(run: Run) -> None:
    with pytest.raises(SpecError, match=r"--arms: expected some of solu \+ LN, .* got 'tanh'"):
        blinded.draw(run, ["tanh"], 5, 0)


@pytest.mark.parametrize("features", [tm.Features(12, 0.2, values=tm.Binary()), tm.Features(12, 0.2)])
def test_activations_that_rank_alike_show_the_same_to_the_byte(features: tm.Features) -> None:
    """The same preactivations through five activations: where they order the strongest examples alike, as above 0, the
    lines are the same, whatever their scale, shape and negative ends."""
    of_linear = tm.Bottleneck(8, tm.Linear(), None, tm.Linear(), tied=False)
    e = tm.Experiment(features, of_linear)
    parameters = start([e], sampler([e]), torch.float64)
    shown: dict[str, list[list[str]]] = {}
    for activation in (tm.Linear(), tm.ReLU(), tm.GeLU(), tm.ELU(), tm.XExp()):
        es = [replace(e, bottleneck=replace(of_linear, activation=activation))]
        found = strongest(es, parameters, 2048)
        assert not found.tied.any()
        told = (blinded.told(x, features.probabilities(), np.random.default_rng(1)) for x in found.x[0])
        places = (blinded.Place(activation.name, k, k, *each, by_rule=False) for k, each in enumerate(told))
        shown[activation.name] = [list(lines(place, 40)) for place in places]
    assert all(lines_ == shown["linear"] for lines_ in shown.values())
    assert all(len(line) <= 40 for place in shown["linear"] for line in place)


def test_what_layer_norm_deletes_and_a_neurons_scale_are_not_shown() -> None:
    features = tm.Features(12, 0.2, values=tm.Binary())
    e = tm.Experiment(features, tm.Bottleneck(8, tm.Linear(), tm.LayerNorm(), tm.Linear(), tied=False))
    parameters = start([e], sampler([e]), torch.float64)
    v = torch.randn(1, 1, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = replace(parameters, W_in=parameters.W_in + v)
    assert torch.equal(strongest([e], parameters, 2048).x, strongest([e], moved, 2048).x)


def test_neurons_in_which_chance_has_a_part_are_shown_of_no_arm(ran: Ran) -> None:
    # Deep below 0 ReLU has neurons that few sets move, and equal examples; each arm has as many places as the fewest.
    deep = SWEEP.replace("hidden_bias = true", "hidden_bias = true\nhidden_bias_start = -1.0")
    run = ran(deep.replace("steps = 30", "steps = 1"))
    test = blinded.draw(run, ["relu", "gelu", "solu + LN"], 16, 0)
    assert test.tied["relu"] + test.dead["relu"] > 0
    counts = Counter(place.arm for place in test.places)
    assert len(set(counts.values())) == 1
    assert any("relu" in sentence for sentence in blinded.left_out(test))


def test_features_are_numbered_anew_at_each_place_and_told_with_their_frequency(ran: Ran) -> None:
    x = torch.zeros(20, 12)
    x[:, 3] = 1
    x[4, 7] = 1
    p = np.linspace(0.1, 0.5, 12)
    rng = np.random.default_rng(0)
    told = [blinded.told(x, p, rng) for _ in range(20)]
    names = {examples[0][0] for examples, _ in told}
    assert len(names) > 5
    for examples, frequencies in told:
        assert frequencies == ((examples[0][0], p[3]),)  # the other feature is in one example only
        assert [len(each) for each in examples] == [1, 1, 1, 1, 2, *[1] * 15]
    assert blinded.told(x, np.full(12, 0.2), rng)[1] == ()
    values = blinded.told(-x / 2, p, rng)[0]
    assert values[0][0].endswith("=-0.50")


def test_the_file_says_nothing_of_where_a_neuron_is_from(run: Run) -> None:
    test, held = begun(run)
    path = judgements.path_of(run, "ada")
    for place in range(len(test.places)):
        held = held.with_verdict(place, Judged.NOT)
        judgements.write(run, held)
    other = replace(held, verdicts=tuple([Judged.NOT] * len(test.places)))
    assert json.loads(path.read_text()).keys() == {"schema", "seed", "arms", "neurons", "digest", "verdicts"}
    assert judgements.read(run, "ada") == other
    assert set(json.loads(path.read_text())["verdicts"]) == {"not interpretable"}


def test_a_test_that_a_run_no_longer_gives_is_refused(run: Run) -> None:
    _, held = begun(run, judge="old")
    assert blinded.drawn_again(run, held).digest == held.digest
    with pytest.raises(FolderError, match="of other models"):
        blinded.drawn_again(run, replace(held, digest="0" * 64))
    with pytest.raises(FolderError, match="of arms that the run has not"):
        blinded.drawn_again(run, replace(held, arms=("tanh",)))


@pytest.mark.parametrize(
    "held",
    ["", "[]", "{", '{"schema": 1}', '{"schema": 2}', "[" * 10_000]
    + [
        json.dumps({"schema": 1, "seed": 0, "arms": ["gelu"], "neurons": 1, "digest": "", "verdicts": [None]} | wrong)
        for wrong in (
            {"seed": -1},
            {"seed": True},
            {"neurons": 0.5},
            {"arms": [1]},
            {"verdicts": ["yes"]},
            {"verdicts": [None, "unsure"]},
            {"digest": 3},
        )
    ],
)
def test_a_file_that_is_none_is_refused(held: str, run: Run) -> None:
    path = judgements.path_of(run, "bad")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(held)
    with pytest.raises(FolderError, match="another --judge"):
        judgements.read(run, "bad")
    path.unlink()


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", ".hidden", "x" * 41, "é"])
def test_a_name_that_is_no_folders_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="--judge"):
        judgements.checked_name(name)


def test_one_process_a_judge(run: Run) -> None:
    with (
        judgements.judging(run, "cleo"),
        pytest.raises(InUse, match=r"in use by process \d+ on .*: .* another --judge"),
        judgements.judging(run, "cleo"),
    ):
        pass
    with judgements.judging(run, "cleo"), judgements.judging(run, "dora"):
        pass


def test_scores_are_of_decided_neurons_beside_the_rules_on_the_same(ran: Ran) -> None:
    run = ran(SWEEP.replace("seed = [0, 1]", "seed = [0, 1, 2, 3]"))
    test, held = begun(run, neurons=12)
    says = [Judged.INTERPRETABLE if place.by_rule else Judged.NOT for place in test.places]
    says[0] = Judged.UNSURE
    says[1] = Judged.NOT if test.places[1].by_rule else Judged.INTERPRETABLE
    held = replace(held, verdicts=tuple(says))
    table = persons.scores(test, held)[persons.SCORES].set_index(["arm", "judge"]).to_dict("index")
    for arm in test.arms:
        row, by_rule = table[arm, "ada"], table[arm, persons.RULE]
        same = arm not in (test.places[0].arm, test.places[1].arm)
        assert row["unsure"] == (arm == test.places[0].arm)
        assert row["neurons"] == 12
        assert (row["mean"] == by_rule["mean"]) or not same
    (agreement,) = persons.against_rule(test, held)[persons.AGREEMENT].to_dict("records")
    assert agreement["neurons"] == len(test.places) - 1
    assert agreement["kappa"] < 1
    # Two judges of one seed see the same neurons; one that is not finished is not counted.
    judgements.write(run, held)
    other = replace(held, judge="bob", verdicts=(Judged.NOT, *held.verdicts[1:]))
    unfinished = replace(held, judge="eve", verdicts=(*held.verdicts[:-1], None))
    for each in (other, unfinished):
        with judgements.judging(run, each.judge):
            judgements.write(run, each)
    tables, notes = persons.of_run(run)
    pairs = [tuple(row) for row in tables[persons.AGREEMENT][["first", "second"]].to_numpy()]
    assert pairs == [("ada", persons.RULE), ("bob", persons.RULE), ("ada", "bob")]
    assert tables[persons.AGREEMENT]["kappa"].iloc[2] == 1
    assert notes == [f"eve has judged {len(test.places) - 1} of {len(test.places)} neurons: not counted before the end"]
    # A judge whose file the run refuses is named, and the others are counted as before.
    with judgements.judging(run, "fay"):
        judgements.write(run, replace(held, judge="fay", arms=("tanh",)))
    judgements.path_of(run, "eve").write_text("{")
    again, notes = persons.of_run(run)
    assert again[persons.AGREEMENT].equals(tables[persons.AGREEMENT])
    assert [note.partition(": ")[0] for note in notes] == ["eve is not counted", "fay is not counted"]
    assert ["damaged" in notes[0], "of arms that the run has not" in notes[1]] == [True, True]


def test_nothing_that_is_shown_names_an_arm(run: Run) -> None:
    for place in blinded.draw(run, ["relu", "gelu", "solu", "gelu + LN", "relu + LN", "solu + LN"], 9, 3).places:
        text = "\n".join(lines(place, 80))
        assert re.fullmatch(r"( +\d+  (f\d+(  f\d+)*|\(nothing\))\n?)+", text)
        assert text.count("\n") == 19
