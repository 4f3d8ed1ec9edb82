"""What a run says of itself while it trains: now and then, within a pack, and nothing of packs that are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import TINIER
from toymodels.sweeps.execution import heartbeat, speed
from toymodels.sweeps.execution.heartbeat import Heartbeat
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.pulse import Pulse
from toymodels.sweeps.store.store import Store


class Clock:
    """A clock that goes when it is told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (heartbeat, speed):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Pulse]:
    said: list[Pulse] = []
    monkeypatch.setattr(Store, "say", lambda _, pulse: said.append(pulse))
    return said


def test_it_beats_now_and_then_and_passes_everything_on(clock: Clock, said: list[Pulse], tmp_path: Path) -> None:
    heard: list[float] = []
    notes: list[str] = []
    both = Heartbeat(Store(tmp_path)).beside(Reporter(note=notes.append, trained=heard.append))
    both.trained(0.5)  # nobody knows how long that took
    for _ in range(10):
        clock.now += 0.5
        both.trained(1.0)
    both.note("a sentence")
    assert (heard, notes) == ([0.5, *[1.0] * 10], ["a sentence"])
    assert said == [Pulse(4.0, 2.0, 4.5), Pulse(8.0, 4.0, 8.5)]


def test_a_pack_that_has_ended_is_on_its_way_no_more(clock: Clock, said: list[Pulse], tmp_path: Path) -> None:
    beats = Heartbeat(Store(tmp_path))
    both = beats.beside(Reporter())
    both.trained(0.0)
    clock.now += 1
    both.trained(5.5)
    beats.ended(4)
    beats.ended(4)  # of a pack that was given up nobody knows how much was done
    assert said == [Pulse(5.5, 1.0, 1.5), Pulse(5.5, 1.0, 0.0)]


@pytest.mark.usefixtures("clock")  # which stands still, however long a pack takes
def test_a_run_says_that_nothing_is_left_unstored(said: list[Pulse], tmp_path: Path) -> None:
    run(make_plan(parse(TINIER, "tiny", "tiny.toml")), tmp_path / "run", "autograd", "cpu")
    assert len(said) == 2  # once a pack
    assert said[-1].unstored == pytest.approx(0.0, abs=1e-9)
