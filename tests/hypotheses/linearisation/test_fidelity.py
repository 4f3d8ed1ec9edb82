"""Fidelity: closed forms of one neuron, and distances against loops."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.hypotheses.linearisation.conftest import data_of, experiments_of, parameters_of
from toymodels import Bottleneck, GeLU, LayerNorm, Linear, Parameters, ReLU, SoLU
from toymodels.hypotheses.linearisation.fidelity import by_distance, moved, pair_errors, readout_variance
from toymodels.hypotheses.linearisation.freezing import Frozen

W, B, V = 2.0, -0.5, 3.0


def one_neuron(activation: ReLU | GeLU) -> tuple[Bottleneck, Parameters]:
    """y = 3 act(2 x - 1/2)."""
    layer = Bottleneck(1, activation, None, Linear(), output_bias=False, tied=False, hidden_bias=True)
    number = [torch.tensor([[[value]]], dtype=torch.float64) for value in (W, V)]
    return layer, Parameters(number[0], number[1], b_in=torch.tensor([[B]], dtype=torch.float64))


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, None, :]


def test_a_relu_frozen_open_goes_below_zero_and_one_frozen_shut_stays() -> None:
    layer, p = one_neuron(ReLU())
    pairs = pair_errors(layer, p, row(1, 0, 1), row(0, 1, 1), Frozen.MASK)
    assert pairs.error[0, :2].tolist() == [(V * B) ** 2, (V * (W + B)) ** 2]
    assert pairs.change[0, :2].tolist() == [(V * (W + B)) ** 2] * 2
    assert pairs.error[0, 2].isnan()
    both = (B**2 + (W + B) ** 2) / (2 * (W + B) ** 2)
    assert pairs.explained().item() == pytest.approx(1 - both)
    variance = readout_variance(layer, p, row(0, 1))
    assert variance.item() == pytest.approx((V * (W + B)) ** 2 / 4)
    assert pairs.lost(variance).item() == pytest.approx(4 * both)
    assert pairs.nearer().item() == 0.5


def test_gelu_is_off_by_its_mask_of_the_other_example() -> None:
    layer, p = one_neuron(GeLU())

    def phi(z: float) -> float:
        return 0.5 * math.erfc(-z / math.sqrt(2))

    pairs = pair_errors(layer, p, row(1, 0), row(0, 1), Frozen.MASK)
    expected = [(V * z * (phi(z) - phi(z0))) ** 2 for z0, z in ((W + B, B), (B, W + B))]
    assert pairs.error[0].tolist() == pytest.approx(expected)


def test_other_values_of_one_uniform_feature_have_a_closed_form() -> None:
    """relu(u - t) frozen at u0: it errs where one of u, u0 is above t and the other below."""
    t, layer = 0.3, one_neuron(ReLU())[0]
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    p = Parameters(one, one, b_in=torch.tensor([[-t]], dtype=torch.float64))
    nodes = (np.arange(1000) + 0.5) / 1000
    u0, u = (row(*each.ravel()) for each in np.meshgrid(nodes, nodes))
    pairs = pair_errors(layer, p, u0, u, Frozen.MASK)
    lost = t * (1 - t) * (t**2 + (1 - t) ** 2) / 3
    variance = (1 - t) ** 3 / 3 - (1 - t) ** 4 / 4
    assert pairs.error.nanmean().item() == pytest.approx(lost, rel=5e-3)
    assert pairs.explained().item() == pytest.approx(1 - lost / (2 * variance), rel=5e-3)


def test_a_read_out_that_stays_is_twice_the_variance_away_from_independent_examples() -> None:
    experiments = experiments_of(SoLU(), LayerNorm(), binary=False)
    b, p = experiments[0].bottleneck, parameters_of(experiments)
    at, x = data_of(experiments, 20_000), data_of(experiments, 20_000, 20_000)
    pairs = pair_errors(b, p, at, x, Frozen.SCALE)
    same = pairs.change.isnan().double().mean(1)
    assert (pairs.change.nanmean(1) * (1 - same) / readout_variance(b, p, x)).tolist() == pytest.approx(
        [2, 2], rel=0.02
    )


def test_a_linear_layer_loses_nothing_to_its_mask() -> None:
    experiments = experiments_of(Linear())
    b, p = experiments[0].bottleneck, parameters_of(experiments)
    pairs = pair_errors(b, p, data_of(experiments, 64), data_of(experiments, 64, 64), Frozen.MASK)
    assert pairs.error.nan_to_num().max() < 1e-20
    assert pairs.explained().tolist() == pytest.approx([1, 1])


def test_distances_are_binned_as_a_loop_does() -> None:
    generator = torch.Generator().manual_seed(3)
    values, distance = torch.rand(2, 400, generator=generator), 5 * torch.rand(2, 400, generator=generator)
    values[0, :50] = torch.nan
    distance[:, ::2] = distance[:, ::2].round()  # as numbers of features: on the edges
    edges = torch.tensor([0.0, 1.0, 2.5, 2.55, 4.0])
    found = by_distance(values, distance, edges)
    for k in range(2):
        for place, (low, high) in enumerate(pairwise(edges.tolist())):
            inside = values[k][(distance[k] >= low) & (distance[k] < high)]
            inside = inside[~inside.isnan()]
            expected = inside.mean().item() if len(inside) >= 20 else math.nan
            assert found[k, place].item() == pytest.approx(expected, nan_ok=True)
    assert found[:, 2].isnan().all()


def test_how_far_z_moved_is_in_units_of_its_spread() -> None:
    layer, p = one_neuron(ReLU())
    at, x = row(0, 1, 0, 1), row(1, 1, 0, 0)
    assert moved(layer, p, at, x)[0].tolist() == pytest.approx([2, 0, 0, 2])
