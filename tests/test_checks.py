"""Values of the wrong kind are refused where they are given, by name and with an example."""

# pyright: reportArgumentType=false

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import toymodels as tm

CASES: list[tuple[Any, dict[str, Any], str]] = [
    (tm.Bottleneck, {"hidden": 2, "activation": "relu"}, "activation"),
    (tm.Bottleneck, {"hidden": 2, "output": "relu"}, "output"),
    (tm.Bottleneck, {"hidden": 2, "layer_norm": True}, "layer_norm"),
    (tm.Features, {"n": 3, "density": 0.1, "frequency": tm.Zipf(1.0)}, "frequency"),
    (tm.Features, {"n": 3, "density": 0.1, "importance": tm.Zipf(1.0)}, "importance"),
    (tm.Features, {"n": 3, "density": 0.1, "values": "binary"}, "values"),
    (tm.Features, {"n": 3, "density": 0.1, "firing": "one"}, "firing"),
    (tm.Frequency, {"law": "zipf"}, "law"),
    (tm.Importance, {"law": "zipf"}, "law"),
    (tm.Training, {"optimizer": "adam"}, "optimizer"),
    (tm.Training, {"schedule": "cosine"}, "schedule"),
]


@pytest.mark.parametrize("make, arguments, name", CASES)
def test_the_wrong_kind_is_refused_by_name(make: Any, arguments: dict[str, Any], name: str):
    with pytest.raises(TypeError, match=rf"^{name}: expected an? .* such as tm\."):
        make(**arguments)


def test_experiments_are_checked_too():
    features, bottleneck = tm.Features(3, 0.1), tm.Bottleneck(2)
    with pytest.raises(TypeError, match="features"):
        tm.Experiment(bottleneck, features)
    with pytest.raises(TypeError, match="in a list"):
        tm.train(tm.Experiment(features, bottleneck))


def test_a_law_of_the_wrong_length_names_whose_it_is():
    with pytest.raises(ValueError, match=r"^importance\.values: expected 5 numbers, got 2"):
        tm.Features(5, 0.1, importance=tm.Importance(tm.Listed((1.0, 2.0))))


KINDS: list[tuple[Callable[[], Any], str]] = [
    (lambda: tm.Bottleneck(hidden=2.0), "hidden: expected a whole number from 1 to 100000, got 2.0"),
    (lambda: tm.Bottleneck(hidden=True), "hidden: expected a whole number from 1 to 100000, got True"),
    (lambda: tm.Bottleneck(2, tied="no"), "tied: expected True or False, got 'no'"),
    (lambda: tm.Bottleneck(2, output_bias=1), "output_bias: expected True or False, got 1"),
    (lambda: tm.Bottleneck(2, init_scale="1"), "init_scale: expected a number > 0, got '1'"),
    (lambda: tm.LayerNorm("matched"), r"eps: expected a number >= 0 or tm\.Matched\(\), got 'matched'"),
    (lambda: tm.Features("5", 0.1), "n: expected a whole number from 1 to 1000000, got '5'"),
    (lambda: tm.Features(5, True), "density: expected a number, got True"),
    (lambda: tm.Features(5, 0.1, signed=0), "signed: expected True or False, got 0"),
    (lambda: tm.Frequency(cap=None), "cap: expected a number, got None"),
    (lambda: tm.Importance(shuffle="yes"), "shuffle: expected True or False, got 'yes'"),
    (
        lambda: tm.Importance(shuffle_seed=1.0),
        "shuffle_seed: expected a whole number from 0 to 9223372036854775807, got",
    ),
    (lambda: tm.Zipf("1"), "exponent: expected a number >= 0, got '1'"),
    (lambda: tm.Listed("12"), "values: expected a tuple of numbers, got '12'"),
    (lambda: tm.Listed((1.0, True)), "values: expected a number >= 0, got True"),
    (lambda: tm.Correlated(2.0), "groups: expected a whole number from 1 to 1000000, got 2.0"),
    (lambda: tm.Together(((0, 1.0),)), "firing.sets: expected a whole number from 0 to 999999, got 1.0"),
    (lambda: tm.Together((0, 1)), r"firing.sets: expected sets of features such as \(\(0, 1\), \(2, 5\)\), got"),
    (lambda: tm.Training(steps=True), "steps: expected a whole number from 1 to 1000000000, got True"),
    (lambda: tm.Training(learning_rate=torch.tensor(0.1)), "learning_rate: expected a number >= 0, got tensor"),
    (lambda: tm.Adam(eps="1e-8"), "eps: expected a number >= 0, got"),
    (lambda: tm.RotatedAdam(adam=tm.SGD()), r"adam: expected an Adam such as tm\.Adam\(\), got SGD"),
    (lambda: tm.Sampler([tm.Features(2, 0.5)], [1.5]), "seed: expected a whole number"),
    (lambda: tm.train([tm.Features(2, 0.5)]), "experiments: expected an Experiment"),
    (lambda: tm.train([EXPERIMENT], device=1), "device: expected a word such as 'cpu'"),
    (lambda: tm.train([EXPERIMENT], dtype="float32"), "dtype: expected torch.float32 or torch.float64, got 'float32'"),
    (lambda: tm.train([EXPERIMENT], memory_bytes=1e9), "memory_bytes: expected a whole number"),
    (lambda: tm.train([EXPERIMENT], on_step=3), "on_step: expected a function, got 3"),
    (lambda: tm.train([EXPERIMENT], keep="folder"), "keep: expected a Keep"),
    (lambda: tm.measure([EXPERIMENT], PARAMETERS, samples=100.0), "samples: expected a whole number from 1 to 10"),
    (lambda: tm.measure([EXPERIMENT], {"W_in": PARAMETERS.W_in}), "parameters: expected a Parameters such as"),
]
VALUES: list[tuple[Callable[[], Any], str]] = [
    (lambda: tm.Bottleneck(hidden=0), "hidden: expected a whole number from 1 to 100000, got 0"),
    (lambda: tm.Features(10**6 + 1, 0.1), "n: expected a whole number from 1 to 1000000, got 1000001"),
    (lambda: tm.Features(5, math.nan), "density: expected a finite number, got nan"),
    (lambda: tm.Features(5, 1.5), "density: expected 0 < density <= 1, got 1.5"),
    (lambda: tm.Training(learning_rate=math.inf), "learning_rate: expected a finite number >= 0, got inf"),
    (lambda: tm.Training(weight_decay=10**400), "weight_decay: expected a finite number >= 0, got 1000"),
    (lambda: tm.Training(weight_decay=10**5000), "weight_decay: expected a finite number >= 0, got a int too long"),
    (lambda: tm.Adam(beta_1=1.0), "beta_1: expected a number >= 0 and < 1, got 1.0"),
    (lambda: tm.SGD(momentum=-0.1), "momentum: expected a number >= 0 and < 1, got -0.1"),
    (lambda: tm.Geometric(0), "ratio: expected a number > 0, got 0"),
    (lambda: tm.train([EXPERIMENT], memory_bytes=0), "memory_bytes: expected a whole number from 1"),
    (lambda: tm.measure([EXPERIMENT] * 2, PARAMETERS), "parameters: expected those of 2 models, got 1"),
]
EXPERIMENT = tm.Experiment(tm.Features(3, 0.1), tm.Bottleneck(2), tm.Training(steps=1, batch=4))
PARAMETERS = tm.Parameters(W_in=torch.zeros(1, 2, 3), b_out=torch.zeros(1, 3))


@pytest.mark.parametrize("make, sentence", KINDS)
def test_a_value_of_another_kind_is_refused_in_a_sentence(make: Callable[[], Any], sentence: str):
    with pytest.raises(TypeError, match=f"^{sentence}"):
        make()


@pytest.mark.parametrize("make, sentence", VALUES)
def test_a_value_out_of_range_is_refused_in_a_sentence(make: Callable[[], Any], sentence: str):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        make()


def test_numpy_says_what_python_says():
    given = tm.Features(np.int32(5), np.float32(0.25), signed=np.bool_(True))
    assert given == tm.Features(5, 0.25, signed=True)
    assert (type(given.n), type(given.density), type(given.signed)) == (int, float, bool)
    assert tm.Listed(np.array([1.0, 2.0])) == tm.Listed((1.0, 2.0))
    assert tm.Training(steps=np.int64(7)) == tm.Training(steps=7)


def test_what_cannot_be_grouped_or_counted_is_refused_in_a_sentence() -> None:
    @dataclasses.dataclass
    class Loose(tm.FeatureTarget):
        name = "loose"

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(TypeError, match="target: expected a frozen dataclass, got Loose"):
        tm.Experiment(tm.Features(3, 0.1), tm.Bottleneck(2), target=Loose())
    one = tm.Experiment(tm.Features(3, 0.1), tm.Bottleneck(2), tm.Training(2, 4))
    with pytest.raises(TypeError, match="expected a list or tuple of experiments, got generator"):
        tm.train(each for each in [one])  # pyright: ignore[reportArgumentType]
    assert tm.train([one], device=torch.device("cpu")).parameters.W_in.shape == (1, 2, 3)
