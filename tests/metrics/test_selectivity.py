"""Selectivity against closed forms of neurons made by hand, and against what must not change it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import toymodels as tm
from tests.metrics.test_inspection import SPARSE, by_hand, models
from toymodels.hosts import Models
from toymodels.metrics.moments import collect
from toymodels.metrics.selectivity import selectivity

SAMPLES = 4096
P = 0.15


def measured(es, parameters):
    return selectivity(Models(es, parameters), collect(Models(es, parameters), SAMPLES))


def test_a_neuron_of_one_feature_of_two_and_of_none() -> None:
    W = torch.zeros(4, 12)
    W[0, 3] = 2
    W[1, :2] = 1
    W[2, 5] = -1
    found = measured(*by_hand(W, SPARSE))
    best, auroc, elsewhere, mono = (getattr(found, name)[0] for name in vars(found))
    assert best[[0, 2]].tolist() == pytest.approx([1, 1])
    assert best[1].item() == pytest.approx(1 / 2, abs=0.03)
    assert auroc[[0, 2]].tolist() == pytest.approx([1, 1])
    # x_1 + x_2 tells x_1: active 1 or 2, inactive 0 or 1
    assert auroc[1].item() == pytest.approx((1 - P) * (1 - P / 2) + P, abs=0.02)
    assert elsewhere[[0, 2]].tolist() == [0, 0]
    assert elsewhere[1].item() == pytest.approx((1 - P) / 2, abs=0.02)
    assert mono[:3].tolist() == pytest.approx([1, 1 / 2, 1])
    assert all(torch.isnan(each[3]) for each in (best, auroc, elsewhere, mono))


def test_scale_of_a_neuron_order_and_what_layer_norm_deletes_change_nothing() -> None:
    bottleneck = tm.Bottleneck(5, tm.Linear(), tm.LayerNorm(), tm.Linear(), tied=False, hidden_bias=True)
    es, parameters = models(bottleneck)
    before, order = measured(es, parameters), torch.tensor([3, 1, 0, 4, 2])
    assert parameters.b_in is not None
    v = torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = dataclasses.replace(parameters, W_in=(parameters.W_in + v)[:, order], b_in=(parameters.b_in + 3)[:, order])
    after = measured(es, moved)
    for name in vars(before):
        torch.testing.assert_close(getattr(after, name), getattr(before, name)[:, order], rtol=0, atol=1e-6)
    es, parameters = models(dataclasses.replace(bottleneck, layer_norm=None, hidden_bias=False))
    scale = torch.tensor([0.1, -1, 7, -2, 3], dtype=torch.float64)[:, None]
    scaled = dataclasses.replace(parameters, W_in=parameters.W_in * scale)
    for name, each in vars(measured(es, parameters)).items():
        torch.testing.assert_close(getattr(measured(es, scaled), name), each, rtol=0, atol=1e-6)
