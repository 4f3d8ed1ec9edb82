"""Data of one's own: rows drawn as stated, what is measured of them, models trained on them, what is refused."""

# pyright: reportArgumentType=false

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import toymodels as tm
from toymodels import random
from toymodels.engines import ENGINES, Unsupported
from toymodels.random import Domain
from toymodels.training.experiment import sampler

SIGMAS = 5
ROWS = np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, -3.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


class Nested(tm.Data):
    """Feature i is active in half of what feature i - 1 is active in."""

    def draw(self, seed: int, first: int, samples: int, step: int | None) -> torch.Tensor:
        return (self.uniforms(seed, first, samples, step) < 0.5).cumprod(0).float()


def experiment(data: tm.Data, seed: int = 0, steps: int = 20, **architecture) -> tm.Experiment:
    return tm.Experiment(data, tm.Bottleneck(2, **architecture), tm.Training(steps=steps, batch=32), seed=seed)


def test_a_sample_is_the_row_that_the_streams_word_says():
    data = sampler([experiment(tm.Dataset(ROWS), seed=5)])
    for x, step, domain in (
        (data.training(3, 64), 3, Domain.DATA),
        (data.evaluation(0, 64), 0, Domain.EVALUATION),
    ):
        words = random.words(np.array([5]), 1, 64, step, domain)[0, 0]
        rows = [int(word) * 5 >> 32 for word in words]
        assert np.array_equal(x[0].T.numpy(), ROWS[rows].astype(np.float32))
    assert torch.equal(data.evaluation(32, 16), data.evaluation(0, 64)[:, :, 32:48])


def test_every_row_is_drawn_equally_often():
    x = tm.Dataset(np.arange(7.0)[:, None]).draw(0, 0, 70_000, 0)
    counts = np.bincount(x[0].long().numpy(), minlength=7)
    assert abs(counts - 10_000).max() < SIGMAS * math.sqrt(70_000 * 6 / 49)


def test_the_same_seed_sees_the_same_rows_whatever_trains_beside_it():
    data = tm.Dataset(ROWS)
    alone = sampler([experiment(data, seed=7)]).training(2, 50)
    beside = sampler([experiment(data, seed=1), experiment(data, seed=7)]).training(2, 50)
    assert torch.equal(alone[0], beside[1])
    assert not torch.equal(beside[0], beside[1])


def test_what_laws_state_of_features_is_measured_of_the_rows():
    data = tm.Dataset(torch.from_numpy(ROWS), tm.Importance(tm.Geometric(0.5)))
    assert data.n == 3
    assert data.probabilities().tolist() == [0.4, 0.4, 0.0]
    assert data.mean_active_value().tolist() == [3.0, 2.0, 0.0]
    assert data.signed
    assert not tm.Dataset(abs(ROWS)).signed
    assert experiment(data).importance().tolist() == [1.0, 0.5, 0.25]
    variance = [20 / 5 - (6 / 5) ** 2, 10 / 5 - (2 / 5) ** 2, 0.0]
    assert experiment(data).best_constant_loss() == pytest.approx(variance[0] + variance[1] / 2, rel=1e-12)


def test_the_rows_are_copied_once():
    rows = ROWS.copy()
    data = tm.Dataset(rows)
    rows[:] = 9
    assert data.draw(0, 0, 8, 0).max() <= 4


def test_a_linear_model_finds_the_principal_components_of_the_rows():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 6)) @ np.diag([3.0, 2.0, 0.6, 0.5, 0.4, 0.3]) @ rng.standard_normal((6, 6))
    training = tm.Training(steps=1500, batch=128, learning_rate=1e-2, schedule=tm.Cosine())
    bottleneck = tm.Bottleneck(2, output=tm.Linear(), tied=False)
    es = [tm.Experiment(tm.Dataset(rows), bottleneck, training, seed=0)]
    parameters = tm.train(es).parameters
    x = torch.from_numpy(rows.T).float()[None]
    loss = (x - tm.forward(bottleneck, parameters, x).out).square().sum(1).mean().item()
    floor = np.linalg.eigvalsh(np.cov(rows.T, bias=True))[:4].sum()  # what no model of two neurons can say
    assert floor * 0.9999 < loss < floor * 1.03
    measures = tm.measure(es, parameters)
    fraction = loss / np.trace(np.cov(rows.T, bias=True))
    assert measures.models["loss_fraction"].item() == pytest.approx(fraction, rel=0.05)


@pytest.mark.parametrize("data", [tm.Dataset(ROWS), Nested(3)], ids=["rows", "sampler"])
def test_everything_is_measured_of_models_of_ones_own_data(data: tm.Data):
    es = [experiment(data, seed, activation=tm.ReLU(), output=tm.Linear()) for seed in range(2)]
    measures = tm.measure(es, tm.train(es).parameters, samples=2000)
    assert not measures.failed
    assert measures.features["density"][1].tolist() == pytest.approx(data.probabilities().tolist())
    assert measures.models["loss"].isfinite().all()
    assert measures.models["loss_exact"].isnan().all()


def test_responses_are_taken_at_each_features_own_mean_active_value():
    rows = np.array([[1.0, 0.0], [0.0, 5.0]])
    e = experiment(tm.Dataset(rows), activation=tm.ReLU())
    W = torch.tensor([[[1.0, 0.1], [0.2, 1.0]]])
    neurons = tm.measure([e], tm.Parameters(W, b_out=torch.zeros(1, 2)), samples=256).neurons
    assert neurons["monosemanticity"][0].tolist() == pytest.approx([1 / 1.5, 5 / 5.2])


def test_a_sampler_of_ones_own_is_measured_on_what_it_draws():
    data = Nested(n=4)
    p = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 16])
    assert (abs(data.probabilities() - p) < SIGMAS * np.sqrt(p * (1 - p) / 2**16)).all()
    found = tm.Experiment(data, tm.Bottleneck(2)).best_constant_loss()
    assert found == pytest.approx(sum(p * (1 - p)), rel=0.02)
    assert not data.signed


def test_models_of_other_data_are_another_structure():
    one, same, other = tm.Dataset(ROWS), tm.Dataset(ROWS.copy()), tm.Dataset(2 * ROWS)
    assert experiment(one).structure() == experiment(one, seed=1).structure() == experiment(same).structure()
    with pytest.raises(ValueError, match="one structure"):
        tm.train([experiment(one), experiment(other)])
    with pytest.raises(ValueError, match="one structure"):
        tm.train([experiment(one), tm.Experiment(tm.Features(3, 0.1), tm.Bottleneck(2), tm.Training(20, 32))])


@pytest.mark.parametrize("data", [tm.Dataset(ROWS), Nested(3)], ids=["Dataset", "Nested"])
def test_the_fused_engine_refuses_data_by_name_and_auto_takes_autograd(data: tm.Data):
    with pytest.raises(Unsupported, match=f"does not know the class {type(data).__name__}: use engine autograd"):
        tm.train([experiment(data)], engine="fused")
    assert ENGINES["fused"].refuses([experiment(data)])
    auto, autograd = (tm.train([experiment(data)], engine=engine) for engine in ("auto", "autograd"))
    assert torch.equal(auto.parameters.W_in, autograd.parameters.W_in)


@pytest.mark.parametrize(
    "x, error, sentence",
    [
        ([[1.0]], TypeError, r"x: expected an array \[example, feature\] of NumPy or torch, got list"),
        (np.array([["a"]]), TypeError, "x: expected real numbers, got <U1"),
        (torch.ones(2, 2, dtype=torch.complex64), TypeError, "x: expected real numbers, got torch.complex64"),
        (np.ones(3), ValueError, r"x: expected an array \[example, feature\] of one row or more, got shape \(3,\)"),
        (np.ones((0, 3)), ValueError, r"got shape \(0, 3\)"),
        (np.array([[1.0, 2.0], [3.0, np.nan]]), ValueError, "x: .* got nan for feature 1 of row 1"),
        (np.array([[1e39]]), ValueError, r"x: expected finite float32 numbers, got 1e\+39 for feature 0 of row 0"),
    ],
)
def test_what_is_no_data_is_refused_in_a_sentence(x, error, sentence):
    with pytest.raises(error, match=sentence):
        tm.Dataset(x)


class Wrong(tm.Data):
    """Draws what it was given."""

    def __init__(self, drawn) -> None:
        super().__init__(3)
        self.drawn = drawn

    def draw(self, seed: int, first: int, samples: int, step: int | None):
        return self.drawn


@pytest.mark.parametrize(
    "drawn, error, sentence",
    [
        (torch.zeros(3, 7), ValueError, r"Wrong.draw: expected shape \[3, 8\], got \[3, 7\]"),
        (
            torch.zeros(3, 8, dtype=torch.float64),
            TypeError,
            "Wrong.draw: expected a tensor of torch.float32, got torch.f",
        ),
        (np.zeros((3, 8)), TypeError, "Wrong.draw: expected a tensor of torch.float32, got ndarray"),
    ],
)
def test_a_sampler_that_draws_something_else_is_told_so(drawn, error, sentence):
    with pytest.raises(error, match=sentence):
        sampler([tm.Experiment(Wrong(drawn), tm.Bottleneck(2), seed=0)][:1]).training(0, 8)


def test_a_sampler_without_draw_says_what_it_lacks():
    with pytest.raises(TypeError, match="Data defines no draw"):
        tm.Data(2).probabilities()
    with pytest.raises(TypeError, match="importance: expected an Importance"):
        tm.Dataset(ROWS, importance=tm.Zipf(1.0))
