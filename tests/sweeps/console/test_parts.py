"""A tuned sweep from the command line: its two parts, its shards, its standing and what is said of the choice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import BODY, door, finish, listing, process

TUNED = (
    BODY
    + """
[grid]
"model.activation" = ["relu", "solu"]
seed = [0, 1]
[tune]
seeds = { range = [1000, 1002] }
steps = 0.5
"train.learning_rate" = [1e-4, 1e-2]
"""
)
"""four models of two arms, and eight of their tuning in two packs"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test in a folder of its own, with the tuned sweep in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuned.toml").write_text(TUNED)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tuned.toml").write_text(TUNED)
    assert door("sweep", folder / "tuned.toml", "--out", folder / "run").code == 0
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_both_parts_are_said_and_nothing_is_trained_twice(finished: Path) -> None:
    answer = door("sweep", "tuned.toml", "--out", "run")
    assert answer.code == 0
    lines = answer.err.splitlines()
    assert lines[0].startswith("tuned, tuning: 8 models, engine")
    assert lines[1] == (
        "tuned: settings chosen for 2 arms, among 2 candidates on 2 seeds, none a near tie: see tuned in "
        "run/manifest.json"
    )
    assert lines[2].startswith("tuned, sweep: 4 models, engine")
    assert "Next: toymodels report run" in answer.out
    again = door("sweep", "tuned.toml", "--out", "run", "--json")
    assert again.err.splitlines() == [lines[2]]
    assert again.json()["trained"] == 0
    assert again.json()["tuned"] == [
        {"arm": {"model.activation": name}, "settings": {"train.learning_rate": 0.01}, **rest}
        for name, rest in zip(
            ("relu", "solu"),
            [{key: each[key] for key in ("loss_fraction", "candidates", "near")} for each in again.json()["tuned"]],
            strict=True,
        )
    ]
    assert listing(Path("run")) == listing(finished)


def test_a_choice_of_an_end_and_near_ties_are_said() -> None:
    Path("ends.toml").write_text(TUNED.replace("[1e-4, 1e-2]", "[1e-4, 1e-3, 1e-2]"))
    end = (
        "2 of 2 arms chose the smallest or the largest value of 'train.learning_rate' in the tuning: its best may lie "
        "beyond."
    )
    answer = door("sweep", "./ends.toml", "--out", "run", "--json")
    assert end in answer.err.splitlines()
    assert end in answer.json()["notes"]
    near = [each["near"] for each in answer.json()["tuned"]]
    assert near == [each["near"] for each in json.loads(Path("run/manifest.json").read_text())["tuned"]]
    tied = sum(each > 0 for each in near)
    assert (f"in {tied} of them another candidate came within 1 %" if tied else "none a near tie") in answer.err
    assert end in door("show", "run", "--json").json()["notes"]
    assert end in " ".join(door("show", "run").out.split())


def test_a_sweep_that_is_not_tuned_says_nothing_of_it() -> None:
    answer = door("sweep", "tuned.toml", "--no-tune", "--out", "run", "--json")
    assert answer.code == 0
    assert "tuned" not in answer.json()
    assert answer.err.splitlines()[0].startswith("tuned: 4 models, engine")
    assert not Path("run/tuning").exists()
    assert "tune" not in Path("run/sweep.toml").read_text()
    (Path("plain.toml")).write_text(TUNED.partition("[tune]")[0])
    assert door("sweep", "./plain.toml", "--out", "run").code == 0  # the same sweep


def test_the_two_ways_refuse_each_others_folder(run: Path) -> None:
    before = listing(run)
    answer = door("sweep", "tuned.toml", "--out", "run", "--no-tune")
    assert answer.code == 4
    assert "run: holds another sweep (changed: train.learning_rate, tune): give --out another folder" in answer.err
    assert listing(run) == before
    assert door("sweep", "tuned.toml", "--out", "plain", "--no-tune").code == 0
    answer = door("sweep", "tuned.toml", "--out", "plain")
    assert (answer.code, "holds another sweep" in answer.err) == (4, True)
    assert not Path("plain/tuning").exists()


@pytest.mark.parametrize("option", [("--set", "train.learning_rate=0.1"), ("--grid", "train.learning_rate=0.1,0.2")])
def test_an_option_takes_a_setting_out_of_the_tuning(option: tuple[str, str]) -> None:
    answer = door("sweep", "tuned.toml", "--out", "run", *option)
    assert answer.code == 0
    assert not Path("run/tuning").exists()


def test_a_dry_run_tells_both_parts() -> None:
    answer = door("sweep", "tuned.toml", "--dry-run")
    lines = answer.out.splitlines()
    assert lines[0] == "tuned, tuning: 8 models in 2 groups, 2 packs"
    assert lines[5] == "tuned, sweep: 4 models in 2 groups, 2 packs"
    assert lines[10] == "together: 12 models"
    assert lines[11].startswith("time: about ")
    told = door("sweep", "tuned.toml", "--dry-run", "--json").json()
    assert (told["models"], told["tuning"]["models"]) == (4, 8)
    assert told["tuning"].keys() == told.keys() - {"sweep", "tuning"}
    assert not Path("runs").exists()


def test_a_finished_folder_needs_no_tuning_in_a_dry_run(run: Path) -> None:
    assert "tuning" not in door("sweep", "tuned.toml", "--out", "run", "--dry-run", "--json").json()


def test_shards_tune_first_and_make_the_same_folder(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["toymodels", "sweep", "tuned.toml"])
    first = door("sweep", "tuned.toml", "--out", "run", "--shard", "0/2")
    assert first.code == 0
    assert first.out.startswith(
        "shard 0/2 of the tuning is finished; 1 of its 2 packs are not there yet, and the tuning must be complete "
        "before the sweep begins: then run again: toymodels sweep tuned.toml\n"
    )
    document = door("sweep", "tuned.toml", "--out", "run", "--shard", "0/2", "--json").json()
    assert (document["part"], document["packs_missing"], document["folder"]) == ("tuning", 1, "run/tuning")
    second = door("sweep", "tuned.toml", "--out", "run", "--shard", "1/2")
    assert "shard 1/2 is finished; 1 of 2 packs are not there yet" in second.out
    last = door("sweep", "tuned.toml", "--out", "run", "--shard", "0/2")
    assert "all 2 packs are there" in last.out
    assert listing(Path("run")) == listing(finished)


def test_status_says_that_the_sweep_is_being_tuned() -> None:
    door("sweep", "tuned.toml", "--out", "run", "--shard", "1/2")
    answer = door("status", "run")
    lines = answer.out.splitlines()
    assert lines[0].startswith("run: tuning: the sweep begins when it is complete: 1 of 2 packs (8 models, engine")
    assert lines[-1] == "To continue: toymodels sweep run/sweep.toml --out run"
    document = door("status", "run", "--json").json()
    assert (document["folder"], document["part"], document["packs_done"]) == ("run", "tuning", 1)
    for command in ("show", "tables", "report"):
        answer = door(command, "run")
        assert answer.code == 4
        assert "run: its sweep is still being tuned: 'toymodels status run' says how far that is" in answer.err


def test_what_status_names_next_continues_it(finished: Path) -> None:
    door("sweep", "tuned.toml", "--out", "run", "--shard", "1/2")
    _, *command = door("status", "run", "--json").json()["next"].split()
    assert door(*command).code == 0
    assert listing(Path("run")) == listing(finished)
    assert "part" not in door("status", "run", "--json").json()
    assert door("status", "run", "--json").json()["tuned"] == json.loads(Path("run/manifest.json").read_text())["tuned"]


def test_extending_tunes_what_is_added(run: Path) -> None:
    more = ("--grid", "model.activation=relu,solu,gelu", "--grid", "seed=0,1,2")
    refused = door("sweep", "tuned.toml", "--out", "run", *more)
    assert (refused.code, "--extend adds the 5 models" in refused.err) == (4, True)
    answer = door("sweep", "tuned.toml", "--out", "run", *more, "--extend", "--json")
    assert answer.code == 0
    assert [choice["arm"]["model.activation"] for choice in answer.json()["tuned"]] == ["relu", "solu", "gelu"]
    assert answer.json()["models"] == 9
    again = door("sweep", "tuned.toml", "--out", "run", *more, "--extend")
    assert "tuning" not in again.err


def test_status_says_that_an_extension_is_being_tuned(run: Path) -> None:
    assert "part" not in door("status", "run", "--json").json()
    extended = Path("run/tuning/packs/00000001.safetensors")
    kept = extended.read_bytes()
    extended.unlink()  # as if an extension had just lengthened the plan of the tuning
    answer = door("status", "run")
    assert answer.out.splitlines()[0].startswith(
        "run: tuning: what --extend adds begins when it is complete: 1 of 2 packs (8 models, engine"
    )
    assert answer.out.splitlines()[-1] == "To continue: the same command as before, with --extend"
    document = door("status", "run", "--json").json()
    assert (document["part"], document["packs_done"], document["models"]) == ("tuning", 1, 8)
    assert door("show", "run").code == 0  # the run is what it was
    extended.write_bytes(kept)
    assert "part" not in door("status", "run", "--json").json()
    Path("run/tuning/manifest.json").write_text("{")  # not needed any more
    assert "part" not in door("status", "run", "--json").json()
    shutil.rmtree("run/tuning")
    assert "part" not in door("status", "run", "--json").json()


def test_a_foreign_folder_is_refused_before_anything_is_tuned() -> None:
    Path("foreign").mkdir()
    Path("foreign/notes.txt").write_text("mine")
    answer = door("sweep", "tuned.toml", "--out", "foreign")
    assert (answer.code, "holds other files and no manifest.json" in answer.err) == (4, True)
    assert list(listing(Path("foreign"))) == ["notes.txt"]
    Path("elsewhere").mkdir()
    Path("linked").mkdir()
    Path("linked/tuning").symlink_to(Path("elsewhere").absolute())
    answer = door("sweep", "tuned.toml", "--out", "linked")
    assert (answer.code, "linked/tuning: is a link" in answer.err) == (4, True)
    answer = door("sweep", "tuned.toml", "--out", "tuned.toml")
    assert (answer.code, "a file stands where the run folder should be" in answer.err) == (4, True)


def test_another_sweep_in_the_middle_of_a_tuning_is_refused_and_changes_nothing() -> None:
    door("sweep", "tuned.toml", "--out", "run", "--shard", "0/2")
    before = listing(Path("run"))
    answer = door("sweep", "tuned.toml", "--out", "run", "--set", "train.batch=8")
    assert (answer.code, "run/tuning: holds another sweep (changed: train.batch)" in answer.err) == (4, True)
    assert listing(Path("run")) == before


def test_packs_of_the_tuning_that_fail_choose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from toymodels.sweeps.execution import local

    monkeypatch.setattr(local, "memory_budget", lambda _: 1)
    answer = door("sweep", "tuned.toml", "--out", "run", "--engine", "autograd")
    monkeypatch.undo()
    assert answer.code == 3
    assert "2 of 2 packs of the tuning failed, so nothing is chosen yet" in answer.err
    assert not Path("run/manifest.json").exists()


@pytest.mark.parametrize("sent, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_tuning_goes_on(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    Path("long.toml").write_text(TUNED.replace("steps = 30", "steps = 6000").replace("[0, 1]", "[0]"))
    whole = door("sweep", "./long.toml", "--out", "whole")
    assert whole.code == 0
    started = process("sweep", "./long.toml", "--out", "run")
    end = time.monotonic() + 60
    while not Path("run/tuning/manifest.json").exists() and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(started.pid, sent)
    answer = finish(started)
    if answer.code:  # it was not done by then
        assert answer.code == code
        assert "To continue: toymodels sweep" in answer.err
    assert door("sweep", "./long.toml", "--out", "run").code == 0
    assert listing(Path("run")) == listing(Path("whole"))


def test_heartbeats_say_which_part_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from toymodels.sweeps.console import progress

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    said = door("sweep", "tuned.toml", "--out", "run", "--engine", "autograd").err
    assert "tuning: " in said
    assert any(line.startswith("tuning: ") and " of 8 models" in line for line in said.splitlines())
    assert any(line.startswith("sweep: ") and " of 4 models" in line for line in said.splitlines())
