"""Weight growth: the lengths of W_in's columns go to 1, on both engines, and nothing else is touched."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import toymodels as tm
from toymodels.initialisation import initialise
from toymodels.metrics.geometry import norms, unit_columns
from toymodels.training.experiment import sampler
from toymodels.training.optimizers import length_beyond_one

FEATURES = tm.Features(9, 0.3)
UNLEARNED = tm.Features(9, 0.3, importance=tm.Importance(tm.Listed((0.0,) * 9)))
RECIPE = tm.Training(steps=40, batch=32, learning_rate=0.02)


def experiments(features: tm.Features = FEATURES, hidden: int = 4, tied: bool = True, **recipe: object):
    return [
        tm.Experiment(
            features,
            tm.Bottleneck(hidden, tied=tied, init_scale=scale),
            dataclasses.replace(RECIPE, **recipe),
            seed=seed,
        )
        for seed, scale in enumerate((0.3, 1.0, 2.0))
    ]


def test_the_share_beyond_one_is_what_is_left_over_of_a_column() -> None:
    W = torch.tensor([[[3.0, 0.0, 0.6], [4.0, 0.0, 0.0]]])
    share = length_beyond_one(W)
    assert share.shape == (1, 1, 3)
    torch.testing.assert_close(share[0, 0], torch.tensor([1 - 1 / 5, 0.0, 1 - 1 / 0.6]))
    torch.testing.assert_close(norms(W - share * W), torch.tensor([[1.0, 0.0, 1.0]]))


@pytest.mark.parametrize("engine", ["autograd", "fused"])
@pytest.mark.parametrize("hidden", [4, 20])
@pytest.mark.parametrize("tied", [True, False])
def test_without_a_gradient_lengths_go_to_one_geometrically_and_directions_stay(engine, hidden, tied) -> None:
    es = experiments(UNLEARNED, hidden, tied, weight_growth=0.5)
    start, trained = initialise([e.bottleneck for e in es], sampler(es)), tm.train(es, engine=engine).parameters
    beyond = (norms(start.W_in) - 1) * (1 - 0.02 * 0.5) ** 40
    torch.testing.assert_close(norms(trained.W_in), 1 + beyond, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(unit_columns(trained.W_in), unit_columns(start.W_in), rtol=1e-4, atol=1e-5)
    if not tied:
        assert torch.equal(trained.decoder, start.decoder)


@pytest.mark.parametrize("optimizer", [tm.Adam(), tm.SGD(), tm.RotatedAdam()])
@pytest.mark.parametrize("hidden", [4, 20])
def test_the_engines_agree(optimizer: object, hidden: int) -> None:
    es = experiments(hidden=hidden, optimizer=optimizer, weight_growth=1.0, weight_decay=0.05)
    fused, exact = tm.train(es, engine="fused"), tm.train(es, dtype=torch.float64)
    for name, tensor in exact.parameters.trained(es[0].bottleneck).items():
        found = fused.parameters.trained(es[0].bottleneck)[name].double()
        torch.testing.assert_close(found, tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("engine", ["autograd", "fused"])
def test_models_of_other_growths_train_together_as_alone(engine: str) -> None:
    es = [
        dataclasses.replace(e, training=dataclasses.replace(e.training, weight_growth=growth))
        for e, growth in zip(experiments(), (0.0, 0.1, 1.0), strict=True)
    ]
    together = tm.train(es, engine=engine).parameters.W_in
    alone = torch.cat([tm.train([e], engine=engine).parameters.W_in for e in es])
    torch.testing.assert_close(
        together, alone, rtol=0 if engine == "fused" else 1e-4, atol=0 if engine == "fused" else 1e-5
    )
    none = tm.train([experiments()[0]], engine=engine).parameters.W_in
    assert torch.equal(alone[:1], none)


def test_with_an_embedding_it_is_refused() -> None:
    decoder = tm.Bottleneck(4, tm.ReLU(), output=tm.Linear(), tied=False, embedding=tm.Embedding(3))
    with pytest.raises(ValueError, match="weight_growth"):
        tm.Experiment(FEATURES, decoder, tm.Training(weight_growth=0.1))
    with pytest.raises(ValueError, match="weight_growth: expected a number >= 0"):
        tm.Training(weight_growth=-0.1)
