"""Plain values: what a sweep file refuses of a setting's value, the Python API refuses, and the other way round."""

# pyright: reportArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import toymodels as tm
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.settings import override, validate

RAW = {
    "features": {"n": 6, "density": 0.1, "values": "binary"},
    "model": {"hidden": 2, "layer_norm": True, "output": "linear"},
}
ZIPF, GEOMETRIC = {"law": "zipf", "exponent": 1.0}, {"law": "geometric", "ratio": 0.9}
LISTED = {"law": "list", "values": [1.0] * 6}
CORRELATED = {"kind": "correlated", "groups": 2}
TREE = {"kind": "tree", "children": 2, "depth": 1, "any_child": 0.8}


def features(value: Any = 6, setting: str = "n", **others: Any) -> tm.Experiment:
    given = {"n": 6, "density": 0.1, "values": tm.Binary(), setting: value} | others
    return tm.Experiment(tm.Features(**given), tm.Bottleneck(2, layer_norm=tm.LayerNorm(), output=tm.Linear()))


def model(setting: str) -> Callable[[Any], Any]:
    return lambda value: tm.Bottleneck(**{"hidden": 2, "layer_norm": tm.LayerNorm(), setting: value})


def training(setting: str) -> Callable[[Any], Any]:
    return lambda value: tm.Training(**{setting: value})


SETTINGS: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "seed": ({}, lambda v: tm.Experiment(tm.Features(6, 0.1), tm.Bottleneck(2), seed=v)),
    "features.n": ({}, features),
    "features.density": ({}, lambda v: features(v, "density")),
    "features.signed": ({}, lambda v: features(v, "signed")),
    "features.frequency.cap": ({}, lambda v: features(tm.Frequency(cap=v), "frequency")),
    "features.frequency.exponent": (
        {"features.frequency": ZIPF},
        lambda v: features(tm.Frequency(tm.Zipf(v)), "frequency"),
    ),
    "features.importance.ratio": (
        {"features.importance": GEOMETRIC},
        lambda v: features(tm.Importance(tm.Geometric(v)), "importance"),
    ),
    "features.importance.values": (
        {"features.importance": LISTED},
        lambda v: features(tm.Importance(tm.Listed(v)), "importance"),
    ),
    "features.importance.shuffle": ({}, lambda v: tm.Importance(shuffle=v)),
    "features.importance.shuffle_seed": ({}, lambda v: tm.Importance(shuffle_seed=v)),
    "features.firing.groups": ({"features.firing": CORRELATED}, lambda v: features(tm.Correlated(v), "firing")),
    "features.firing.children": ({"features.firing": TREE}, lambda v: features(tm.Tree(v, 1, 0.8), "firing")),
    "features.firing.depth": ({"features.firing": TREE}, lambda v: features(tm.Tree(2, v, 0.8), "firing")),
    "features.firing.any_child": ({"features.firing": TREE}, lambda v: features(tm.Tree(2, 1, v), "firing")),
    "model.hidden": ({}, model("hidden")),
    "model.layer_norm_eps": ({}, lambda v: tm.LayerNorm(eps=tm.Matched() if v == "matched" else v)),
    "model.layer_norm_affine": ({}, lambda v: tm.LayerNorm(affine=v)),
    "model.output_bias": ({}, model("output_bias")),
    "model.tied": ({}, model("tied")),
    "model.hidden_bias": ({}, model("hidden_bias")),
    "model.init_scale": ({}, model("init_scale")),
    "train.steps": ({}, training("steps")),
    "train.batch": ({}, training("batch")),
    "train.learning_rate": ({}, training("learning_rate")),
    "train.weight_decay": ({}, training("weight_decay")),
    "train.curve_points": ({}, training("curve_points")),
    "train.snapshots": ({}, training("snapshots")),
}
EDGES = [0, 1, 2, 5, 6, 7, 10**5, 10**6, 10**7, 10**9, 2**63 - 1]
VALUES = st.one_of(
    st.booleans(),
    st.sampled_from([*EDGES, *(-edge for edge in EDGES), *(edge + 1 for edge in EDGES), 10**400]).filter(
        lambda n: not 10 < n < 10**6  # that many features are as good as six, and take longer
    ),
    st.floats(),
    st.floats(0, 1),
    st.sampled_from(["", "no", "matched", "1"]),
    st.lists(st.one_of(st.floats(0, 9), st.booleans(), st.floats()), min_size=5, max_size=7),
)


def refuses(make: Callable[[], Any], *errors: type[Exception]) -> bool:
    try:
        make()
    except errors:
        return True
    return False


@pytest.mark.parametrize("name", SETTINGS)
@given(value=VALUES)
@example(value=True)
@example(value=1.0)
@example(value="no")
@example(value=[1.0] * 6)
@example(value=10**5 + 1)
@example(value=10**6 + 1)
def test_a_sweep_file_and_the_api_refuse_the_same_values(name: str, value: Any):
    others, api = SETTINGS[name]
    raw: dict[str, Any] = RAW
    for other, given_ in others.items():
        raw = override(raw, other, given_)
    raw = override(raw, name, value)
    in_a_file = refuses(lambda: validate(raw, "f.toml").experiment("f.toml"), SpecError)
    assert refuses(lambda: api(value), TypeError, ValueError) == in_a_file
