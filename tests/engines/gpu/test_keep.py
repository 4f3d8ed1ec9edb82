"""Kept and continued: whatever the interruption of the gpu engine, the models of an undisturbed run, bit for bit."""

from __future__ import annotations

import contextlib

import pytest
import torch

from tests.engines.test_keep import InMemory, Stop, experiments, same
from toymodels import SGD, Adam, Bottleneck, Features
from toymodels.engines import ENGINES
from toymodels.engines.gpu import run

gpu = ENGINES["gpu"]
OF = {"steps": 8, "rates": (1e-3, 1e30), "features": Features(6, 0.2)}


@pytest.fixture(autouse=True)
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stretch has two steps at most: there is time to save between any two."""
    monkeypatch.setattr(run, "MOST_AT_ONCE", 2)


@pytest.mark.parametrize("optimizer, killed", [(Adam(), False), (SGD(), True)], ids=["adam", "sgd"])
def test_stopped_after_every_save_it_is_the_undisturbed_run(optimizer: Adam | SGD, killed: bool) -> None:
    es = experiments(optimizer, bottleneck=Bottleneck(2), **OF)
    whole, keep, begun = gpu.train(es), InMemory(killed=killed), 0
    while True:
        keep.saves, begun = 1, begun + 1
        with contextlib.suppress(Stop):
            trained = gpu.train(es, keep=keep)
            break
    same(trained, whole)
    assert begun > 3
    assert keep.reasons == []


def test_an_interruption_within_a_stretch_saves_the_last_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    es = experiments(bottleneck=Bottleneck(2), **OF)
    whole, keep, advance = gpu.train(es), InMemory(seconds=1e9), run.GpuRun.advance

    def interrupted(self: run.GpuRun, until: int) -> None:
        if until > 5:
            self.curve[:, -1] = 7.0  # what it would have filled in place
            raise KeyboardInterrupt
        advance(self, until)

    monkeypatch.setattr(InMemory, "worth_seconds", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(run.GpuRun, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gpu.train(es, keep=keep)
    kept = keep.load()
    assert kept is not None
    assert kept["step"].shape == (len(es),)
    assert 0 < kept["step"][0] == kept["step"][-1] < 6
    same(gpu.train(es, keep=keep), whole)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"step": torch.tensor([8, 8])}, "step: expected 0 to 7"),
        ({"step": torch.tensor([2, 4])}, "step: expected the same of every model, got 2 to 4"),
        ({"step": torch.tensor([4])}, "step: expected shape torch.Size([2]), got torch.Size([1])"),
        ({"stood": torch.zeros(2, 3, 1)}, "stood: expected shape torch.Size([2, 3, 18]), got torch.Size([2, 3, 1])"),
    ],
)
def test_what_does_not_fit_is_refused_and_training_begins_at_the_start(
    change: dict[str, torch.Tensor], reason: str
) -> None:
    es = experiments(bottleneck=Bottleneck(2), **OF)
    whole, keep = gpu.train(es), InMemory(saves=2)
    with contextlib.suppress(Stop):
        gpu.train(es, keep=keep)
    keep.parts[keep.place] |= change
    keep.saves = 10**9
    same(gpu.train(es, keep=keep), whole)
    assert keep.reasons == [reason]
