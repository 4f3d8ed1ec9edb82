"""Heartbeats: how far a sweep is, how fast, and how long it will take."""

from __future__ import annotations

import pytest

from toymodels.sweeps.console import progress
from toymodels.sweeps.console.progress import Progress
from toymodels.sweeps.execution import speed


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (progress, speed):
        monkeypatch.setattr(module, "time", clock)
    return clock


def beats(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_compiling_is_not_counted_as_training(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(100) as said:
        clock.now += 40  # compiling, and half a second of training
        said.advance(1.0)
        clock.now += 11
        said.advance(22.0)
    assert beats(capsys) == ["1 of 100 models", "23 of 100 models, 2.00 models/s, about 38 s left"]


def test_what_is_stored_counts_as_done_and_not_as_fast(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(100) as said:
        said.skip(50)
        said.advance(0.0)
        clock.now += 20
        said.advance(10.0)
    assert beats(capsys) == ["60 of 100 models, 0.50 models/s, about 80 s left"]


def test_heartbeats_are_ten_seconds_apart(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(100) as said:
        said.advance(0.0)
        for _ in range(25):
            clock.now += 1
            said.advance(1.0)
    assert [line.split(",")[0] for line in beats(capsys)] == ["11 of 100 models", "22 of 100 models"]
