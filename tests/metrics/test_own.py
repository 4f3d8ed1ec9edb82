"""Metrics of one's own: columns beside those of the package, with its own failures and under no name that is taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis as of_scipy

import toymodels as tm
from toymodels import metrics
from toymodels.metrics import Measured

FEATURES = tm.Features(n=4, density=0.3)
EXPERIMENTS = [tm.Experiment(FEATURES, tm.Bottleneck(hidden=3), tm.Training(steps=5, batch=8), seed=s) for s in (0, 1)]
PAIRS = [dataclasses.replace(e, bottleneck=tm.Bottleneck(3, tied=False), target=tm.And(2)) for e in EXPERIMENTS]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    for each in metrics.registered():
        metrics.unregister(each.name, each.table)


def kurtosis(models: Measured) -> torch.Tensor:
    _, taps = models.forward(512)
    z = taps.pre - taps.pre.mean(2, keepdim=True)
    return z.pow(4).mean(2) / z.square().mean(2).square()


def measured(experiments: list[tm.Experiment] = EXPERIMENTS) -> tm.Measures:
    return tm.measure(experiments, tm.train(experiments).parameters, samples=512)


def test_a_registered_function_is_a_column() -> None:
    before = measured()
    made = metrics.register("kurtosis", kurtosis, table="neurons", unit="1", description="of z")
    found = measured()
    assert (made.unit, made.description, made.column) == ("1", "of z", "neurons.kurtosis")
    x = metrics.Measured(tuple(EXPERIMENTS), tm.train(EXPERIMENTS).parameters, None, None).forward(512)[1].pre  # type: ignore[arg-type]
    assert found.neurons["kurtosis"].numpy() == pytest.approx(of_scipy(x.numpy(), axis=2, fisher=False), rel=1e-4)
    assert found.neurons["kurtosis"].dtype == torch.float64
    assert before.neurons.keys() | {"kurtosis"} == found.neurons.keys()
    metrics.unregister("kurtosis", "neurons")
    assert "kurtosis" not in measured().neurons


def test_as_a_decorator_and_in_every_table() -> None:
    @metrics.register("largest", table="models")
    def largest(models: Measured) -> Any:
        return models.column("features.norm").amax(1)

    metrics.register("index", lambda models: np.arange(8).reshape(2, 4), table="features")
    metrics.register("odd", lambda models: np.arange(6).reshape(2, 3) % 2 == 1, table="neurons")
    metrics.register("pair", lambda models: torch.ones(2, 2), table="targets")
    found = measured()
    assert largest.name == "largest"
    assert torch.equal(found.models["largest"], found.features["norm"].amax(1).double())
    assert found.features["index"].dtype == torch.int64
    assert found.neurons["odd"].dtype == torch.bool
    assert "pair" not in found.targets  # there are none
    assert torch.equal(measured(PAIRS).targets["pair"], torch.ones(2, 2, dtype=torch.float64))
    assert found.failed == {}


def test_one_that_fails_costs_its_own_column() -> None:
    def broken(models: Measured) -> Any:
        raise ZeroDivisionError("by nothing")

    metrics.register("broken", broken, table="models")
    metrics.register("misshapen", lambda models: torch.zeros(3), table="models")
    metrics.register("wordy", lambda models: "seven", table="models")
    metrics.register("asks", lambda models: models.column("models.broken"), table="models")
    metrics.register("unreal", lambda models: torch.zeros(2, dtype=torch.complex64), table="models")
    whole, found = measured(), measured()
    assert found.failed == whole.failed
    assert found.failed == {
        "models.broken": "ZeroDivisionError: by nothing",
        "models.misshapen": "expected a tensor of shape (2,), got one of shape (3,)",
        "models.wordy": "expected a tensor, got 'seven'",
        "models.asks": "ZeroDivisionError: by nothing",
        "models.unreal": "expected a tensor of real numbers, got complex ones",
    }
    assert "loss" in found.models


def test_what_it_sees_is_frozen() -> None:
    seen: list[Measured] = []

    def look(models: Measured) -> Any:
        seen.append(models)
        return torch.zeros(2)

    metrics.register("look", look, table="models")
    measured()
    assert seen[0].experiments == tuple(EXPERIMENTS)
    assert seen[0].moments.samples == 512
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen[0].parameters = None  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("loss", "models"),
        ("tier", "features"),
        ("dead_targets", "models"),
        ("r2", "targets"),
        ("feature", "features"),
        ("seed", "models"),
    ],
)
def test_a_name_that_there_is_is_refused(name: str, table: str) -> None:
    with pytest.raises(ValueError, match=f"the table {table} has a column '{name}' already"):
        metrics.register(name, kurtosis, table=table)


def test_the_same_function_again_takes_its_place_and_another_is_refused() -> None:
    metrics.register("kurtosis", kurtosis, table="neurons")
    again = metrics.register("kurtosis", kurtosis, table="neurons", unit="1")
    assert metrics.registered() == (again,)
    with pytest.raises(ValueError, match=r"'kurtosis' of neurons is registered by .*\.kurtosis already"):
        metrics.register("kurtosis", lambda models: models, table="neurons")


@pytest.mark.parametrize("name", ["", "a b", "model.x", "1st", 7, "_x", "</script>", "x" * 65])
def test_what_cannot_be_a_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="name: expected letters, digits and _"):
        metrics.register(name, kurtosis, table="models")


def test_what_is_no_function_or_table_is_refused() -> None:
    with pytest.raises(ValueError, match="table: expected models, features, neurons, targets, got 'curves'"):
        metrics.register("x", kurtosis, table="curves")
    with pytest.raises(TypeError, match="expected a function of the models that are measured, got 3"):
        metrics.register("x", 3, table="models")  # type: ignore[call-overload]


def test_a_fingerprint_is_of_the_text() -> None:
    one = metrics.register("a", lambda models: 1, table="models")
    two = metrics.register("b", lambda models: 2, table="models")
    assert one.fingerprint != two.fingerprint
    assert metrics.register("c", len, table="models").fingerprint  # type: ignore[arg-type]
