"""Values of the wrong kind are refused where they are given, by name and with an example."""

from __future__ import annotations

from typing import Any

import pytest

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
        tm.Experiment(bottleneck, features)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="in a list"):
        tm.train(tm.Experiment(features, bottleneck))  # pyright: ignore[reportArgumentType]


def test_a_law_of_the_wrong_length_names_whose_it_is():
    with pytest.raises(ValueError, match=r"^importance\.values: expected 5 numbers, got 2"):
        tm.Features(5, 0.1, importance=tm.Importance(tm.Listed((1.0, 2.0))))
