"""Sets: hand-built restarts in the place of trained ones, whose arrangement and chances are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.sweeps.studies.conftest import Ran, seen
from toymodels.bottleneck import Parameters
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import tms_sets
from toymodels.sweeps.studies.reply import estimate

SWEEP = """
[train]
steps = 3
batch = 16
[eval]
samples = 256
[grid]
"features.density" = [0.1, 0.3]
seed = { range = [0, 12] }
[[case]]
"features.n" = 4
"model.hidden" = 2
"features.firing" = { kind = "correlated", groups = 2 }
[[case]]
"features.n" = 4
"model.hidden" = 2
"features.firing" = "independent"
[[case]]
"features.n" = 4
"model.hidden" = 2
"features.firing" = { kind = "anticorrelated", groups = 2 }
"""
ORTHOGONAL, ANTIPODAL = (0, 90, 180, 270), (0, 180, 90, 270)
"""the angles of two sets of two"""


def at(degrees: tuple[int, ...]) -> Tensor:
    radians = torch.tensor(degrees, dtype=torch.float32) * math.pi / 180
    return torch.stack([radians.cos(), radians.sin()])


@pytest.fixture
def planted(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Correlated sets orthogonal in 11 of 12 restarts, anticorrelated antipodal in 6, independent ones antipodal in 5;
    at density .3 the correlated ones are antipodal too."""
    run = ran(SWEEP)
    batch = run.batch

    def built(models: list[int]) -> tuple[list[Any], Parameters]:
        experiments, _ = batch(models)
        features = seen(experiments)
        antipodal = {"correlated": 1, "anticorrelated": 6, "independent": 5}[features.firing.name]
        antipodal = 12 if features.firing.name == "correlated" and features.density > 0.2 else antipodal
        W = torch.stack([at(ANTIPODAL if k < antipodal else ORTHOGONAL) for k in range(len(models))])
        return experiments, Parameters(W)

    monkeypatch.setattr(run, "batch", built)
    return run


def test_shares_of_restarts_are_counted_and_held_against_independent_features(planted: Run) -> None:
    reply = tms_sets.answer(planted, print)
    rows = reply.tables[tms_sets.SHARES].set_index(["density", "firing"]).to_dict("index")
    low = rows[0.1, "correlated"]
    assert (low["size"], low["arrangement"], low["seeds"]) == ("4 in 2", "orthogonal", 12)
    assert (low["mean"], low["independent"]) == (pytest.approx(11 / 12), pytest.approx(7 / 12))
    assert low["difference"] == pytest.approx(4 / 12)
    assert low["exchangeable"] == pytest.approx(2 / 3)
    assert low["difference_low"] < low["difference"] < low["difference_high"]
    opposite = rows[0.1, "anticorrelated"]
    assert (opposite["arrangement"], opposite["mean"]) == ("antipodal", 0.5)
    assert opposite["exchangeable"] == pytest.approx(1 / 3)
    assert rows[0.3, "correlated"]["mean"] == 0
    assert low["all_present"] == 1
    assert (low["of_those"], low["independent_of_those"]) == (low["mean"], low["independent"])


def test_differences_are_paired_by_start(planted: Run) -> None:
    """Of correlated and independent restarts that are orthogonal from the same starts but for four."""
    reply = tms_sets.answer(planted, print)
    rows = reply.tables[tms_sets.SHARES].set_index(["density", "firing"]).to_dict("index")
    paired = estimate([0.0] + [1.0] * 4 + [0.0] * 7)
    low = rows[0.1, "correlated"]
    assert (low["difference_low"], low["difference_high"]) == pytest.approx((paired["low"], paired["high"]))


def test_a_difference_of_shares_ends_at_1(planted: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Correlated sets orthogonal in all restarts, independent ones in 1 of 12: by itself the interval ends at 1.10."""
    batch = planted.batch

    def built(models: list[int]) -> tuple[list[Any], Parameters]:
        experiments, _ = batch(models)
        orthogonal = len(models) if seen(experiments).firing.name == "correlated" else 1
        W = torch.stack([at(ORTHOGONAL if k < orthogonal else ANTIPODAL) for k in range(len(models))])
        return experiments, Parameters(W)

    monkeypatch.setattr(planted, "batch", built)
    rows = tms_sets.answer(planted, print).tables[tms_sets.SHARES].set_index(["density", "firing"]).to_dict("index")
    low = rows[0.1, "correlated"]
    assert (low["difference"], low["difference_high"]) == (pytest.approx(11 / 12), 1)


def test_a_control_that_leaves_features_out_says_nothing_of_how_they_are_arranged(
    planted: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 12 starts independent features are all there in 8, orthogonal in the first 4 of these; correlated ones are
    always there and orthogonal: by .5, not by the 8 of 12 in which the control is not orthogonal."""
    batch = planted.batch

    def built(models: list[int], there: int = 8) -> tuple[list[Any], Parameters]:
        experiments, _ = batch(models)
        W = torch.stack([at(ORTHOGONAL)] * len(models))
        if seen(experiments).firing.name == "independent":
            W[4:] = at(ANTIPODAL)
            W[there:, :, 0] = 0
        return experiments, Parameters(W)

    monkeypatch.setattr(planted, "batch", built)
    rows = tms_sets.answer(planted, print).tables[tms_sets.SHARES].set_index(["density", "firing"]).to_dict("index")
    low = rows[0.1, "correlated"]
    assert (low["difference"], low["starts"], low["difference_of_all"]) == (0.5, 8, pytest.approx(8 / 12))

    monkeypatch.setattr(planted, "batch", lambda models: built(models, 0))
    reply = tms_sets.answer(planted, print)
    low = reply.tables[tms_sets.SHARES].set_index(["density", "firing"]).to_dict("index")[0.1, "correlated"]
    assert math.isnan(low["difference"])
    assert low["starts"] == 0
    assert "Correlated sets are orthogonal as often as by chance, or undetermined: by undefined" in reply.sentence


def test_the_answer_can_be_either_way_and_open(planted: Run) -> None:
    sentence = tms_sets.answer(planted, print).sentence
    assert "less often than by chance: by -.58 (" in sentence
    assert ") at density 0.3 (.00 against .58)" in sentence
    assert "Anticorrelated sets are antipodal as often as by chance, or undetermined: by .08 (" in sentence
    assert "4 features in 2 neurons, 12 restarts of each, against independent features" in sentence


def test_every_pair_is_of_one_kind(planted: Run) -> None:
    pairs = tms_sets.answer(planted, print).tables[tms_sets.PAIRS]
    kinds = ["same", "orthogonal", "antipodal", "other", "absent"]
    assert pairs[kinds].sum(axis=1).tolist() == pytest.approx([1] * len(pairs))
    within = pairs[(pairs["pairs"] == "within") & (pairs["density"] == 0.1)].set_index("firing")
    assert within["antipodal"].to_dict() == pytest.approx(
        {"correlated": 1 / 12, "anticorrelated": 6 / 12, "independent": 5 / 12}
    )
    assert set(pairs["firing"]) == {"correlated", "anticorrelated", "independent"}


def test_a_run_without_sets_or_without_a_control_is_refused(ran: Ran) -> None:
    head, _, cases = SWEEP.partition("[[case]]")
    correlated, independent, _ = cases.split("[[case]]")
    for case in (correlated, independent):
        few = f"{head}[[case]]{case}".replace("[0, 12]", "[0, 1]")
        with pytest.raises(FolderError, match="needs trained models of correlated or anticorrelated sets"):
            tms_sets.answer(ran(few), print)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("seed = {", '"model.output" = ["relu", "linear"]\nseed = {', "model.output"),
        ('"anticorrelated", groups = 2', '"anticorrelated", groups = 1', "features.firing.groups"),
    ],
)
def test_arms_that_differ_in_more_than_their_rows_say_are_refused(ran: Ran, old: str, new: str, named: str) -> None:
    few = SWEEP.replace("[0, 12]", "[0, 1]").replace("[0.1, 0.3]", "[0.1]")
    assert old in few
    with pytest.raises(FolderError, match=f"some also differ in {named}$"):
        tms_sets.answer(ran(few.replace(old, new)), print)
