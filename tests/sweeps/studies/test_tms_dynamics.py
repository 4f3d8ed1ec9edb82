"""Learning dynamics: hand-built trajectories whose jumps and drops are known, and a run that kept its weights."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.sweeps.studies.conftest import Ran
from toymodels.metrics.trajectory import Trajectory
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import tms_dynamics
from toymodels.sweeps.studies.tms_dynamics import of_arm
from toymodels.training.recipe import log_spaced

SWEEP = """
[features]
n = 6
density = 0.2
[model]
hidden = 3
[train]
steps = 400
batch = 64
snapshots = 60
[eval]
samples = 256
[grid]
"model.init_scale" = [0.1, 1.0]
seed = { range = [0, 4] }
"""
STEP = log_spaced(20_000, 250)


def way(jump: float, drop: float | None = None) -> Trajectory:
    """Two features, one of which goes from 0 to 1/2 at a step; the loss falls by a tenth at another, or not at all."""

    def rise(at: float) -> np.ndarray:
        return 1 / (1 + np.exp(-(np.log(STEP) - math.log(at)) / 0.02))

    D = np.stack([0.5 * rise(jump), np.full(len(STEP), 0.5)])
    return Trajectory(STEP, D, np.full(len(STEP), 0.1) if drop is None else 0.1 * (1 - 0.1 * rise(drop)))


def test_drops_that_meet_their_own_jumps_are_told_from_those_that_meet_anybodys() -> None:
    """Each model has its own time: its drop meets its jump, and no other's."""
    rows = of_arm([way(at, at) for at in (300, 900, 3000)])
    for row in rows:
        assert (row["jumps"], row["drops"]) == (1, 1)
        assert row["drops that meet a jump"] == row["jumps that meet a drop"] == 1
        assert row["drops that meet a jump, by others"] == row["jumps that meet a drop, by others"] == 0
        assert row["share of movement in jumps"] == pytest.approx(1, abs=0.01)
        assert row["features that jump"] == 0.5


def test_what_coincides_because_all_happens_at_one_stage_is_no_more_than_by_others() -> None:
    for row in of_arm([way(900, 900)] * 3):
        assert row["drops that meet a jump"] == row["drops that meet a jump, by others"] == 1
        assert row["drops: difference"] == 0


def test_drops_apart_from_jumps_and_models_without_drops() -> None:
    apart = of_arm([way(300, 3000), way(3000, 300)])
    assert [row["drops: difference"] for row in apart] == [-1, -1]
    without = of_arm([way(300), way(900)])
    assert all(row["drops"] == 0 and math.isnan(row["drops: difference"]) for row in without)
    assert all(row["jumps that meet a drop"] == 0 for row in without)


def test_a_loss_that_rises_does_not_drop() -> None:
    (row,) = of_arm([Trajectory(STEP, way(300).dimensionality, way(300, 900).loss_fraction[::-1])])
    assert row["drops"] == 0


def test_a_run_is_asked_arm_by_arm(ran: Ran) -> None:
    said: list[str] = []
    reply = tms_dynamics.answer(ran(SWEEP), said.append)
    table = reply.tables[tms_dynamics.MEASURES]
    assert list(dict.fromkeys(table["arm"])) == [
        f"6 features in 3 neurons, density 0.2, start {start}" for start in ("0.1", "1")
    ]
    assert len(said) == 2
    assert len(reply.tables[tms_dynamics.MODELS]) == 8
    assert set(table.loc[table["measure"] == "jumps", "seeds"]) == {4}


def test_a_run_that_kept_no_weights_is_refused(ran: Ran) -> None:
    text = SWEEP.replace("snapshots = 60\n", "").replace("[0, 4]", "[0, 1]")
    with pytest.raises(FolderError, match=r"set train\.snapshots"):
        tms_dynamics.answer(ran(text), print)


def test_arms_that_would_be_called_the_same_are_refused(ran: Ran) -> None:
    text = SWEEP.replace("[0, 4]", "[0, 1]").replace("steps = 400", "steps = 60")
    with pytest.raises(FolderError, match=r"some also differ in train\.learning_rate$"):
        tms_dynamics.answer(ran(text + '"train.learning_rate" = [1e-3, 1e-2]\n'), print)
    tied = '[[case]]\n"train.learning_rate" = 1e-3\n"features.n" = 5\n[[case]]\n"train.learning_rate" = 1e-2\n'
    named = tms_dynamics.answer(ran(text + tied), print)
    assert named.tables[tms_dynamics.MODELS]["arm"].nunique() == 4
