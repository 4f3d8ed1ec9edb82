"""The population loss against closed forms, sums written out, and float64 Monte Carlo."""

from __future__ import annotations

from itertools import product

import pytest
import torch

import toymodels as tm
from toymodels.metrics import population
from toymodels.metrics.population import Population, population_loss
from toymodels.training.experiment import sampler, target_of

RECIPE = tm.Training(steps=200, batch=128, learning_rate=0.01)


def trained(
    features: tm.Features, bottleneck: tm.Bottleneck, models: int = 3
) -> tuple[list[tm.Experiment], tm.Parameters]:
    es = [tm.Experiment(features, bottleneck, RECIPE, seed=seed) for seed in range(models)]
    return es, tm.train(es).parameters


def sampled(
    es: list[tm.Experiment],
    parameters: tm.Parameters,
    samples: int = 400_000,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean loss on so many samples and its standard error, in float64: [model] each."""
    parameters, sums = parameters.to("cpu", torch.float64), torch.zeros(2, len(es), dtype=torch.float64)
    importance = torch.stack([torch.from_numpy(e.importance()) for e in es])[:, :, None]
    for first in range(0, samples, 100_000):
        x = sampler(es).evaluation(first, 100_000).double()
        out = tm.forward(es[0].bottleneck, parameters, x).out
        loss = (importance * es[0].cost(target_of(es)(x), out)).sum(1)
        sums += torch.stack([loss.sum(1), loss.square().sum(1)])
    mean, square = sums / samples
    return mean, ((square - mean.square()) / samples).sqrt()


def one(of: Population) -> tuple[float, float]:
    return of.loss.item(), of.error.item()


@pytest.mark.parametrize("p, d", [(0.1, 1.013514), (0.3, 1.048387), (0.5, 1.1), (0.5, 0.7)])
def test_an_antipodal_pair_is_its_closed_form(p: float, d: float) -> None:
    # n = 2, m = 1, no bias, W = (sqrt d, -sqrt d): L = 2 [p (1 - p) (1 - d)^2 / 3 + p^2 (1/3 - d/4 + d^2/12)], d >= 1.
    e = tm.Experiment(tm.Features(2, p), tm.Bottleneck(1, output_bias=False))
    found = population_loss([e], tm.Parameters(W_in=torch.tensor([[[d**0.5, -(d**0.5)]]], dtype=torch.float64)))
    closed = 2 * (p * (1 - p) * (1 - d) ** 2 / 3 + p**2 * (1 / 3 - d / 4 + d**2 / 12))
    loss, error = one(found)
    assert loss == pytest.approx(closed, abs=1e-6)
    assert abs(loss - closed) <= error <= 4e-5 * e.best_constant_loss() + 1e-12


@pytest.mark.parametrize("p", [0.1, 1.0])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_dropped_features_cost_what_is_known(n: int, p: float) -> None:
    # min_b E (x - b)^2 = p/3 - p^2/4 at b = p/2, a feature; with b = 0 it is p/3.
    e = tm.Experiment(tm.Features(n, p), tm.Bottleneck(2, output=tm.Linear()))
    for bias, closed in ((p / 2, p / 3 - p**2 / 4), (0.0, p / 3)):
        dropped = tm.Parameters(W_in=torch.zeros(1, 2, n), b_out=torch.full((1, n), bias, dtype=torch.float64))
        assert one(population_loss([e], dropped))[0] == pytest.approx(n * closed, rel=1e-7)


@pytest.mark.parametrize("values, second_moment", [(tm.FoldedNormal(), 1.0), (tm.Exponential(), 2.0)])
def test_unbounded_values_are_integrated_to_their_ends(values: tm.Values, second_moment: float) -> None:
    e = tm.Experiment(tm.Features(3, 0.2, values=values), tm.Bottleneck(2, output=tm.Linear()))
    found = population_loss([e], tm.Parameters(W_in=torch.zeros(1, 2, 3), b_out=torch.zeros(1, 3)))
    assert one(found)[0] == pytest.approx(3 * 0.2 * second_moment, rel=1e-5)


LN = tm.LayerNorm()
CASES = {
    "one of 8": (tm.Features(8, 1 / 8, firing=tm.One()), tm.Bottleneck(2)),
    "one of 30, shuffled importance": (
        tm.Features(30, 1 / 30, firing=tm.One(), importance=tm.Importance(tm.Geometric(0.9), shuffle=True)),
        tm.Bottleneck(6, tm.ReLU(), tied=False),
    ),
    "one of 8, signed exponential, LayerNorm": (
        tm.Features(8, 1 / 8, firing=tm.One(), values=tm.Exponential(), signed=True),
        tm.Bottleneck(4, tm.SoLU(), LN, tm.Linear(), tied=False),
    ),
    "two": (tm.Features(2, 0.3, tm.Frequency(tm.Zipf(1.0))), tm.Bottleneck(1)),
    "three, folded normal": (tm.Features(3, 0.3, values=tm.FoldedNormal()), tm.Bottleneck(2, tm.GeLU())),
    "three, signed": (
        tm.Features(3, 0.4, signed=True),
        tm.Bottleneck(4, tm.ReLU(), output=tm.Linear(), tied=False, hidden_bias=True),
    ),
    "two groups, at most one of each": (
        tm.Features(8, 0.2, firing=tm.Anticorrelated(2)),
        tm.Bottleneck(3, tm.ReLU(), tied=False),
    ),
    "twelve binary": (
        tm.Features(12, 0.2, tm.Frequency(tm.Zipf(0.5)), values=tm.Binary()),
        tm.Bottleneck(4, tm.ReLU()),
    ),
    "six binary, some of them together": (
        tm.Features(6, 0.3, tm.Frequency(tm.Zipf(0.5)), values=tm.Binary(), firing=tm.Together(((0, 2), (1, 5)))),
        tm.Bottleneck(2, tm.ReLU()),
    ),
    "a chain of three": (tm.Features(3, 0.3, firing=tm.Tree(1, 2, 0.7)), tm.Bottleneck(2, tm.GeLU())),
    "a tree": (tm.Features(5, 0.2, firing=tm.Tree(4, 1, 0.9)), tm.Bottleneck(3, tm.GeLU(), tied=False)),
    "two trees, binary": (
        tm.Features(8, 0.2, tm.Frequency(tm.Zipf(0.5)), values=tm.Binary(), firing=tm.Tree(3, 1, 0.9)),
        tm.Bottleneck(3, tm.SoLU(), LN, tm.Linear(), tied=False),
    ),
    "twelve binary in groups": (tm.Features(12, 0.2, values=tm.Binary(), firing=tm.Correlated(4)), tm.Bottleneck(4)),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_sampling_tends_to(name: str) -> None:
    es, parameters = trained(*CASES[name])
    found = population_loss(es, parameters)
    mean, standard_error = sampled(es, parameters)
    assert ((found.loss - mean).abs() <= 4 * standard_error + found.error).all()
    constant = torch.tensor([e.best_constant_loss() for e in es])
    assert (found.error <= 3e-4 * constant).all()
    finer = population_loss(es, parameters, tolerance=1e-6)
    assert ((finer.loss - found.loss).abs() <= found.error).all()


def test_binary_values_are_summed_exactly() -> None:
    features = tm.Features(5, 0.3, tm.Frequency(tm.Zipf(1.0)), values=tm.Binary(), signed=True)
    es, parameters = trained(features, tm.Bottleneck(3, tm.GeLU(), LN, tm.Linear(), tied=False), models=2)
    p, total = features.probabilities(), torch.zeros(2, dtype=torch.float64)
    for row in product((-1.0, 0.0, 1.0), repeat=5):
        chance = 1.0
        for p_i, x_i in zip(p, row, strict=True):
            chance *= p_i / 2 if x_i else 1 - p_i
        x = torch.tensor(row, dtype=torch.float64)[None, :, None].expand(2, -1, -1)
        out = tm.forward(es[0].bottleneck, parameters.to("cpu", torch.float64), x).out
        total += chance * (x - out).square().sum((1, 2))
    torch.testing.assert_close(population_loss(es, parameters).loss, total, rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    "features",
    [
        tm.Features(4, 0.3),
        tm.Features(13, 0.3, values=tm.Binary(), signed=True),
        tm.Features(64, 0.1, values=tm.Binary()),
    ],
)
def test_where_it_is_no_small_sum_or_integral_it_is_undefined(features: tm.Features) -> None:
    e = tm.Experiment(features, tm.Bottleneck(2, output=tm.Linear()))
    found = population_loss([e], tm.Parameters(W_in=torch.zeros(1, 2, features.n), b_out=torch.zeros(1, features.n)))
    assert found.loss.isnan().all()
    assert found.error.isnan().all()


def test_models_of_other_densities_and_broken_ones_do_not_disturb_each_other() -> None:
    bottleneck = tm.Bottleneck(1)
    es = [tm.Experiment(tm.Features(2, p), bottleneck) for p in (0.1, 0.5, 0.1)]
    W = torch.tensor([[[1.0, -1.0]], [[1.0, -1.0]], [[torch.nan, 1.0]]])
    found = population_loss(es, tm.Parameters(W_in=W, b_out=torch.zeros(3, 2)))
    alone = [population_loss(es[k : k + 1], tm.Parameters(W_in=W[k : k + 1], b_out=torch.zeros(1, 2))) for k in (0, 1)]
    assert found.loss[:2].tolist() == pytest.approx([each.loss.item() for each in alone], rel=1e-12)
    assert found.loss[2].isnan()


def test_an_error_that_cannot_be_made_small_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    es, parameters = trained(*CASES["three, folded normal"], models=1)
    right = population_loss(es, parameters, tolerance=1e-6)
    monkeypatch.setattr(population, "MOST_NODES", 64)
    rough = population_loss(es, parameters)
    assert rough.error.item() > 1e-5 * es[0].best_constant_loss()
    assert abs(rough.loss - right.loss).item() <= rough.error.item()


def test_a_kink_next_to_zero_is_seen() -> None:
    # y = max(0, 1 - 300 x) of one feature, always active: E (x - y)^2 = 1/3 + E y^2 - 2 E x y, all of it in x < 1/300.
    e = tm.Experiment(tm.Features(1, 1.0), tm.Bottleneck(1, tied=False))
    steep = tm.Parameters(torch.ones(1, 1, 1), torch.full((1, 1, 1), -300.0), b_out=torch.ones(1, 1))
    loss, error = one(population_loss([e], steep))
    assert loss == pytest.approx(1 / 3 + 1 / 900 - 1 / 270_000, abs=1e-6)
    assert error < 1e-5


def test_a_layer_norm_of_tiny_eps_turns_within_a_hairs_breadth_of_zero() -> None:
    # z = (x, -x), m = 2: LN gives s = x / sqrt(x^2 + eps) and -s; y = (s + 1) / 2. The loss is 1-D and smooth in log x.
    eps = 1e-12
    e = tm.Experiment(tm.Features(1, 1.0), tm.Bottleneck(2, layer_norm=tm.LayerNorm(eps, affine=False), tied=False))
    W = torch.tensor([[[1.0], [-1.0]]], dtype=torch.float64)
    parameters = tm.Parameters(
        W, W.transpose(1, 2) / 4, b_out=torch.full((1, 1), 0.5), ln_eps=torch.tensor([eps], dtype=torch.float64)
    )
    t = torch.linspace(-40, 0, 2_000_001, dtype=torch.float64)  # x = e^t
    x = t.exp()
    y = (x / (x**2 + eps).sqrt() + 1) / 2
    closed = torch.trapezoid((x - y) ** 2 * x, t).item()
    loss, error = one(population_loss([e], parameters))
    assert abs(loss - closed) <= error + 1e-9
    assert error < 2e-5
