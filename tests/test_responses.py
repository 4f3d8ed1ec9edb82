"""Responses on one side and on both: hand-built |x|, exact laws, and that unsigned features see one side only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from toymodels import (
    AbsoluteValue,
    Activation,
    Binary,
    Bottleneck,
    Experiment,
    Features,
    GeLU,
    Linear,
    Parameters,
    ReLU,
    SoLU,
    measure,
)
from toymodels.hosts import Models
from toymodels.metrics.alignment import participation_ratio, response_alignment
from toymodels.metrics.monosemanticity import dead_neurons, main_feature, monosemanticity
from toymodels.metrics.rotation_null import DRAWS, rotation_nulls
from toymodels.responses import mean_active_values, response_sizes, responses
from toymodels.rotations import haar

ACTIVATIONS = [Linear(), ReLU(), GeLU(), SoLU()]
OF_RESPONSES = ("response_alignment", "participation_ratio", "weight_alignment")


def layer(activation: Activation, W: Tensor, b: Tensor | None) -> tuple[Bottleneck, Parameters]:
    return Bottleneck(W.shape[1], activation), Parameters(W_in=W, b_in=b)


def random_layer(n_models: int = 2, m: int = 5, n: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    W, b = torch.randn(n_models, m, n, generator=g), torch.randn(n_models, m, generator=g)
    return W, b, torch.linspace(0.5, 1, n_models)


@pytest.mark.parametrize("activation", [Linear(), ReLU(), GeLU(), SoLU()], ids=lambda a: a.name)
def test_a_response_is_mid_with_the_feature_minus_mid_without(activation):
    W, b, value = random_layer()
    delta = responses(*layer(activation, W, b), value)
    for k in range(2):
        for i in range(7):
            expected = activation(W[k, :, i] * value[k] + b[k]) - activation(b[k])
            assert torch.allclose(delta[k, :, i], expected, atol=1e-6)
    no_bias = responses(*layer(activation, W, None), value)
    assert torch.allclose(no_bias, responses(*layer(activation, W, torch.zeros_like(b)), value), atol=1e-7)


def test_features_are_switched_on_at_their_mean_active_value():
    es = [Experiment(Features(3, 0.1), Bottleneck(2)), Experiment(Features(3, 0.1, values=Binary()), Bottleneck(2))]
    assert mean_active_values(es, torch.zeros(1)).tolist() == [[0.5] * 3, [1.0] * 3]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
@pytest.mark.parametrize("bias", [False, True])
def test_the_size_of_an_unsigned_feature_is_that_of_its_one_side(activation, bias):
    W, b, value = random_layer()
    b = b if bias else None
    size = response_sizes(*layer(activation, W, b), value, signed=False)
    assert torch.equal(size, responses(*layer(activation, W, b), value).abs())


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_the_size_of_a_signed_feature_is_the_mean_of_its_sides(activation):
    W, b, value = random_layer()
    size = response_sizes(*layer(activation, W, b), value, signed=True)
    for k in range(2):
        rest = activation(b[k])
        sides = [(activation(sign * W[k, :, 3] * value[k] + b[k]) - rest).abs() for sign in (1, -1)]
        torch.testing.assert_close(size[k, :, 3], (sides[0] + sides[1]) / 2)


def test_a_linear_layer_answers_alike_on_both_sides():
    W, b, value = random_layer()
    both, one = (response_sizes(*layer(Linear(), W, None), value, signed=signed) for signed in (True, False))
    assert torch.equal(both, one)
    both, one = (response_sizes(*layer(Linear(), W, b), value, signed=signed) for signed in (True, False))
    torch.testing.assert_close(both, one)
    nulls = [rotation_nulls(*layer(Linear(), W, None), value, signed=signed) for signed in (True, False)]
    for name in OF_RESPONSES:
        assert torch.equal(nulls[0][name].values, nulls[1][name].values)


def experiment(signed: bool = True, n: int = 3, hidden: int = 6, activation: Any = None) -> Experiment:
    bottleneck = Bottleneck(hidden, activation or ReLU(), tied=False)
    features = Features(n, 0.8 if signed else 0.3, signed=signed)
    return Experiment(features, bottleneck, target=AbsoluteValue()) if signed else Experiment(features, bottleneck)


def test_no_neuron_of_a_perfect_absolute_value_is_dead_and_every_feature_has_two():
    """|x_i| = ReLU(x_i) + ReLU(-x_i): three neurons answer from the negative side only, and none can be missed."""
    eye = torch.eye(3)
    perfect = Parameters(W_in=torch.cat([eye, -eye])[None], W_out=torch.cat([eye, eye], 1)[None])
    found = measure([experiment()], perfect, samples=4096)
    assert found.models["loss_fraction"].item() < 1e-12
    assert found.models["dead_neurons"].item() == 0
    assert found.neurons["dead"].any().item() is False
    assert found.neurons["monosemanticity"].tolist() == [[1.0] * 6]
    assert found.neurons["main_feature"].tolist() == [[0, 1, 2, 0, 1, 2]]
    assert found.features["response_alignment"].tolist() == [[0.5] * 3]
    assert found.features["participation_ratio"].tolist() == [[2.0] * 3]


def test_a_neuron_that_no_side_moves_is_dead():
    W = torch.cat([torch.eye(2), -torch.eye(2), torch.zeros(1, 2)])[None]
    size = response_sizes(*layer(ReLU(), W, None), torch.ones(1), signed=True)
    assert dead_neurons(size).tolist() == [[False] * 4 + [True]]
    assert main_feature(size).tolist() == [[0, 1, 0, 1, -1]]
    assert monosemanticity(size)[0, 4].isnan()


def test_two_sides_of_unequal_size_by_hand():
    """Feature 0 moves neuron 0 by 3 upwards and neuron 1 by 1 downwards; feature 1 moves neuron 1 by 2 upwards."""
    W = torch.tensor([[[3.0, 0.0], [-1.0, 2.0]]])
    size = response_sizes(*layer(ReLU(), W, None), torch.ones(1), signed=True)
    assert size.tolist() == [[[1.5, 0.0], [0.5, 1.0]]]
    assert response_alignment(size).tolist() == [[0.75, 1.0]]
    assert participation_ratio(size)[0].tolist() == pytest.approx([2.5**2 / (1.5**4 + 0.5**4), 1])
    assert monosemanticity(size)[0].tolist() == pytest.approx([1, 2 / 3])
    assert main_feature(size).tolist() == [[0, 1]]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_which_sign_is_called_positive_changes_no_measure_of_signed_responses(activation):
    """|x| asks the same of x and of -x, so W_in and -W_in are one model: not a bit may differ, nor in the null."""
    es = [experiment(n=7, hidden=5, activation=activation)] * 2
    W, b, value = random_layer()
    W_out = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(1))
    found = [measure(es, Parameters(W_in=sign * W, W_out=W_out), samples=256) for sign in (1, -1)]
    for level in ("features", "neurons"):
        here, there = (getattr(each, level) for each in found)
        names = [f"{name}{suffix}" for name in OF_RESPONSES for suffix in ("", "_percentile")]
        for name in names if level == "features" else ("monosemanticity", "main_feature", "dead"):
            torch.testing.assert_close(here[name], there[name], rtol=0, atol=0, equal_nan=True)
    sizes = [response_sizes(*layer(activation, sign * W, b), value, signed=True) for sign in (1, -1)]
    assert torch.equal(*sizes)


def test_permuting_neurons_or_features_permutes_signed_sizes():
    W, b, value = (
        tensor.double() for tensor in random_layer()
    )  # SoLU sums over neurons, in another order when permuted
    g = torch.Generator().manual_seed(2)
    rows, columns = torch.randperm(5, generator=g), torch.randperm(7, generator=g)
    size = response_sizes(*layer(SoLU(), W, b), value, signed=True)
    permuted = response_sizes(*layer(SoLU(), W[:, rows][:, :, columns], b[:, rows]), value, signed=True)
    torch.testing.assert_close(permuted, size[:, rows][:, :, columns])
    torch.testing.assert_close(participation_ratio(permuted), participation_ratio(size)[:, columns])
    assert torch.equal(main_feature(permuted), torch.argsort(columns)[main_feature(size)[:, rows]])


def test_the_null_of_signed_features_sees_both_sides():
    W, b, value = random_layer(n_models=1)
    null = rotation_nulls(*layer(ReLU(), W, b), value, signed=True)["response_alignment"]
    assert null.values.shape == (1, 7, DRAWS)
    first = torch.cat([haar(torch.zeros(1, dtype=torch.int64).numpy(), 5, step=1 + draw) for draw in range(3)]).float()
    for Q in first:
        turned = layer(ReLU(), (Q @ W[0])[None], b @ Q.T)
        expected = response_alignment(response_sizes(*turned, value, signed=True))[0]
        found = [(null.values[0, i] - value_).abs().nan_to_num(1).min() < 1e-6 for i, value_ in enumerate(expected)]
        assert found == (~expected.isnan()).tolist()
        assert sum(found) > 3
    one_sided = rotation_nulls(*layer(ReLU(), W, b), value, signed=False)["response_alignment"]
    assert not torch.equal(null.values, one_sided.values)


def test_models_are_measured_on_the_sides_that_their_own_features_have():
    W, _, _ = random_layer(1, 6, 3)
    for signed in (False, True):
        expected = response_sizes(*layer(ReLU(), W, None), torch.tensor([0.5]), signed=signed)
        assert torch.equal(Models([experiment(signed)], Parameters(W_in=W)).response_sizes(), expected)
