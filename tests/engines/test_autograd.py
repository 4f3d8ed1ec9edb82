"""The autograd engine: laws of batching, divergence, curves, snapshots, and exact minima."""

from __future__ import annotations

import contextlib
import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toymodels import (
    SGD,
    AbsoluteValue,
    Adam,
    And,
    Bottleneck,
    Cosine,
    Embedding,
    Experiment,
    Features,
    Frequency,
    GeLU,
    Geometric,
    Identity,
    Importance,
    LayerNorm,
    Linear,
    Matched,
    ReLU,
    RotatedAdam,
    Sampler,
    SoLU,
    Training,
    Zipf,
    forward,
    measure,
)
from toymodels.engines import ENGINES, autograd
from toymodels.initialisation import initialise
from toymodels.losses import Squared
from toymodels.objectives import losses
from toymodels.training.experiment import sampler

train = ENGINES["autograd"].train
SHORT = Training(steps=300, batch=64, learning_rate=3e-3)
ARMS = {
    "relu": Bottleneck(4, ReLU()),
    "gelu": Bottleneck(4, GeLU(), tied=False, hidden_bias=True),
    "solu": Bottleneck(4, SoLU()),
    "solu+LN": Bottleneck(4, SoLU(), LayerNorm(Matched()), tied=False),
}


def experiments(bottleneck=ARMS["solu"], training=SHORT, k=5):
    """Models that differ in everything that may differ within a batch."""
    return [
        Experiment(
            Features(
                12,
                0.05 + 0.05 * i,
                frequency=Frequency(Zipf(0.3 * i), cap=0.6),
                importance=Importance(Geometric(1 - 0.05 * i), shuffle=i % 2 == 0),
            ),
            dataclasses.replace(bottleneck, init_scale=1 + 0.2 * i),
            dataclasses.replace(training, learning_rate=training.learning_rate * (1 + 0.5 * i), weight_decay=0.01 * i),
            seed=10 + i,
        )
        for i in range(k)
    ]


def same(a, b, tolerance):
    for name, tensor in a.parameters.present().items():
        assert torch.allclose(tensor, b.parameters.present()[name], rtol=0, atol=tolerance), name


@pytest.mark.parametrize("optimizer", [Adam(), SGD(), RotatedAdam()], ids=lambda o: o.name)
@pytest.mark.parametrize("arm", ARMS)
def test_alone_in_a_batch_and_in_another_order_are_the_same(arm, optimizer):
    batch = experiments(ARMS[arm], dataclasses.replace(SHORT, optimizer=optimizer))
    together = train(batch)
    backwards = train(batch[::-1])
    for place, e in enumerate(batch):
        alone = train([e])
        for name, tensor in alone.parameters.present().items():
            assert torch.allclose(tensor[0], together.parameters.present()[name][place], atol=1e-5), name
            assert torch.allclose(tensor[0], backwards.parameters.present()[name][-1 - place], atol=1e-5), name


def test_the_same_batch_twice_is_bitwise_the_same():
    same(train(experiments()), train(experiments()), 0.0)


@given(
    act=st.sampled_from([Linear(), ReLU(), GeLU(), SoLU()]),
    norm=st.sampled_from([None, LayerNorm(), LayerNorm(1e-3, affine=False)]),
    output=st.sampled_from([ReLU(), Linear()]),
    flags=st.tuples(*[st.booleans()] * 4),
    absolute=st.booleans(),
    optimizer=st.sampled_from([Adam(), SGD()]),
)
@settings(max_examples=25)
def test_a_run_is_that_of_one_model_written_with_torch_optim(act, norm, output, flags, absolute, optimizer):
    """The oracle: one model in float64 with nn.functional and torch.optim, nothing of the engine's."""
    tied, output_bias, hidden_bias, decayed = flags
    decay = 0.05 if decayed else 0.0
    b = Bottleneck(3, act, norm, output, output_bias, tied, hidden_bias)
    f = Features(6, 0.4, importance=Importance(Geometric(0.8)), signed=absolute)
    recipe = Training(
        steps=20, batch=16, learning_rate=0.01, optimizer=optimizer, schedule=Cosine(), weight_decay=decay
    )
    e = Experiment(f, b, recipe, AbsoluteValue() if absolute else Identity(), seed=5)
    ours = train([e], dtype=torch.float64)

    data = Sampler([f], [5])
    start = initialise([b], data, torch.float64)
    p = {name: torch.nn.Parameter(tensor[0].clone()) for name, tensor in start.trained(b).items()}
    theirs = (
        torch.optim.AdamW(p.values(), lr=0.01, weight_decay=decay)
        if isinstance(optimizer, Adam)
        else torch.optim.SGD(p.values(), lr=0.01, weight_decay=decay, momentum=0.9)
    )
    importance = torch.from_numpy(e.importance())
    loss = torch.tensor(0.0)
    for t in range(20):
        theirs.param_groups[0]["lr"] = 0.01 * 0.5 * (1 + math.cos(math.pi * t / 20))
        x = data.training(t, 16)[0].double()
        h = act(p["W_in"] @ x + (p["b_in"][:, None] if hidden_bias else 0), dim=0)
        if norm is not None:
            h = torch.nn.functional.layer_norm(h.T, (3,), p.get("ln_gain"), p.get("ln_bias"), norm.eps).T
        y = (p["W_in"].T if tied else p["W_out"]) @ h + (p["b_out"][:, None] if output_bias else 0)
        y = y.relu() if isinstance(output, ReLU) else y
        loss = (importance[:, None] * ((x.abs() if absolute else x) - y) ** 2).sum(0).mean()
        theirs.zero_grad()
        loss.backward()
        theirs.step()
    for name, tensor in p.items():
        assert torch.allclose(ours.parameters.present()[name][0], tensor, rtol=1e-6, atol=1e-8), name
    assert ours.curve[0, -1].item() == pytest.approx(loss.item(), rel=1e-6)


def test_float32_follows_the_float64_reference():
    fast, reference = train(experiments()), train(experiments(), dtype=torch.float64)
    assert torch.allclose(fast.curve.double(), reference.curve, rtol=1e-3)


def test_a_diverging_model_is_frozen_and_its_neighbours_never_notice():
    normal = experiments()
    wild = [dataclasses.replace(e, training=dataclasses.replace(e.training, learning_rate=1e30)) for e in normal[2:3]]
    calm, mixed = train(normal), train(normal[:2] + wild + normal[3:])
    assert mixed.diverged.tolist() == [False, False, True, False, False]
    assert mixed.diverged_step[2] > 0
    assert all(tensor.isfinite().all() for tensor in mixed.parameters.present().values())
    for name, tensor in mixed.parameters.present().items():
        for place in (0, 1, 3, 4):
            assert torch.equal(tensor[place], calm.parameters.present()[name][place]), name


def test_a_loss_a_million_times_its_start_is_divergence():
    calm = experiments(k=1)[0]
    wild = dataclasses.replace(calm, training=dataclasses.replace(calm.training, learning_rate=1e6))
    assert train([wild]).diverged.all()
    assert not train([dataclasses.replace(calm, bottleneck=Bottleneck(4, init_scale=100.0))]).diverged.any()


@pytest.mark.parametrize("rate", [1e6, 1e30, 1e39])
@pytest.mark.parametrize("steps", [1, 2, 60])
def test_divergence_in_any_step_is_seen_and_the_weights_before_it_are_kept(rate, steps):
    calm = experiments(k=1)[0]
    recipe = dataclasses.replace(SHORT, steps=steps, learning_rate=rate, snapshots=3)
    trained = train([dataclasses.replace(calm, training=recipe)])
    assert trained.diverged.all()
    assert trained.diverged_step[0] <= steps
    assert all(tensor.isfinite().all() for tensor in trained.parameters.present().values())
    assert torch.equal(trained.snapshots["W_in"][:, -1], trained.parameters.W_in)
    if steps == 1:
        start = initialise([calm.bottleneck], sampler([calm]))
        assert torch.equal(trained.parameters.W_in, start.W_in)


def test_no_importance_and_no_activity_are_not_divergence():
    silent = Experiment(Features(4, 1e-9), Bottleneck(2, SoLU(), LayerNorm(1e-12)), SHORT)
    assert not train([silent]).diverged.any()
    idle = Experiment(Features(4, 0.2, importance=Importance(Geometric(1e-300))), Bottleneck(2), SHORT)
    trained = train([idle])
    assert not trained.diverged.any()


def test_curves_and_snapshots_are_of_their_steps():
    recipe = Training(steps=40, batch=32, curve_points=6, snapshots=4)
    trained = train(experiments(training=recipe))
    assert trained.curve.shape == (5, len(trained.curve_step))
    assert (trained.curve_step[0], trained.curve_step[-1]) == (1, 40)
    assert trained.snapshots["W_in"].shape == (5, len(trained.snapshot_step), 4, 12)
    assert torch.equal(trained.snapshots["W_in"][:, -1], trained.parameters.W_in)
    step = int(trained.snapshot_step[1])
    shorter = train(experiments(training=dataclasses.replace(recipe, steps=step)))
    assert torch.equal(trained.snapshots["W_in"][:, 1], shorter.parameters.W_in)
    e = experiments(training=recipe)
    data = sampler(e)
    start = initialise([x.bottleneck for x in e], data)
    x = data.training(0, 32)
    importance = torch.tensor(np.stack([each.importance() for each in e])).float()
    assert torch.allclose(
        trained.curve[:, 0], losses(importance, x, forward(e[0].bottleneck, start, x).out, Squared()), rtol=1e-5
    )


def test_progress_adds_up_to_the_steps():
    done = []
    train(experiments(training=dataclasses.replace(SHORT, steps=120)), on_step=done.append)
    assert sum(done) == 120


def test_slow_steps_are_said_one_by_one(monkeypatch):
    monkeypatch.setattr("toymodels.engines.autograd.loop.REPORT_SECONDS", 0)
    done = []
    train(experiments(training=dataclasses.replace(SHORT, steps=7)), on_step=done.append)
    assert done == [1] * 7


def test_mixed_structures_are_refused():
    with pytest.raises(ValueError, match="one structure"):
        train([*experiments(ARMS["relu"]), *experiments(ARMS["gelu"])])
    with pytest.raises(ValueError, match="at least one"):
        train([])


# ------------------------------------------------------------------------------------------------------- exact minima


@pytest.mark.parametrize("p", [1.0, 0.1])
def test_a_linear_model_reaches_the_exact_global_minimum(p):
    """(p/3 - p^2/4) * (sum of the n - m smallest I_i), within 1 %; n = 20, m = 5, I_i = .7^i."""
    f = Features(20, p, importance=Importance(Geometric(0.7)))
    recipe = Training(steps=4000, batch=1024, learning_rate=3e-3, schedule=Cosine())
    es = [Experiment(f, Bottleneck(5, output=Linear()), recipe, seed=s) for s in range(2)]
    trained = train(es)
    minimum = (p / 3 - p**2 / 4) * sum(0.7**i for i in range(5, 20))
    losses = measure(es, trained.parameters, samples=200_000).models["loss"]
    assert losses.min().item() == pytest.approx(minimum, rel=0.01)
    W = trained.parameters.W_in[losses.argmin()].double()
    assert torch.linalg.eigvalsh(W @ W.T).tolist() == pytest.approx([1.0] * 5, abs=0.05)
    assert ((W.T @ W).diagonal()[:5] > 0.8).all()


@pytest.mark.parametrize("p, expected", [(0.1, 0.003322), (0.3, 0.029637), (0.5, 0.08125)])
def test_two_features_in_one_neuron_reach_the_antipodal_loss(p, expected):
    """n = 2, m = 1, no output bias, ReLU output: the best of 10 restarts within 1 % of the closed form."""
    recipe = Training(steps=3000, batch=1024, learning_rate=3e-3, schedule=Cosine())
    es = [Experiment(Features(2, p), Bottleneck(1, output_bias=False), recipe, seed=s) for s in range(10)]
    weights = train(es).parameters.W_in[:, 0].double()
    d = (8 - 5 * p) / (8 - 6 * p)
    exact = 2 * (p * (1 - p) * (1 - d) ** 2 / 3 + p**2 * (1 / 3 - d / 4 + d**2 / 12))
    assert exact == pytest.approx(expected, rel=1e-3)
    assert population_loss(torch.tensor([d**0.5, -(d**0.5)]).double(), p) == pytest.approx(exact, rel=1e-4)
    losses = [population_loss(w, p) for w in weights]
    assert min(losses) == pytest.approx(exact, rel=0.01)
    best = weights[int(np.argmin(losses))]
    assert best.prod() < 0
    assert best.square().tolist() == pytest.approx([d, d], rel=0.02)


def population_loss(w, p, points=400):
    """The loss of weights w on all data: one feature active, the other, or both, by the midpoint rule on U(0, 1)."""
    u = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    zero = torch.zeros_like(u)
    grids = ((u, zero), (zero, u), torch.meshgrid(u, u, indexing="ij"))
    loss = 0.0
    for (x1, x2), probability in zip(grids, (p * (1 - p), p * (1 - p), p * p), strict=True):
        x = torch.stack([x1, x2])
        z = torch.tensordot(w, x, dims=1)
        y = torch.stack([w[0] * z, w[1] * z]).relu()
        loss += probability * (x - y).square().sum(0).mean().item()
    return loss


@pytest.mark.parametrize("p", [1.0, 0.3, 0.05])
def test_a_dropped_feature_costs_its_variance(p):
    """m = 1 neuron, one feature of importance 1 and one of almost none: the second costs p/3 - p^2/4."""
    f = Features(2, p, importance=Importance(Geometric(1e-4)))
    recipe = Training(steps=2000, batch=1024, learning_rate=3e-3, schedule=Cosine())
    e = Experiment(f, Bottleneck(1, output=Linear()), recipe)
    measured = measure([e], train([e]).parameters, samples=100_000)
    variance = p / 3 - p**2 / 4
    error = (1 - measured.features["r2"][0, 1].item()) * variance
    assert error == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize(
    "embedding, target, threads",
    [(None, Identity(), 2), (Embedding(4), Identity(), 1), (None, And(3), 1), (Embedding(20), And(20), 2)],
)
def test_a_model_with_a_short_axis_of_any_kind_is_trained_on_one_thread(monkeypatch, embedding, target, threads):
    bottleneck = Bottleneck(20, tied=False, output=Linear(), embedding=embedding)
    e = Experiment(Features(20, 0.3), bottleneck, Training(steps=2, batch=16), target)
    asked = []

    def spy(n):
        asked.append(n)
        return contextlib.nullcontext()

    monkeypatch.setattr(autograd, "torch_threads", spy)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    train([e])
    assert asked[0] == threads


@pytest.mark.parametrize("models, n, hidden", [(1, 5, 2), (1, 20, 5), (1, 64, 16), (1, 5, 40), (3, 5, 5)])
def test_the_weights_are_the_same_bits_on_any_number_of_threads(models, n, hidden):
    recipe = Training(steps=20, batch=256, learning_rate=0.01)
    es = [Experiment(Features(n, 0.1), Bottleneck(hidden, tied=False), recipe, seed=seed) for seed in range(models)]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(train(es).parameters.trained(es[0].bottleneck))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(tensor, other[name]) for name, tensor in found[0].items())
