"""Objectives: the weighted loss, the best constant, what has no meaning."""

from __future__ import annotations

import pytest
import torch

from toymodels import (
    AbsoluteValue,
    Binary,
    Bottleneck,
    Experiment,
    Features,
    GeLU,
    Geometric,
    Importance,
    Linear,
    Loss,
    Parameters,
    Power,
    Sampler,
    Squared,
    Training,
    forward,
    measure,
    train,
)
from toymodels.objectives import losses


def test_loss_is_the_weighted_sum_of_squared_errors():
    torch.manual_seed(0)
    t, y = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    importance = torch.tensor([[1.0, 0.5, 0.0], [2.0, 1.0, 1.0]])
    by_hand = [
        sum(importance[k, i] * (t[k, i] - y[k, i]).square().sum() for i in range(3)).item() / 5  # type: ignore[union-attr]
        for k in range(2)
    ]
    assert losses(importance, t, y, Squared()).tolist() == pytest.approx(by_hand)


@pytest.mark.parametrize("p", [1.0, 0.3, 0.01])
def test_best_constant_loss_is_that_of_a_dropped_feature(p):
    e = Experiment(Features(20, p, importance=Importance(Geometric(0.7))), Bottleneck(5))
    expected = (p / 3 - p**2 / 4) * sum(0.7**i for i in range(20))
    assert e.best_constant_loss() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: Experiment(Features(3, 1.0, values=Binary()), Bottleneck(2)), "variance"),
        (lambda: Experiment(Features(3, 0.1), Bottleneck(2), target=AbsoluteValue()), "signed"),
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
    assert e.notes() == ()


@pytest.mark.parametrize("loss", [Squared(), Power(4.0)], ids=lambda loss: loss.name)
def test_half_of_signed_values_is_lost_on_a_relu_output_and_no_more_need_be(loss):
    features = Features(2, 0.3, importance=Importance(Geometric(0.5)), signed=True)
    e = Experiment(features, Bottleneck(2), Training(steps=300, batch=64, learning_rate=1e-2), loss=loss)
    (note,) = e.notes()
    assert "the loss fraction is 1/2 or more" in note
    as_it_is = Parameters(torch.eye(2)[None], b_out=torch.zeros(1, 2))  # y = max(x, 0)
    floor = e.best_constant_loss() / 2
    assert measure([e], as_it_is).models["loss_exact"].item() == pytest.approx(
        floor, rel=1e-2 if loss != Squared() else 1e-6
    )
    trained = measure([e], train([e]).parameters).models["loss_exact"].item()
    assert floor * 0.99 < trained < 2 * floor


def test_only_signed_identity_through_a_relu_is_worth_a_note():
    signed = Features(2, 0.3, signed=True)
    assert not Experiment(signed, Bottleneck(2, output=GeLU())).notes()
    assert not Experiment(signed, Bottleneck(2), target=AbsoluteValue()).notes()
    assert not Experiment(Features(2, 0.3), Bottleneck(2)).notes()


class Pinball(Loss):
    """Twice as much for what is said too low: least at the 2/3 quantile."""

    name = "pinball"

    def __call__(self, target, output):
        error = target - output
        return torch.maximum(2 * error, -error)

    def __eq__(self, other):
        return isinstance(other, Pinball)

    def __hash__(self):
        return 1


@pytest.mark.parametrize("loss", [Power(4.0), Pinball()])
def test_an_own_loss_is_what_is_trained_and_measured(loss):
    features, recipe = Features(6, 0.4), Training(steps=300, batch=256, learning_rate=0.01)
    bottleneck = Bottleneck(3, Linear(), tied=False, output=Linear())
    es = [Experiment(features, bottleneck, recipe, seed=seed, loss=loss) for seed in range(3)]
    others = [Experiment(features, bottleneck, recipe, seed=seed) for seed in range(3)]
    own, squared = (measure(es, train(each, engine="autograd").parameters, samples=20_000) for each in (es, others))
    assert (own.models["loss"] < squared.models["loss"]).all()  # judged by its own loss, training by it is better
    assert (own.models["loss_fraction"] < 1).all()
    x = Sampler([features], [0]).evaluation(0, 20_000)
    parameters = train(es[:1], engine="autograd").parameters
    by_hand = loss(x, forward(bottleneck, parameters, x).out).mean(2).sum()
    assert measure(es[:1], parameters, samples=20_000).models["loss"].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_a_constant_predictor_has_loss_fraction_one_under_every_loss():
    features = Features(3, 0.4)
    for loss in (Squared(), Power(4.0), Pinball()):
        e = Experiment(features, Bottleneck(2, output=Linear()), loss=loss)
        constant = loss.best_constant(Sampler([features], [0]).evaluation(0, 50_000).double())
        nothing = Parameters(W_in=torch.zeros(1, 2, 3), b_out=constant.float())
        assert measure([e], nothing, samples=50_000).models["loss_fraction"].item() == pytest.approx(1, rel=0.01)


def test_the_fused_engine_refuses_another_loss_by_name_and_batches_keep_losses_apart():
    e = Experiment(Features(3, 0.4), Bottleneck(2), Training(steps=5, batch=8), loss=Power(4.0))
    with pytest.raises(ValueError, match="no kernel for loss 'power'"):
        train([e], engine="fused")
    assert e.structure() != Experiment(Features(3, 0.4), Bottleneck(2), Training(steps=5, batch=8)).structure()
    with pytest.raises(ValueError, match="exponent: expected a number >= 1"):
        Power(0.5)
