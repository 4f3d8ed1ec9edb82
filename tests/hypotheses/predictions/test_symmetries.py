"""The same model written down in two ways: every prediction says the same of both.

Adding 1 v' to W_in before a LayerNorm changes nothing downstream; nor does the order of neurons or features, nor the
unit that pre-activations are in where the activation is homogeneous.
"""

from __future__ import annotations

import pytest
import torch

from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.metrics.recovery import best_neuron_r2

KEYS = ("P2", "P3", "P4", "P7", "P9")
BY_KEY = {prediction.key: prediction for prediction in PREDICTIONS}


@pytest.mark.parametrize("key", KEYS)
def test_a_prediction_says_the_same_of_both(key, alike, split, make_tiers):
    prediction = BY_KEY[key]
    neuron = (torch.arange(9) < 4).expand(2, -1)
    measured, tiers = prediction.measure(alike.arm, split(alike.arm)), make_tiers(neuron, ~neuron)
    moved = make_tiers(neuron[:, alike.features], ~neuron[:, alike.features])
    again = prediction.measure(alike.other, split(alike.other))
    one, other = prediction.of_arm(measured, tiers), prediction.of_arm(again, moved)
    assert set(one) == set(other)
    assert one
    assert any(value.isfinite().all() for value in one.values())
    for kind, value in one.items():
        assert value.shape == (2,)
        torch.testing.assert_close(other[kind], value, rtol=1e-4, atol=1e-5, equal_nan=True, msg=kind)
    for name, column in prediction.evidence_columns(measured, tiers).items():
        there = prediction.evidence_columns(again, moved)[name]
        if name.startswith("change_"):  # in the unit of the layer
            column, there = column / column.nanmean(), there / there.nanmean()
        torch.testing.assert_close(there, column[:, alike.features], rtol=1e-4, atol=1e-5, equal_nan=True, msg=name)


def test_the_alignment_that_p1_describes_is_the_same_in_both(alike, split):
    one, other = (best_neuron_r2(split(arm).first_half, "post") for arm in (alike.arm, alike.other))
    torch.testing.assert_close(other, one[:, alike.features], rtol=1e-6, atol=1e-9)
