"""Arms of a run: what groups its models, and what tells one group from another."""

from __future__ import annotations

import numpy as np
import pandas as pd

from toymodels.sweeps.results.arms import Replicates, as_python, grouped, hidden_layer, label, value_text, varying

MODELS = pd.DataFrame(
    {
        "model": range(6),
        "features.n": 5,
        "features.density": [0.1, 0.1, 0.3, 0.3, 0.1, 0.3],
        "model.activation": ["relu", "relu", "relu", "relu", None, None],
        "seed": [0, 1, 0, 1, 0, 1],
        "key": list("abcdef"),
    }
)
SETTINGS = ("features.n", "features.density", "model.activation", "seed")


def numbers(arms: list[Replicates]) -> list[list[int]]:
    return [arm.models["model"].tolist() for arm in arms]


def test_models_are_grouped_by_what_varies_seeds_aside_in_their_order():
    arms = grouped(MODELS, SETTINGS)
    assert numbers(arms) == [[0, 1], [2, 3], [4], [5]]
    assert arms[1].settings == {"features.density": 0.3, "model.activation": "relu"}
    assert arms[2].settings == {"features.density": 0.1, "model.activation": None}


def test_what_is_averaged_over_is_said_by_the_caller():
    assert numbers(grouped(MODELS, SETTINGS, over=("seed", "model.activation"))) == [[0, 1, 4], [2, 3, 5]]
    assert numbers(grouped(MODELS, SETTINGS, over=())) == [[0], [1], [2], [3], [4], [5]]


def test_columns_are_found_by_name_wherever_they_stand():
    turned = MODELS[MODELS.columns[::-1]]
    assert numbers(grouped(turned, SETTINGS)) == numbers(grouped(MODELS, SETTINGS))


def test_models_that_agree_are_one_arm_and_no_models_none():
    (arm,) = grouped(MODELS.iloc[:2], SETTINGS)
    assert (arm.settings, len(arm.models)) == ({}, 2)
    assert grouped(MODELS.iloc[:0], SETTINGS) == []


def test_long_lists_that_differ_in_the_middle_vary():
    """NumPy shortens an array of over a thousand numbers when it is printed."""
    other = np.ones(2000)
    other[1000] = 2.0
    models = pd.DataFrame({"model": [0, 1], "features.importance.values": [np.ones(2000), other], "seed": [0, 0]})
    names = ("features.importance.values", "seed")
    assert varying(models, names) == [names[0]]
    assert numbers(grouped(models, names)) == [[0], [1]]


def test_values_in_words():
    assert hidden_layer("solu", True) == "solu + LN"
    assert hidden_layer("gelu", False) == "gelu"
    assert label({"features.frequency.law": "zipf", "features.density": 0.12345, "model.tied": None}) == (
        "frequency zipf, density 0.123"
    )
    assert [value_text(value) for value in (None, 3, 0.5, "relu")] == ["", "3", "0.5", "relu"]
    assert as_python(np.array([1.0, np.nan])) == [1.0, None]
