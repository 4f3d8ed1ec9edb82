"""Coverage: counts against loops, greedy choice against brute force, and layers whose number of maps is known."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.hypotheses.linearisation.conftest import data_of, experiments_of, parameters_of
from toymodels import Activation, Bottleneck, GeLU, LayerNorm, Linear, Parameters, ReLU, SoLU, forward
from toymodels.hypotheses.linearisation.coverage import fewest, greedy, kept, kept_affine, map_errors, met, most_common

CODES = np.array([7, 3, 3, 9, 7, 3, 5, 5])


def test_the_most_common_codes_meet_most_examples() -> None:
    assert met(CODES).tolist() == [3 / 8, 5 / 8, 7 / 8, 1]
    assert fewest(met(CODES)) == 4
    assert fewest(met(CODES), 0.5) == 2
    assert math.isnan(fewest(np.array([0.1, 0.5])))
    assert most_common(CODES, 3).tolist() == [1, 0, 6]
    assert most_common(CODES, 9).tolist() == [1, 0, 6, 3]


def test_greedy_takes_the_best_next_and_counts_each_example_once() -> None:
    errors = torch.rand(20, 15, generator=torch.Generator().manual_seed(0)).double()
    order = greedy(errors)
    assert sorted(order) == list(range(20))
    for k in range(20):
        left = [errors[[*order[:k], each]].amin(0).sum() for each in range(20) if each not in order[:k]]
        assert errors[order[: k + 1]].amin(0).sum() == min(left)
    best = min(errors[list(pair)].amin(0).sum() for pair in combinations(range(20), 2))
    assert errors[order[:2]].amin(0).sum() <= 1.3 * best


def disjoint(features: int) -> tuple[Bottleneck, Parameters, Tensor]:
    """A feature a neuron, y = x on x of 0 and 1; one active at a time, or none."""
    layer = Bottleneck(features, ReLU(), None, Linear(), output_bias=False, tied=False, hidden_bias=True)
    eye = torch.eye(features, dtype=torch.float64)[None]
    bias = torch.full((1, features), -0.5, dtype=torch.float64)
    return layer, Parameters(eye, 2 * eye, b_in=bias), torch.cat([torch.zeros_like(eye[:, :, :1]), eye], 2)


def test_features_one_at_a_time_need_a_map_each() -> None:
    """A neuron that is open has y = 2 x - 1, which of an absent feature says -1: no map does for another example."""
    layer, p, x = disjoint(5)
    errors = map_errors(layer, p, x, x)[0]
    assert errors.diagonal().abs().max() == 0
    assert (errors + torch.eye(6)).min() >= 1
    assert errors[0, 1:].tolist() == [1] * 5  # all shut: y = 0
    assert errors[1:, 0].tolist() == [1] * 5  # the other's neuron open: y = -1 for it
    assert errors[1, 2].item() == 2  # both wrong
    y = forward(layer, p, x).readout[0]
    assert torch.equal(y, x[0])
    shares = kept(errors, y, greedy(errors))
    assert fewest(shares, 1.0) == 6
    total = 5 * (1 / 6 - 1 / 36) * 6
    assert shares == pytest.approx([1 - left / total for left in (5, 4, 3, 2, 1, 0)])


@pytest.mark.parametrize("norm", [None, LayerNorm()])
@pytest.mark.parametrize("activation", [ReLU(), GeLU(), SoLU()])
def test_an_examples_own_map_is_exact_and_more_maps_never_keep_less(
    activation: Activation, norm: LayerNorm | None
) -> None:
    experiments = experiments_of(activation, norm, binary=False)
    b, p, x = experiments[0].bottleneck, parameters_of(experiments), data_of(experiments, 40)
    errors, y = map_errors(b, p, x, x), forward(b, p, x).readout
    assert errors.diagonal(dim1=1, dim2=2).max() < 1e-18
    shares = kept(errors[0], y[0], greedy(errors[0]))
    assert (np.diff(shares) >= -1e-12).all()
    assert shares[-1] == pytest.approx(1)


def test_a_linear_layer_needs_one_map() -> None:
    experiments = experiments_of(Linear())
    b, p, x = experiments[0].bottleneck, parameters_of(experiments), data_of(experiments, 40)
    shares = kept(map_errors(b, p, x[:, :, :3], x)[0], forward(b, p, x).readout[0], [0, 1, 2])
    assert shares == pytest.approx([1, 1, 1])


def test_the_best_affine_map_is_least_squares_judged_on_other_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 200, generator=generator).double()
    x[2] = 0  # a feature that is never active
    y = torch.stack([x[0] + 1, x[0] * x[1], x[1] - 2 * x[0]])
    assert kept_affine(x, y[[0, 2]], 100) == pytest.approx(1)
    design = np.c_[x[:2, :100].T, np.ones(100)]
    weights = np.linalg.lstsq(design, y[1, :100].numpy(), rcond=None)[0]
    error = np.c_[x[:2, 100:].T, np.ones(100)] @ weights - y[1, 100:].numpy()
    assert kept_affine(x, y[1:2], 100) == pytest.approx(1 - (error**2).mean() / y[1, 100:].numpy().var())
