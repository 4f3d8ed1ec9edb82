"""The L1 penalty on activations: its gradient by hand, what it leaves alone, and what cannot escape it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import toymodels as tm
from toymodels.bottleneck import hidden
from toymodels.initialisation import initialise
from toymodels.objectives import contributions
from toymodels.training.experiment import sampler

FEATURES = tm.Features(7, 0.3, values=tm.Binary())
RECIPE = tm.Training(steps=1, batch=32, learning_rate=0.1, optimizer=tm.SGD(momentum=0.0))


def decoder(activation: tm.Activation) -> tm.Bottleneck:
    """Its biases start off 0, where an empty input would have ReLU at its corner."""
    return tm.Bottleneck(
        5,
        activation,
        output=tm.Linear(),
        tied=False,
        hidden_bias=True,
        hidden_bias_start=0.1,
        embedding=tm.Embedding(3),
    )


def experiments(bottleneck: tm.Bottleneck, *penalties: float, **recipe: object) -> list[tm.Experiment]:
    training = dataclasses.replace(RECIPE, **recipe)
    return [
        tm.Experiment(FEATURES, bottleneck, dataclasses.replace(training, activation_l1=penalty), seed=seed)
        for seed, penalty in enumerate(penalties)
    ]


@pytest.mark.parametrize("activation", [tm.ReLU(), tm.GeLU(), tm.SoLU()])
def test_a_step_is_down_its_gradient_on_top_of_the_losss(activation: tm.Activation) -> None:
    """In float64: what it adds to a step of plain descent is the slope of the penalty, by finite differences."""
    bottleneck = decoder(activation)
    with_it, without = (
        tm.train(experiments(bottleneck, each, each), dtype=torch.float64).parameters.present() for each in (0.3, 0.0)
    )
    es = experiments(bottleneck, 0.3, 0.3)
    data = sampler(es)
    start, x = initialise([e.bottleneck for e in es], data).to("cpu", torch.float64), data.training(0, 32).double()

    def penalty(**changed: torch.Tensor) -> torch.Tensor:
        parameters = dataclasses.replace(start, **changed)
        mid = hidden(bottleneck, parameters, x).mid
        lengths = parameters.decoder.square().sum(1).sqrt()
        return (mid.abs() * lengths[:, :, None]).sum(1).mean(1)

    for name in ("W_in", "W_out", "b_in"):
        before, slope = start.present()[name], torch.zeros_like(start.present()[name])
        for place in range(before[0].numel()):
            step = torch.zeros_like(before)
            step.flatten(1)[:, place] = 1e-6
            slope.flatten(1)[:, place] = (penalty(**{name: before + step}) - penalty(**{name: before - step})) / 2e-6
        added = with_it[name] - without[name]
        torch.testing.assert_close(added, -0.1 * 0.3 * slope, rtol=1e-5, atol=1e-7)
    assert torch.equal(with_it["b_out"], without["b_out"])


def test_models_of_other_penalties_train_together_as_alone_and_none_is_none() -> None:
    es = experiments(decoder(tm.ReLU()), 0.0, 0.05, 0.5, steps=50, optimizer=tm.Adam(), learning_rate=0.01)
    together = tm.train(es, engine="autograd")
    alone = [tm.train([e], engine="autograd") for e in es]
    for place, each in enumerate(alone):
        torch.testing.assert_close(each.parameters.W_in[0], together.parameters.W_in[place], rtol=1e-4, atol=1e-5)
    plain = dataclasses.replace(es[0], training=dataclasses.replace(es[0].training, activation_l1=0.0))
    assert torch.equal(tm.train([plain], engine="autograd").parameters.W_in, alone[0].parameters.W_in)


def test_the_loss_that_is_kept_is_without_it() -> None:
    bottleneck = decoder(tm.ReLU())
    kept = [tm.train(experiments(bottleneck, penalty)).curve[0, 0].item() for penalty in (0.0, 1.0)]
    assert kept[0] == kept[1]


def test_rescaling_a_homogeneous_neuron_does_not_escape_it_and_order_does_not_matter() -> None:
    bottleneck = decoder(tm.ReLU())
    es = experiments(bottleneck, 0.1, 0.1)
    data = sampler(es)
    p, x = initialise([e.bottleneck for e in es], data), data.training(0, 32)
    assert p.b_in is not None
    before = contributions(p, hidden(bottleneck, p, x).mid)
    size = torch.tensor([0.1, 1.0, 2.0, 5.0, 10.0])[None, :, None]
    p = dataclasses.replace(p, W_in=p.W_in / size, b_in=p.b_in / size[:, :, 0], W_out=p.decoder * size.transpose(1, 2))
    torch.testing.assert_close(contributions(p, hidden(bottleneck, p, x).mid), before)
    order = [3, 1, 4, 0, 2]
    b_in = p.present()["b_in"][:, order]
    p = dataclasses.replace(p, W_in=p.W_in[:, order], b_in=b_in, W_out=p.decoder[:, :, order])
    torch.testing.assert_close(contributions(p, hidden(bottleneck, p, x).mid), before)


def test_more_of_it_leaves_less_activity_and_a_dead_column_costs_nothing() -> None:
    bottleneck = decoder(tm.ReLU())
    es = experiments(bottleneck, 0.0, 0.05, 5.0, steps=300, optimizer=tm.Adam(), learning_rate=0.02)
    es = [dataclasses.replace(e, seed=0) for e in es]
    trained, x = tm.train(es).parameters, sampler(es).evaluation(0, 512)
    left = contributions(trained, hidden(bottleneck, trained, x).mid).tolist()
    assert left[0] > left[1] > left[2]
    assert left[2] < 0.05 * left[0]
    assert all(tensor.isfinite().all() for tensor in trained.present().values())


@pytest.mark.parametrize("activation", [tm.ReLU(), tm.GeLU(), tm.SoLU()])
@pytest.mark.parametrize("hidden", [5, 20])
@pytest.mark.parametrize("batch", [32, 300])
def test_the_engines_agree(activation: tm.Activation, hidden: int, batch: int) -> None:
    bottleneck = dataclasses.replace(decoder(activation), hidden=hidden)
    es = experiments(bottleneck, 0.0, 0.02, 0.3, steps=40, batch=batch, optimizer=tm.Adam(), learning_rate=0.01)
    fused, exact = tm.train(es, engine="fused"), tm.train(es, engine="autograd", dtype=torch.float64)
    for name, tensor in exact.parameters.trained(bottleneck).items():
        found = fused.parameters.trained(bottleneck)[name].double()
        torch.testing.assert_close(found, tensor, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fused.curve.double(), exact.curve, rtol=1e-4, atol=1e-5)
    alone = tm.train(es[1:2], engine="fused").parameters.W_in
    assert torch.equal(alone[0], fused.parameters.W_in[1])


@pytest.mark.parametrize("hidden", [3, 20])
def test_the_engines_agree_where_weights_are_tied(hidden: int) -> None:
    es = experiments(tm.Bottleneck(hidden), 0.02, 0.1, steps=40, optimizer=tm.Adam(), learning_rate=0.01)
    fused, exact = tm.train(es, engine="fused"), tm.train(es, engine="autograd", dtype=torch.float64)
    torch.testing.assert_close(fused.parameters.W_in.double(), exact.parameters.W_in, rtol=1e-3, atol=1e-4)


def test_with_layer_norm_it_is_refused() -> None:
    normed = dataclasses.replace(decoder(tm.SoLU()), layer_norm=tm.LayerNorm())
    with pytest.raises(ValueError, match="activation_l1: a LayerNorm"):
        experiments(normed, 0.1)
