"""Loss on fresh data: its standard error, and what the best of many looks like."""

from __future__ import annotations

import pytest
import torch

import toymodels as tm
from toymodels.hosts import Models
from toymodels.metrics.loss import loss, loss_error
from toymodels.metrics.moments import collect
from toymodels.training.experiment import sampler

IMPORTANCE = tm.Importance(tm.Geometric(0.8))
ARMS = [
    (tm.Features(9, 0.3, importance=IMPORTANCE), tm.Bottleneck(3, tm.SoLU(), tm.LayerNorm())),
    (tm.Features(40, 0.1, importance=IMPORTANCE), tm.Bottleneck(20, tm.ReLU(), tied=False)),
    (tm.Features(9, 0.3, importance=IMPORTANCE), tm.Bottleneck(3, tm.ReLU(), output=tm.GeLU(), tied=False)),
]


@pytest.mark.parametrize("features, bottleneck", ARMS)
@pytest.mark.parametrize("samples", [50, 3000])
def test_the_standard_error_is_that_of_the_samples_losses(
    features: tm.Features, bottleneck: tm.Bottleneck, samples: int
) -> None:
    es = [tm.Experiment(features, bottleneck, tm.Training(steps=50, batch=64), seed=seed) for seed in range(3)]
    parameters = tm.train(es).parameters
    x = sampler(es).evaluation(0, samples).double()
    out = tm.forward(bottleneck, parameters.to("cpu", torch.float64), x).out
    importance = torch.stack([torch.from_numpy(e.importance()) for e in es])[:, :, None]
    losses = (importance * (x - out).square()).sum(1)
    models = Models(es, parameters)
    moments = collect(models, samples)
    torch.testing.assert_close(loss(models, moments), losses.mean(1), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(loss_error(models, moments), losses.std(1) / samples**0.5, rtol=1e-4, atol=1e-9)


def test_one_sample_has_no_standard_error() -> None:
    parameters = tm.Parameters(W_in=torch.ones(1, 2, 5), b_out=torch.zeros(1, 5))
    models = Models([tm.Experiment(tm.Features(5, 0.3), tm.Bottleneck(2))], parameters)
    assert loss_error(models, collect(models, 1)).isnan().all()


def test_the_best_of_many_looks_better_than_it_is_and_the_exact_loss_says_so() -> None:
    # Exactly one of 8 features active, 2 neurons, 64 seeds: all models are alike, so the smallest loss is the luckiest.
    features = tm.Features(8, 1 / 8, firing=tm.One())
    recipe = tm.Training(steps=1500, batch=128, learning_rate=1e-2, schedule=tm.Cosine())
    es = [tm.Experiment(features, tm.Bottleneck(2), recipe, seed=seed) for seed in range(64)]
    models = tm.measure(es, tm.train(es).parameters, samples=20_000).models
    looks, exact, error = models["loss"], models["loss_exact"], models["loss_error"]
    z = (looks - exact) / error
    assert z.square().mean().item() == pytest.approx(1, abs=0.6)  # 3.4 standard errors of a chi square of 64
    assert abs(z.mean().item()) < 0.5
    luckiest = (looks - exact).argmin()
    assert looks[luckiest] < exact[luckiest] - 1.5 * error[luckiest]
    best = exact.argmin()
    assert exact[best] <= exact[looks.argmin()]
    assert (models["loss_exact_error"] < 0.1 * error).all()
