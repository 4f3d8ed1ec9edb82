"""What a run folder says it is: a sweep that changes no model changes what the folder says, in a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import toymodels
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import Outcome, run
from toymodels.sweeps.spec.sweep import Sweep, parse
from toymodels.sweeps.store.locks import Shard
from toymodels.sweeps.store.store import Store

BODY = """
question = "first"
[features]
n = 5
density = 0.1
[model]
hidden = 2
[train]
steps = 5
batch = 16
[eval]
samples = 256
[primary]
"features.values" = "binary"
[grid]
"features.values" = ["binary", "uniform"]
"""
FEW = parse(BODY, "tiny", "first.toml")
MORE = parse(f"{BODY}seed = [0, 1]\n", "tiny", "first.toml")


def asked_again(sweep: Sweep, **change: Any) -> Sweep:
    return replace(sweep, where="second.toml", **change)


def go(folder: Path, of: Sweep, extend: bool = False, shard: str | None = None) -> tuple[Outcome, list[str]]:
    notes: list[str] = []
    plan = Store(folder).plan_for(of, extend)
    own = Shard.parse(shard) if shard else None
    return run(plan, folder, "autograd", "cpu", Reporter(note=notes.append), shard=own), notes


SECOND = {"question": "second", "primary": {"features.values": "uniform"}}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"question": "second"}, "question"),
        ({"question": ""}, "question"),
        ({"primary": {"features.values": "uniform"}}, "primary"),
        ({"primary": {}}, "primary"),
        (SECOND, "question and primary"),
    ],
)
def test_what_changes_no_model_is_taken_over_and_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    go(tmp_path, FEW)
    before = Store(tmp_path).manifest
    outcome, notes = go(tmp_path, asked_again(FEW, **change))
    assert outcome.trained == 0
    assert notes == [f"{tmp_path}: takes over {said} from second.toml; its models are the same"]
    assert Store(tmp_path).manifest == before
    now = Store(tmp_path).sweep()
    assert (now.question, now.primary) == (change.get("question", "first"), change.get("primary", FEW.primary))
    assert toymodels.load(tmp_path).question == now.question
    assert go(tmp_path, asked_again(FEW, **change))[1] == []


def test_primary_that_was_taken_over_is_what_the_verdict_asks(tmp_path: Path) -> None:
    go(tmp_path, FEW)
    assert [toymodels.load(tmp_path).plan.is_primary(model) for model in (0, 1)] == [True, False]
    go(tmp_path, asked_again(FEW, **SECOND))
    assert [toymodels.load(tmp_path).plan.is_primary(model) for model in (0, 1)] == [False, True]


def test_of_an_extended_folder_the_newest_sweep_takes_over_and_the_older_stay(tmp_path: Path) -> None:
    go(tmp_path, FEW)
    go(tmp_path, MORE, extend=True)
    plan, oldest = Store(tmp_path).plan(), (tmp_path / "sweep-0000.toml").read_bytes()
    outcome, notes = go(tmp_path, asked_again(MORE, **SECOND))
    assert outcome.trained == 0
    assert notes == [f"{tmp_path}: takes over question and primary from second.toml; its models are the same"]
    assert (tmp_path / "sweep-0000.toml").read_bytes() == oldest
    assert (tmp_path / "sweep.toml").read_bytes() == (tmp_path / "sweep-0001.toml").read_bytes()
    assert Store(tmp_path).sweep().question == "second"
    assert Store(tmp_path).plan().hash == plan.hash
    assert go(tmp_path, asked_again(MORE, **SECOND))[1] == []


def test_a_shard_takes_nothing_over_and_says_so(tmp_path: Path) -> None:
    go(tmp_path, FEW)
    before = (tmp_path / "sweep.toml").read_bytes()
    notes = go(tmp_path, asked_again(FEW, **SECOND), shard="0/1")[1]
    kept = f"{tmp_path}: keeps its own question and primary: the sweep without --shard takes over those of second.toml"
    assert notes == [kept]
    assert (tmp_path / "sweep.toml").read_bytes() == before


def test_another_sweep_is_refused_and_its_question_with_it(tmp_path: Path) -> None:
    go(tmp_path, FEW)
    before = (tmp_path / "sweep.toml").read_bytes()
    with pytest.raises(FolderError, match="another sweep"):
        go(tmp_path, asked_again(MORE, **SECOND))
    assert (tmp_path / "sweep.toml").read_bytes() == before
