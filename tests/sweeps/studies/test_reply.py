"""Replies: estimates and how they are said; the document that a run folder keeps, and one that is none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from tests.conftest import BODY, door
from tests.sweeps.studies.conftest import Ran
from toymodels.hypotheses.statistics.intervals import bootstrap_interval
from toymodels.sweeps import studies
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.studies import document
from toymodels.sweeps.studies.reply import Reply, chosen, estimate, more, said


def test_an_estimate_is_the_bootstrap_over_seeds_in_which_it_is_defined() -> None:
    x = np.array([1.0, 2.0, 4.0, 3.0, 7.0, 5.0, 2.5, 6.0, np.nan])
    of = bootstrap_interval(x[:8])
    assert estimate(x) == {"mean": x[:8].mean(), "low": of.low, "high": of.high, "seeds": 8}


def test_of_few_seeds_it_is_students_t_which_no_resample_without_spread_blows_up() -> None:
    of = ttest_1samp([0.512, 0.496, 0.496, 0.511], 0).confidence_interval()
    found = estimate([0.512, 0.496, 0.496, 0.511])
    assert (found["low"], found["high"]) == pytest.approx((of.low, of.high))
    assert found["high"] - found["low"] < 0.04


def test_the_interval_of_a_share_is_cut_at_what_a_share_can_be() -> None:
    shares = np.array([0.0, 0.01, 0.0, 0.9])
    assert estimate(shares)["low"] < 0
    assert estimate(shares, least=0, most=1) == estimate(shares) | {"low": 0}
    assert estimate(1 - shares)["high"] > 1
    assert estimate(1 - shares, least=0, most=1) == estimate(1 - shares) | {"high": 1}
    assert math.isnan(estimate([0.5], least=0, most=1)["low"])


def test_a_single_seed_has_no_interval_and_none_is_said() -> None:
    one = estimate([0.5, np.nan])
    assert (one["mean"], one["seeds"]) == (0.5, 1)
    assert math.isnan(one["low"])
    assert math.isnan(one["high"])
    assert said(one, 2) == ".50"
    assert said(estimate([np.nan])) == "undefined"


@pytest.mark.parametrize(
    ("numbers", "digits", "text"),
    [
        ((0.1234, 0.1, 0.2), 3, ".123 (.100 to .200)"),
        ((-0.5, -1, 12.25), 1, "-.5 (-1.0 to 12.2)"),
        ((3, 2, 4), 0, "3 (2 to 4)"),
    ],
)
def test_estimates_are_said_in_as_many_digits(numbers: tuple[float, ...], digits: int, text: str) -> None:
    assert said(dict(zip(("mean", "low", "high"), numbers, strict=True)), digits) == text


def folder(path: Path) -> Any:
    return SimpleNamespace(path=path)


def test_a_document_is_read_back_as_it_was_and_says_null_where_nothing_is_defined(tmp_path: Path) -> None:
    table = pd.DataFrame({"arm": ["a", "b"], "mean": [0.5, math.nan], "seeds": [4, 0]})
    reply = Reply("Is it?", "It is.", {"an arm": table}, ("Of four seeds.",))
    path = document.write(folder(tmp_path), "how_linear", reply)
    assert json.loads(path.read_text())["tables"]["an arm"]["rows"] == [["a", 0.5, 4], ["b", None, 0]]
    back = document.read(folder(tmp_path), "how_linear")
    assert (back.question, back.sentence, back.notes) == (reply.question, reply.sentence, reply.notes)
    pd.testing.assert_frame_equal(back.tables["an arm"], table)


def test_a_difference_below_nothing_is_fewer() -> None:
    assert more({"mean": 2.0, "low": -0.5, "high": 3.0}, 1, "features") == "2.0 (-.5 to 3.0) features more"
    assert more({"mean": -2.0, "low": -3.0, "high": 0.5}, 1) == "2.0 (-.5 to 3.0) fewer"
    assert more({"mean": -2.0, "low": math.nan, "high": math.nan}, 1, "features") == "2.0 features fewer"
    assert more({"mean": -2.0, "low": -3.0, "high": -1.0}, 0, "of loss", below_0="less") == "2 (1 to 3) of loss less"


def test_what_was_chosen_of_several_is_told_so() -> None:
    assert chosen("the largest", 3) == " (chosen as the largest of 3: its interval is too narrow)"
    assert chosen("the largest", 1) == ""


NUMBER = '{"schema": 1, "study": "how_linear", "question": 5, "answer": "", "notes": [], "tables": {}}'
"""a document whose question is no text"""


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": 1}', '{"schema": 0, "study": "how_linear"}', "{" * 5000, "[" * 10**5, NUMBER]
)
def test_a_document_that_is_none_is_refused_with_what_makes_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "how_linear.json").write_text(text)
    with pytest.raises(FolderError, match="toymodels answer how_linear"):
        document.read(folder(tmp_path), "how_linear")


def test_a_study_that_was_not_asked_yet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="not there yet"):
        document.read(folder(tmp_path), "how_linear")


def test_an_unknown_study_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no study is called 'how_lineal' .did you mean 'how_linear'"):
        studies.answer("how_lineal", folder(Path()), print)


def test_the_command_refuses_a_folder_that_is_none(tmp_path: Path) -> None:
    said_ = door("answer", "how_linear", tmp_path)
    assert said_.code == 4
    assert "not a run folder" in said_.err


def test_models_that_have_learned_nothing_are_told_and_a_run_that_diverged_is_refused(ran: Ran) -> None:
    text = BODY.replace("steps = 30", "steps = 1").replace("hidden = 2", 'hidden = 2\nactivation = "relu"')
    reply = studies.answer("how_linear", ran(text), print)
    assert reply.notes[-1].startswith("1 of 1 models lose no less than the best constant")
    wild = text.replace("batch = 16", "batch = 16\nlearning_rate = 1e30").replace("steps = 1", "steps = 40")
    with pytest.raises(FolderError, match="every model diverged"):
        studies.answer("how_linear", ran(wild), print)
