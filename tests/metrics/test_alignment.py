"""Alignment, monosemanticity and their null: hand-built responses, exact laws, and what rotation must do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from toymodels import Activation, Bottleneck, GeLU, Linear, Parameters, ReLU, SoLU, XExp
from toymodels.metrics.alignment import participation_ratio, response_alignment, weight_alignment
from toymodels.metrics.monosemanticity import dead_neurons, main_feature, monosemanticity
from toymodels.metrics.rotation_null import DRAWS, Null, rotation_nulls
from toymodels.responses import response_sizes, responses
from toymodels.rotations import haar

DELTA = torch.tensor([[[1.0, 0.0, 3.0, 0.0], [0.0, 2.0, -1.0, 0.0], [0.0, -2.0, 0.0, 0.0]]])
"""[model 1, hidden 3, feature 4]"""
SIZE = DELTA.abs()


def layer(activation: Activation, W: Tensor, b: Tensor | None = None) -> tuple[Bottleneck, Parameters]:
    return Bottleneck(W.shape[1], activation), Parameters(W_in=W, b_in=b)


def test_response_measures_by_hand():
    assert response_alignment(SIZE)[0, :3].tolist() == pytest.approx([1, 0.5, 0.75])
    assert participation_ratio(SIZE)[0, :3].tolist() == pytest.approx([1, 2, 100 / 82])
    assert weight_alignment(DELTA)[0, :3].tolist() == pytest.approx([1, 1 / math.sqrt(2), 3 / math.sqrt(10)])
    for measure in (response_alignment, participation_ratio, weight_alignment):
        assert measure(SIZE)[0, 3].isnan()


def test_neuron_measures_by_hand():
    assert monosemanticity(SIZE)[0].tolist() == pytest.approx([0.75, 2 / 3, 1])
    assert main_feature(SIZE)[0].tolist() == [2, 1, 1]
    assert not dead_neurons(SIZE).any()
    dead = torch.cat([SIZE, torch.zeros(1, 1, 4)], dim=1)
    assert dead_neurons(dead)[0].tolist() == [False, False, False, True]
    assert monosemanticity(dead)[0, 3].isnan()
    assert main_feature(dead)[0, 3] == -1
    assert dead_neurons(torch.zeros(1, 3, 4)).all()


def test_small_responses_do_not_underflow():
    assert weight_alignment(DELTA * 1e-25)[0, :3].tolist() == pytest.approx([1, 1 / math.sqrt(2), 3 / math.sqrt(10)])
    assert participation_ratio(SIZE * 1e-18)[0, :3].tolist() == pytest.approx([1, 2, 100 / 82])


@pytest.mark.parametrize("activation", [ReLU(), SoLU()], ids=lambda a: a.name)
def test_permuting_neurons_or_features_permutes_and_rotation_changes(activation):
    torch.manual_seed(0)
    W, value = torch.randn(1, 6, 9, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    rows, columns = torch.randperm(6), torch.randperm(9)
    for measure in (response_alignment, participation_ratio):
        of = lambda W, measure=measure: measure(response_sizes(*layer(activation, W), value, signed=False))  # noqa: E731
        assert torch.allclose(of(W[:, rows][:, :, columns]), of(W)[:, columns])
        assert not torch.allclose(of(haar(np.array([0]), 6, 1) @ W), of(W), atol=1e-3)


# ----------------------------------------------------------------------------------------------------------- the null


def test_null_percentiles_and_quantiles_by_hand():
    null = Null(torch.tensor([[[0.4, 0.1, math.nan, 0.3, 0.2], [5.0, 1.0, 2.0, 3.0, 4.0], [math.nan] * 5]] * 5))
    measured = torch.tensor([[0.05, 2.5, 0.5], [0.3, 5, 0.5], [0.35, 5.1, 0.5], [0.9, 0, 0.5], [math.nan] * 3])
    percentile = null.percentile(measured)
    assert percentile[:4, 0].tolist() == [0, 50, 75, 100]
    assert percentile[:4, 1].tolist() == [40, 80, 100, 0]
    assert percentile[4].isnan().all()
    assert percentile[:, 2].isnan().all()
    assert null.defined[0].tolist() == [4, 5, 0]
    assert null.quantile(99)[0, :2].tolist() == pytest.approx([0.4, 5])
    assert null.quantile(50)[0, :2].tolist() == pytest.approx([0.2, 3])
    assert null.quantile(99)[0, 2].isnan()


def test_what_differs_from_the_null_by_rounding_does_not_exceed_it():
    null = Null(torch.full((1, 1, 5), 0.5))
    assert null.percentile(torch.tensor([[0.5 * (1 + 2**-22)]])).item() == 0
    assert null.percentile(torch.tensor([[0.5 * (1 + 1e-5)]])).item() == 100


def test_the_null_of_weight_alignment_is_the_sphere():
    """max_k |u_k| of a uniform unit vector in R^2 is cos of a uniform angle in [0, pi/4]: CDF 1 - (4/pi) acos(x)."""
    null = rotation_nulls(*layer(Linear(), torch.randn(1, 2, 3)), torch.ones(1), signed=False)["weight_alignment"]
    assert null.values.shape == (1, 3, DRAWS)
    assert kstest(null.values[0, 0].numpy(), lambda x: 1 - 4 / math.pi * np.arccos(np.clip(x, 0, 1))).pvalue > 1e-3


@pytest.mark.parametrize("activation", [Linear(), ReLU(), GeLU(), SoLU(), XExp()], ids=lambda a: a.name)
@pytest.mark.parametrize("size", [1.0, 4.0])
def test_random_directions_are_aligned_no_more_often_than_the_null_says(activation, size):
    """The trap: activations sharpen. Against a null that rotates before acting, 1 % exceed the 99th percentile."""
    torch.manual_seed(3)
    n_models, m, n = 40, 16, 50
    W = torch.randn(n_models, m, n)
    W = size * W / W.norm(dim=1, keepdim=True)
    value = torch.ones(n_models)
    null = rotation_nulls(*layer(activation, W), value, signed=False)["response_alignment"]
    measured = response_alignment(response_sizes(*layer(activation, W), value, signed=False))
    share = (measured > null.quantile(99)).float().mean().item()
    # Of 201 values, one of the model and one of each rotation, the model's is among the three largest.
    assert share == pytest.approx(3 / 201, abs=5 * math.sqrt(0.015 / (n_models * n)) + 0.003)
    assert kstest(null.percentile(measured).flatten().numpy() / 100, "uniform").statistic < 0.05


def test_a_one_neuron_feature_exceeds_the_null():
    W = torch.zeros(1, 16, 16)
    W[0].fill_diagonal_(2.0)
    null = rotation_nulls(*layer(SoLU(), W), torch.ones(1), signed=False)["response_alignment"]
    measured = response_alignment(response_sizes(*layer(SoLU(), W), torch.ones(1), signed=False))
    assert (measured == 1).all()
    assert (measured > null.quantile(99)).all()
    assert (null.percentile(measured) > 99).all()


def test_the_null_turns_the_hidden_bias_with_the_columns():
    """All of z = W_in x + b_in is turned, as if the model had been read in another basis: Q z."""
    torch.manual_seed(0)
    W, b = torch.randn(1, 4, 6), torch.randn(1, 4)
    value = torch.ones(1)
    null = rotation_nulls(*layer(ReLU(), W, b), value, signed=False)["response_alignment"]
    first = haar(np.zeros(1, np.int64), 4, step=1).float()
    expected = response_alignment(responses(*layer(ReLU(), first @ W, b @ first[0].T), value).abs())[0]
    assert expected.isfinite().all()
    for feature, value_ in enumerate(expected):
        assert (null.values[0, feature] - value_).abs().nan_to_num(1).min() < 1e-6
    other = rotation_nulls(*layer(ReLU(), W, b), value, signed=False, seed=1)["response_alignment"]
    assert not torch.equal(other.values, null.values)


def test_a_long_and_a_short_column_have_each_its_own_null():
    """Under SoLU a random column of length 4 looks more aligned than one of 1.5: pooled, the long ones would be called
    aligned 2 % of the time at the 99th percentile, and the short ones never."""
    torch.manual_seed(5)
    n_models, m, n = 60, 16, 40
    W = torch.randn(n_models, m, n)
    W = W / W.norm(dim=1, keepdim=True) * torch.where(torch.arange(n) < n // 2, 4.0, 1.5)
    of = layer(SoLU(), W), torch.ones(n_models)
    null = rotation_nulls(*of[0], of[1], signed=False)["response_alignment"]
    measured = response_alignment(response_sizes(*of[0], of[1], signed=False))
    long, short = (null.percentile(measured) >= 99).double().view(n_models, 2, -1).mean((0, 2))
    pooled = null.values.flatten(1).quantile(0.99, dim=1)
    assert (measured > pooled[:, None])[:, : n // 2].double().mean() > 0.017
    assert (measured > pooled[:, None])[:, n // 2 :].double().mean() < 0.001
    assert long.item() == pytest.approx(3 / 201, abs=0.009)
    assert short.item() == pytest.approx(3 / 201, abs=0.009)
