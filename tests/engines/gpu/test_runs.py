"""Whole runs of the gpu engine, interpreted, against the float64 reference; and the law that nothing else matters."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from tests.engines.test_fused import batch_of, same
from toymodels import (
    ELU,
    SGD,
    Adam,
    And,
    Binary,
    Bottleneck,
    Correlated,
    Cosine,
    CrossEntropy,
    Embedding,
    Experiment,
    Exponential,
    Features,
    FoldedNormal,
    Frequency,
    GeLU,
    Geometric,
    Importance,
    LayerNorm,
    Linear,
    LinearDecay,
    One,
    ReLU,
    RotatedAdam,
    SiLU,
    SoLU,
    Trained,
    Training,
    XExp,
    Zipf,
)
from toymodels.engines import ENGINES, Advance
from toymodels.engines.gpu import run

autograd, gpu = ENGINES["autograd"], ENGINES["gpu"]
ADAM = Training(steps=4, batch=40, optimizer=Adam(), schedule=Cosine(), weight_decay=0.1, snapshots=4)
STEEP = Training(steps=4, batch=40, optimizer=SGD(), learning_rate=0.02, schedule=LinearDecay(), weight_decay=0.01)
ROTATED = Training(steps=4, batch=40, optimizer=RotatedAdam(), learning_rate=3e-3)
BITS = Features(10, 0.2, Frequency(Zipf(1.0), cap=0.6), values=Binary())
DECODER = Bottleneck(9, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True, embedding=Embedding(4))

CASES: dict[str, tuple[Features, Bottleneck, Training, dict[str, Any]]] = {
    "plain": (Features(9, 0.2), Bottleneck(3), dataclasses.replace(ADAM, steps=30), {}),
    "several tiles": (Features(9, 0.2), Bottleneck(3, GeLU()), dataclasses.replace(ADAM, batch=300), {}),
    "long sums": (
        Features(40, 0.1),
        Bottleneck(40, GeLU(), LayerNorm(), tied=False),
        dataclasses.replace(ADAM, steps=2),
        {},
    ),
    "plain, sgd": (Features(9, 0.2), Bottleneck(3), STEEP, {}),
    "untied, rotated": (
        Features(9, 0.2, signed=True),
        Bottleneck(20, GeLU(), output=Linear(), tied=False),
        ROTATED,
        {},
    ),
    "small, rotated": (Features(5, 0.2), Bottleneck(2, ELU(), LayerNorm(), hidden_bias=True, tied=False), ROTATED, {}),
    "norm": (
        Features(8, 0.2, signed=True, values=FoldedNormal()),
        Bottleneck(5, SoLU(), LayerNorm(), Linear(), tied=False),
        ADAM,
        {},
    ),
    "bare norm": (
        Features(8, 0.2, firing=Correlated(2), values=Exponential()),
        Bottleneck(5, SiLU(), LayerNorm(affine=False), Linear(), tied=False),
        STEEP,
        {},
    ),
    "decoder": (BITS, DECODER, ADAM, {}),
    "decoder, rotated": (BITS, DECODER, ROTATED, {}),
    "trained decoder": (
        Features(10, 0.1),
        Bottleneck(6, ELU(), None, Linear(), tied=False, embedding=Embedding(5, trained=True)),
        ADAM,
        {},
    ),
    "pairs": (BITS, dataclasses.replace(DECODER, activation=GeLU()), ADAM, {"target": And(5)}),
    "bits of pairs": (
        BITS,
        dataclasses.replace(DECODER, embedding=None),
        ADAM,
        {"target": And(3), "loss": CrossEntropy()},
    ),
    "costs": (
        Features(9, 0.2),
        Bottleneck(3, ReLU(), hidden_bias=True),
        dataclasses.replace(ADAM, activation_l1=0.1, weight_growth=0.3, hidden_bias_decay=0.2),
        {},
    ),
    "steep costs": (
        Features(9, 0.2),
        Bottleneck(3, XExp(), None, Linear(), tied=False, hidden_bias=True),
        dataclasses.replace(STEEP, learning_rate=1e-3, activation_l1=0.1, weight_growth=0.3, hidden_bias_decay=0.2),
        {},
    ),
    "pruned": (Features(9, 0.2), Bottleneck(4, ReLU()), dataclasses.replace(ADAM, weights_kept=0.3), {}),
    "pruned, untied": (
        Features(9, 0.2),
        Bottleneck(4, ReLU(), tied=False),
        dataclasses.replace(STEEP, weights_kept=0.3),
        {},
    ),
}


def agree(ours: Trained, theirs: Trained) -> None:
    torch.testing.assert_close(ours.curve.double(), theirs.curve, rtol=1e-4, atol=0)
    assert ours.parameters.present().keys() == theirs.parameters.present().keys()
    for name, tensor in theirs.parameters.present().items():
        torch.testing.assert_close(ours.parameters.present()[name].double(), tensor, rtol=1e-3, atol=1e-5)
    assert ours.snapshots.keys() == theirs.snapshots.keys()
    for name, tensor in theirs.snapshots.items():
        torch.testing.assert_close(ours.snapshots[name].double(), tensor, rtol=1e-3, atol=1e-5)
    assert ours.curve_step.tolist() == theirs.curve_step.tolist()
    assert ours.snapshot_step.tolist() == theirs.snapshot_step.tolist()
    assert ours.experiments == theirs.experiments
    assert not ours.diverged.any()


@pytest.mark.parametrize("case", CASES)
def test_runs_agree_with_the_reference_in_all_they_return(case: str) -> None:
    features, bottleneck, recipe, objective = CASES[case]
    es = batch_of(features, bottleneck, recipe, models=1 if recipe.steps > 4 else 2, **objective)
    agree(gpu.train(es), autograd.train(es, dtype=torch.float64))


def test_a_softmax_over_exclusive_features_follows_the_reference() -> None:
    features = Features(8, 1 / 8, Frequency(Zipf(1.0)), Importance(Geometric(0.9)), Binary(), firing=One())
    bottleneck = Bottleneck(3, ReLU(), None, Linear(), tied=False, hidden_bias=True)
    es = [Experiment(features, bottleneck, ADAM, seed=seed, loss=CrossEntropy()) for seed in range(2)]
    agree(gpu.train(es), autograd.train(es, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize("bottleneck", [Bottleneck(5), Bottleneck(5, SoLU(), LayerNorm()), Bottleneck(12, GeLU())])
def test_a_thousand_steps_follow_the_float64_reference(bottleneck: Bottleneck) -> None:
    recipe = Training(steps=1000, batch=128, learning_rate=3e-3, schedule=Cosine())
    es = [Experiment(Features(20, 0.1), bottleneck, recipe, seed=7)]
    ours, theirs = gpu.train(es), autograd.train(es, dtype=torch.float64)
    torch.testing.assert_close(ours.curve.double(), theirs.curve, rtol=1e-3, atol=0)


@pytest.mark.parametrize("case", ["plain, sgd", "decoder", "pruned, untied"])
def test_alone_in_a_batch_and_in_another_order_bit_for_bit(case: str) -> None:
    features, bottleneck, recipe, objective = CASES[case]
    es = batch_of(features, bottleneck, recipe, models=2, **objective)
    es[1] = dataclasses.replace(es[1], training=dataclasses.replace(es[1].training, weights_kept=1.0))
    together = gpu.train(es)
    for k, e in enumerate(es):
        same(together, gpu.train([e]), slice(k, k + 1))
    turned = gpu.train(es[::-1])
    assert torch.equal(turned.parameters.W_in.flip(0), together.parameters.W_in)


def test_costs_of_others_change_no_bit_of_a_model_without_any() -> None:
    plain, costly = (CASES[case] for case in ("pruned", "costs"))
    recipe = dataclasses.replace(ADAM, activation_l1=0.1, weight_growth=0.3, hidden_bias_decay=0.2, weights_kept=0.5)
    es = [Experiment(plain[0], costly[1], each, seed=seed) for seed, each in enumerate((ADAM, recipe))]
    same(gpu.train(es), gpu.train(es[:1]), slice(0, 1))


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_run_cut_into_stretches_is_the_run_bit_for_bit(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features, bottleneck, recipe, objective = CASES["decoder"]
    es = batch_of(features, bottleneck, recipe, models=2, **objective)
    monkeypatch.setattr(run, "CALL_SECONDS", 1e9)  # however long a stretch takes, the next is longer
    whole = gpu.train(es)
    monkeypatch.setattr(run, "MOST_AT_ONCE", at_once)
    same(whole, gpu.train(es))


# ---------------------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("rate", [1e6, 1e30, 1e38])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_divergence_is_the_references(rate: float, steps: int) -> None:
    recipe = Training(steps=steps, batch=64, snapshots=3, curve_points=9)
    es = [
        Experiment(Features(6, 0.2), Bottleneck(2), dataclasses.replace(recipe, learning_rate=each), seed=seed)
        for seed, each in enumerate((1e-3, rate))
    ]
    ours, theirs = gpu.train(es), autograd.train(es)
    assert ours.diverged_step.tolist() == theirs.diverged_step.tolist()
    assert ours.diverged.tolist() == [False, True]
    for name, tensor in theirs.parameters.present().items():
        torch.testing.assert_close(ours.parameters.present()[name], tensor, rtol=1e-4, atol=1e-5)
    for name, tensor in theirs.snapshots.items():
        torch.testing.assert_close(ours.snapshots[name], tensor, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.curve, theirs.curve, rtol=1e-3, atol=1e-6, equal_nan=True)
    same(ours, gpu.train(es[:1]), slice(0, 1))


def test_an_eps_of_zero_divides_nothing_by_nothing() -> None:
    recipe = Training(steps=4, batch=64, optimizer=Adam(eps=0.0))
    es = [Experiment(Features(5, 0.5), Bottleneck(3), recipe)]
    agree(gpu.train(es), autograd.train(es, dtype=torch.float64))


def test_an_overflow_is_divergence_and_no_activity_is_not() -> None:
    recipe = Training(steps=10, batch=32, optimizer=SGD(), learning_rate=10.0)
    wild = Experiment(Features(8, 0.5), Bottleneck(3, XExp(), output=Linear(), init_scale=30.0), recipe)
    trained = gpu.train([wild])
    assert trained.diverged.all()
    assert all(tensor.isfinite().all() for tensor in trained.parameters.present().values())
    silent = Experiment(Features(4, 1e-9), Bottleneck(2, SoLU(), LayerNorm(1e-12)), Training(steps=10, batch=32))
    assert not gpu.train([silent]).diverged.any()


def test_an_all_equal_mid_is_normalised_to_nothing_at_every_eps() -> None:
    """Equal neurons: LayerNorm leaves nothing of them, so they learn nothing; and no gradient is NaN."""
    bottleneck = Bottleneck(3, GeLU(), LayerNorm(0.0), Linear(), tied=False)
    e = Experiment(Features(4, 0.5), bottleneck, Training(steps=3, batch=32))
    of = run.GpuRun([e], "cpu")
    of.stood[:, 0, :12] = 0.3  # W_in
    before = of.stood[:, 0].clone()
    of.advance(3)
    assert of.diverged_step.tolist() == [0]
    weights = of.batch.unpacked(of.stood[:, 0])
    assert torch.equal(weights["W_in"], torch.full((1, 3, 4), 0.3))
    assert torch.equal(weights["ln_gain"], of.batch.unpacked(before)["ln_gain"])
    assert not torch.equal(weights["b_out"], of.batch.unpacked(before)["b_out"])


# ------------------------------------------------------------------------------------------------------------- the door


def test_progress_adds_up_to_the_steps_and_tells_the_newest_losses() -> None:
    es = batch_of(Features(5, 0.2), Bottleneck(2), Training(steps=9, batch=32, curve_points=9), models=2)
    told: list[Advance] = []
    trained = gpu.train(es, on_step=told.append)
    assert sum(told) == 9
    for advance in told:
        assert (trained.curve == advance.losses[:, None]).any(1).all()
    assert torch.equal(told[-1].losses, trained.curve[:, -1])
