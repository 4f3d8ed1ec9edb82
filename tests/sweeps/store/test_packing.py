"""Packing: what a pack says of its models."""

from __future__ import annotations

from toymodels.sweeps.spec.schema import ALL_SETTINGS
from toymodels.sweeps.spec.settings import ALWAYS_SAID, Settings, override, validate
from toymodels.sweeps.store.packing import common_and_varying

BASE = {"features": {"n": 4, "density": 0.3}, "model": {"hidden": 2, "hidden_bias": True}}


def settings(**changes: object) -> Settings:
    raw: dict[str, object] = dict(BASE)
    for name, value in changes.items():
        raw = override(raw, name.replace("__", "."), value)
    return validate(raw, "test")


def test_settings_that_came_later_are_said_only_where_they_are_used() -> None:
    said = common_and_varying([settings(seed=0), settings(seed=1)])
    assert said["settings"].keys() == ALWAYS_SAID - {"seed"} < ALL_SETTINGS.keys()
    assert said["varying"] == {"seed": [0, 1]}


def test_one_that_some_models_use_is_said_of_all() -> None:
    said = common_and_varying([settings(), settings(model__hidden_bias_start=-1.0)])
    assert said["varying"] == {"model.hidden_bias_start": [0.0, -1.0]}
    both = common_and_varying([settings(model__hidden_bias_start=-1.0)] * 2)
    assert both["settings"]["model.hidden_bias_start"] == -1.0
