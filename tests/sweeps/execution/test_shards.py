"""Shards of one sweep on one folder: the same bytes, whoever trains what, and tables from the last."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DOOR, TINY, listing
from toymodels.sweeps.errors import InUse
from toymodels.sweeps.execution.run import Outcome, run
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.locks import Lock, Shard

COMMAND = [sys.executable, "-c", DOOR, "sweep", "tiny.toml", "--out", "run"]


def plan() -> Plan:
    return make_plan(parse(TINY, "tiny", "tiny.toml"))


def go(folder: Path, shard: str | None = None) -> Outcome:
    own = Shard.parse(shard) if shard else None
    return run(plan(), folder, "autograd", "cpu", shard=own)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    go(folder)
    return listing(folder)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_shards_one_after_another_make_the_same_folder(tmp_path, whole, order):
    outcomes = [go(tmp_path / "run", f"{index}/3") for index in order]
    assert [outcome.missing for outcome in outcomes] == [
        4 - sum((4 - k + 2) // 3 for k in order[: n + 1]) for n in range(3)
    ]
    assert sum(outcome.trained for outcome in outcomes) == 8
    assert listing(tmp_path / "run") == whole


def test_more_shards_than_packs_leave_some_with_nothing_to_do(tmp_path, whole):
    for index in reversed(range(6)):
        go(tmp_path / "run", f"{index}/6")
    assert listing(tmp_path / "run") == whole


def test_a_shard_and_then_all_of_it(tmp_path, whole):
    assert go(tmp_path / "run", "1/2").missing == 2
    assert not (tmp_path / "run" / "models.parquet").exists()
    assert go(tmp_path / "run").trained == 4
    assert listing(tmp_path / "run") == whole


def test_a_shard_twice_trains_nothing(tmp_path):
    go(tmp_path / "run", "1/2")
    assert go(tmp_path / "run", "1/2").trained == 0


def test_shards_at_once_in_processes_of_their_own(tmp_path, whole):
    (tmp_path / "tiny.toml").write_text(TINY)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [*COMMAND, "--engine", "autograd", "--device", "cpu", "--shard", f"{index}/3"],
            cwd=tmp_path,
            env=environment,
            stdout=-1,
            stderr=-1,
            text=True,
        )
        for index in range(3)
    ]
    for process in started:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert listing(tmp_path / "run") == whole


def test_the_last_shard_leaves_the_tables_to_one_that_is_still_at_work(tmp_path, whole):
    go(tmp_path / "run", "0/2")
    held = Lock(tmp_path / "run", Shard(0, 2))  # as if shard 0 were about to end
    held.take()
    assert go(tmp_path / "run", "1/2").missing == 0
    assert not (tmp_path / "run" / "models.parquet").exists()
    held.release()
    assert go(tmp_path / "run", "0/2").trained == 0
    assert listing(tmp_path / "run") == whole


def test_the_folder_is_refused_while_a_shard_works(tmp_path):
    go(tmp_path / "run", "0/2")
    held = Lock(tmp_path / "run", Shard(0, 2))
    held.take()
    with pytest.raises(InUse, match="shard 0/2"):
        go(tmp_path / "run")
    with pytest.raises(InUse, match="shard 0/2"):
        go(tmp_path / "run", "0/2")
    held.release()
