"""Quantities that ask for one another: computed once, and alone in their failure."""

from __future__ import annotations

import pytest
import torch

import toymodels as tm
from toymodels import metrics
from toymodels.metrics import columns
from toymodels.metrics.asking import Ask, Unmeasured


def test_each_is_computed_once_and_when_asked_for():
    computed = []

    def one(_: Ask) -> torch.Tensor:
        computed.append("one")
        return torch.ones(2)

    ask = Ask({"one": one, "two": lambda ask: ask("one") + ask("one"), "never": lambda ask: ask("nothing")})
    assert ask("two").tolist() == [2, 2]
    assert ask("one").tolist() == [1, 1]
    assert computed == ["one"]


def test_a_failure_is_of_what_raised_and_of_what_asks_for_it():
    def broken(_: Ask) -> torch.Tensor:
        raise ZeroDivisionError("by nothing")

    ask = Ask({"broken": broken, "made of it": lambda ask: ask("broken") + 1, "fine": lambda _: torch.zeros(1)})
    for name in ("made of it", "broken", "broken"):
        with pytest.raises(Unmeasured, match="ZeroDivisionError: by nothing"):
            ask(name)
    assert ask("fine").tolist() == [0]


def test_interrupting_is_no_failure():
    def stopped(_: Ask) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Ask({"stopped": stopped})("stopped")


def test_one_measure_that_raises_leaves_all_others_as_they_were(monkeypatch):
    experiments = [
        tm.Experiment(tm.Features(6, 0.3), tm.Bottleneck(3), tm.Training(steps=5, batch=8), seed=s) for s in (0, 1)
    ]
    parameters = tm.train(experiments, engine="autograd").parameters
    whole = metrics.measure(experiments, parameters, 512)
    assert whole.failed == {}

    def broken(*_):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(columns, "weight_alignment", broken)
    monkeypatch.setattr(columns, "coherence", broken)
    found = metrics.measure(experiments, parameters, 512)
    reason = "ZeroDivisionError: by nothing"
    lost = ("features.weight_alignment", "features.weight_alignment_percentile", "models.coherence")
    assert found.failed == dict.fromkeys(lost, reason)
    for level in metrics.LEVELS:
        before, now = getattr(whole, level), getattr(found, level)
        assert set(before) - set(now) == {name.partition(".")[2] for name in lost if name.startswith(level)}
        for name, column in now.items():
            assert torch.equal(column.nan_to_num(nan=-7.0), before[name].nan_to_num(nan=-7.0)), name


@pytest.mark.parametrize(
    "wrong, said",
    [
        (torch.zeros(2), "expected a tensor of shape (2, 6), got one of shape (2,)"),
        (torch.zeros(()), "expected a tensor of shape (2, 6), got one of shape ()"),
        (0.5, "expected a tensor of shape (2, 6), got 0.5"),
    ],
)
def test_what_is_no_column_costs_itself_alone(monkeypatch, wrong, said):
    experiments = [
        tm.Experiment(tm.Features(6, 0.3), tm.Bottleneck(3), tm.Training(steps=5, batch=8), seed=s) for s in (0, 1)
    ]
    parameters = tm.train(experiments, engine="autograd").parameters
    monkeypatch.setattr(columns, "norms", lambda W: wrong)
    found = metrics.measure(experiments, parameters, 512)
    assert found.failed == {"features.norm": said}
    assert "r2" in found.features
