"""Objectives: the weighted loss, the best constant, what has no meaning."""

from __future__ import annotations

import pytest
import torch

from toymodels import AbsoluteValue, Binary, Bottleneck, Experiment, Features, Geometric, Identity, Importance, Linear
from toymodels.objectives import losses


def test_loss_is_the_weighted_sum_of_squared_errors():
    torch.manual_seed(0)
    t, y = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    importance = torch.tensor([[1.0, 0.5, 0.0], [2.0, 1.0, 1.0]])
    by_hand = [
        sum(importance[k, i] * (t[k, i] - y[k, i]).square().sum() for i in range(3)).item() / 5  # type: ignore[union-attr]
        for k in range(2)
    ]
    assert losses(importance, t, y).tolist() == pytest.approx(by_hand)


@pytest.mark.parametrize("p", [1.0, 0.3, 0.01])
def test_best_constant_loss_is_that_of_a_dropped_feature(p):
    e = Experiment(Features(20, p, importance=Importance(Geometric(0.7))), Bottleneck(5))
    expected = (p / 3 - p**2 / 4) * sum(0.7**i for i in range(20))
    assert e.best_constant_loss() == pytest.approx(expected, rel=1e-12)


def test_targets():
    x = torch.tensor([-0.5, 0.0, 2.0])
    assert torch.equal(Identity()(x), x)
    assert torch.equal(AbsoluteValue()(x), x.abs())


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: Experiment(Features(3, 1.0, values=Binary()), Bottleneck(2)), "variance"),
        (lambda: Experiment(Features(3, 0.1), Bottleneck(2), target=AbsoluteValue()), "signed"),
        (lambda: Experiment(Features(3, 0.1, signed=True), Bottleneck(2)), "ReLU output"),
        (lambda: Experiment(Features(3, 0.1), Bottleneck(2), seed=-1), "seed"),
        (
            lambda: Experiment(
                Features(3, 1.0, values=Binary(), signed=True), Bottleneck(2, output=Linear()), target=AbsoluteValue()
            ),
            "variance",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(make, word):
    with pytest.raises(ValueError, match=word):
        make()


def test_signed_identity_through_a_linear_output_has_meaning():
    e = Experiment(Features(3, 1.0, values=Binary(), signed=True), Bottleneck(2, output=Linear()))
    assert e.best_constant_loss() == pytest.approx(3.0)
