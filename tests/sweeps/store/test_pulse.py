"""How far a process is, in the lock file that names it: said, read back, and gone with the process."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toymodels.sweeps.store.locks import MOST_BYTES, PREFIX, Lock, Shard
from toymodels.sweeps.store.pulse import Pulse

AMOUNT = st.floats(0, 1e11)


@given(AMOUNT, AMOUNT, AMOUNT)
def test_a_pulse_is_read_back_to_a_hundredth(trained: float, seconds: float, unstored: float) -> None:
    again = Pulse.parse(str(Pulse(trained, seconds, unstored)))
    assert again is not None
    for said, meant in zip((again.trained, again.seconds, again.unstored), (trained, seconds, unstored), strict=True):
        assert abs(said - meant) <= 0.0051 + 1e-15 * meant


@given(st.text())
def test_anything_else_is_none(text: str) -> None:
    assert Pulse.parse(text) is None


def test_the_rate_is_of_what_was_trained_and_0_before() -> None:
    assert Pulse(12.0, 4.0, 100.0).rate == 3.0
    assert Pulse().rate == 0.0


@pytest.mark.parametrize("shard", [None, Shard(1, 3)])
def test_a_holder_says_how_far_it_is_and_is_named_as_before(tmp_path: Path, shard: Shard | None) -> None:
    lock = Lock(tmp_path, shard)
    lock.take()
    (before,) = lock.holders()
    assert before.pulse is None
    for pulse in (Pulse(100_000.25, 60.5, 3.75), Pulse(1.0, 2.0, 3.0)):  # the second line is the shorter one
        lock.say(pulse)
        assert [(each.name, each.pulse) for each in lock.holders()] == [(before.name, pulse)]
    lock.release()
    assert lock.holders() == []
    assert {path.read_text() for path in tmp_path.iterdir()} == {""}


@pytest.mark.parametrize("second", ["", "trained many models", "trained 1.00 models\n" * 3, "\x1b[2J"])
def test_a_line_that_is_no_pulse_costs_nothing_but_the_pulse(tmp_path: Path, second: str) -> None:
    lock = Lock(tmp_path)
    lock.take()
    name = f"process {os.getpid()} on {platform.node()}"
    (tmp_path / PREFIX).write_text(f"{name}\n{second}")
    assert [(each.name, each.pulse) for each in lock.holders()] == [(name, None)]
    (tmp_path / PREFIX).write_bytes(b"x" * (MOST_BYTES + 1))
    assert [(each.name, each.pulse) for each in lock.holders()] == [("another process", None)]
    lock.release()
