"""The hidden bias: where it starts, and how it decays, on both engines."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import toymodels as tm
from toymodels.initialisation import initialise
from toymodels.training.experiment import sampler

FEATURES = tm.Features(9, 0.3)
BOTTLENECK = tm.Bottleneck(5, tm.ReLU(), tied=False, hidden_bias=True)
RECIPE = tm.Training(steps=40, batch=32, learning_rate=0.01)


def experiments(hidden: int = 5, **recipe: object) -> list[tm.Experiment]:
    """Models of one structure whose biases start at -1, 0 and 2."""
    return [
        tm.Experiment(
            FEATURES,
            dataclasses.replace(BOTTLENECK, hidden=hidden, hidden_bias_start=start),
            dataclasses.replace(RECIPE, **recipe),
            seed=seed,
        )
        for seed, start in enumerate((-1.0, 0.0, 2.0))
    ]


def test_every_entry_starts_there_each_model_by_itself() -> None:
    es = experiments()
    b_in = initialise([e.bottleneck for e in es], sampler(es)).b_in
    assert b_in is not None
    assert b_in.tolist() == [[-1.0] * 5, [0.0] * 5, [2.0] * 5]


@pytest.mark.parametrize("engine", ["autograd", "fused"])
@pytest.mark.parametrize("hidden", [5, 20])
def test_without_a_gradient_it_decays_geometrically(engine: str, hidden: int) -> None:
    # Importance 0: no gradient, so b_in after t steps is start (1 - rate decay)^t, and nothing else moves.
    features = tm.Features(9, 0.3, importance=tm.Importance(tm.Listed((0.0,) * 9)))
    es = [dataclasses.replace(e, features=features) for e in experiments(hidden, hidden_bias_decay=0.5)]
    start, trained = initialise([e.bottleneck for e in es], sampler(es)), tm.train(es, engine=engine).parameters
    shrunk = (1 - 0.01 * 0.5) ** 40
    assert trained.b_in is not None
    assert torch.allclose(trained.b_in[:, 0], torch.tensor([-shrunk, 0.0, 2 * shrunk]), rtol=1e-5)
    assert torch.equal(trained.W_in, start.W_in)


@pytest.mark.parametrize("optimizer", [tm.Adam(), tm.SGD(), tm.RotatedAdam()])
@pytest.mark.parametrize("hidden", [5, 20])
def test_the_engines_agree(optimizer: object, hidden: int) -> None:
    es = experiments(hidden, optimizer=optimizer, hidden_bias_decay=0.3, weight_decay=0.05)
    fused, exact = tm.train(es, engine="fused"), tm.train(es, dtype=torch.float64)
    for name, tensor in exact.parameters.trained(es[0].bottleneck).items():
        torch.testing.assert_close(
            fused.parameters.trained(es[0].bottleneck)[name].double(), tensor, rtol=1e-3, atol=1e-4
        )


def test_it_is_decay_of_the_bias_alone_on_top_of_the_others() -> None:
    # A model without data to fit but the bias: with weight decay w and bias decay b its bias decays by w + b.
    features = tm.Features(9, 0.3, importance=tm.Importance(tm.Listed((0.0,) * 9)))
    es = [dataclasses.replace(e, features=features) for e in experiments(weight_decay=0.2, hidden_bias_decay=0.3)]
    for engine in ("autograd", "fused"):
        trained = tm.train(es, engine=engine).parameters
        start = initialise([e.bottleneck for e in es], sampler(es))
        assert trained.b_in is not None
        assert torch.allclose(trained.b_in[2], torch.full((5,), 2 * (1 - 0.01 * 0.5) ** 40), rtol=1e-5)
        assert torch.allclose(trained.W_in, start.W_in * (1 - 0.01 * 0.2) ** 40, rtol=1e-4)


def test_models_of_other_starts_and_decays_train_together_as_alone() -> None:
    es = [
        dataclasses.replace(e, training=dataclasses.replace(e.training, hidden_bias_decay=decay))
        for e, decay in zip(experiments(), (0.0, 0.1, 0.5), strict=True)
    ]
    together = tm.train(es, engine="fused").parameters.b_in
    alone = [tm.train([e], engine="fused").parameters.b_in for e in es]
    assert together is not None
    assert np.array_equal(together, torch.cat([b for b in alone if b is not None]))


def test_without_a_hidden_bias_both_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden_bias_start"):
        tm.Bottleneck(5, hidden_bias_start=-1.0)
    with pytest.raises(ValueError, match="hidden_bias_decay"):
        tm.Experiment(FEATURES, tm.Bottleneck(5), tm.Training(hidden_bias_decay=0.1))
