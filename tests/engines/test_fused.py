"""The fused engine against float64 autograd: gradients, whole runs, and the law that nothing else matters."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from toymodels import (
    ELU,
    SGD,
    AbsoluteValue,
    Adam,
    And,
    Anticorrelated,
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
    Identity,
    Importance,
    Independent,
    LayerNorm,
    Linear,
    LinearDecay,
    Matched,
    One,
    ReLU,
    RotatedAdam,
    SiLU,
    SoLU,
    Squared,
    Together,
    Trained,
    Training,
    Tree,
    UniformValues,
    XExp,
    Zipf,
    forward,
    train,
)
from toymodels.engines import ENGINES, Advance
from toymodels.engines.fused import crew, layout
from toymodels.engines.fused.batch import Batch
from toymodels.kernels import steps
from toymodels.kernels.bottleneck import PART
from toymodels.kernels.workspace import workspace
from toymodels.objectives import losses
from toymodels.training import experiment
from toymodels.training.experiment import sampler, target_of

ACTIVATIONS = [Linear(), ReLU(), GeLU(), SoLU(), SiLU(), ELU(), XExp()]
NORMS = [None, LayerNorm(), LayerNorm(1e-3, affine=False), LayerNorm(Matched())]


@st.composite
def experiments(draw, recipes=st.just(Training(steps=1, batch=64))):
    """Anything that a sweep file can say."""
    groups = draw(st.sampled_from([1, 2, 3]))
    n = groups * draw(st.integers(1, 9))
    sets = [Together(((0, n - 1),)), Tree(n - 1, 1, 0.9)] if n > 1 else []
    laws = [Independent(), Independent(), One(), Correlated(groups), Anticorrelated(groups), *sets]
    firing = draw(st.sampled_from(laws))
    density = (
        1 / n
        if isinstance(firing, One)
        else draw(st.sampled_from([0.05, 0.3])) / (n / groups if isinstance(firing, Anticorrelated) else 1)
    )
    target = draw(st.sampled_from([Identity(), Identity(), AbsoluteValue(), And(draw(st.integers(1, 9)))]))
    loss = draw(st.sampled_from([Squared(), Squared(), CrossEntropy()]))
    output = draw(st.sampled_from([ReLU(), Linear()]))
    embedding = draw(st.sampled_from([None, Embedding(1 + (n - 1) // 2), Embedding(n), Embedding(n, trained=True)]))
    signed = isinstance(target, AbsoluteValue) or (isinstance(output, Linear) and draw(st.booleans()))
    flags = draw(st.tuples(*[st.booleans()] * 4))
    try:
        return Experiment(
            Features(
                n,
                density,
                Frequency(draw(st.sampled_from([Zipf(0.0), Zipf(1.1)])), cap=0.9),
                Importance(Geometric(draw(st.sampled_from([1.0, 0.8]))), shuffle=flags[3]),
                draw(st.sampled_from([UniformValues(), Binary(), FoldedNormal(), Exponential()])),
                signed,
                firing,
            ),
            Bottleneck(
                draw(st.integers(1, 21)),
                draw(st.sampled_from(ACTIVATIONS)),
                draw(st.sampled_from(NORMS)),
                output,
                *flags[:3],
                init_scale=draw(st.sampled_from([0.5, 1.0, 2.0])),
                embedding=embedding,
            ),
            draw(recipes),
            target,
            seed=draw(st.integers(0, 2**40)),
            loss=loss,
        )
    except ValueError:
        assume(False)
        raise


def moved(e: Experiment, scale: float = 0.1):
    """Starting parameters with every one of them moved off its special value, float64."""
    start = experiment.start([e], sampler([e]), torch.float64)
    noise = torch.Generator().manual_seed(e.seed % 1000)
    tensors = {
        name: (tensor + scale * torch.randn(tensor.shape, generator=noise, dtype=torch.float64)).float().double()
        for name, tensor in start.present().items()
        if name != "ln_eps"
    }
    return dataclasses.replace(start, **tensors)


def fused_gradient(e: Experiment, parameters) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of the first step, by the kernels."""
    batch, gradient, given = Batch.of([e]), 0.0, parameters.to("cpu", torch.float32)
    batch.state.theta[:] = layout.pack(batch.shape, given)
    batch.own.embedding[:] = layout.fixed_embedding(batch.shape, given)
    work, loss = workspace(batch.shape), 0.0
    for first in range(0, e.training.batch, PART):
        loss += steps.part_gradient(*batch.arguments(work), 0, 1, first)
        gradient = gradient + work.part.astype(np.float64)
    return loss / e.training.batch, layout.unpack(batch.shape, np.asarray(gradient)[None])


def autograd_gradient(e: Experiment, parameters, dtype=torch.float64) -> tuple[float, dict[str, torch.Tensor]]:
    """The same by autograd; in float64, the truth."""
    parameters, trained = parameters.to("cpu", dtype), parameters.trained(e.bottleneck)
    weights = {name: tensor.to(dtype, copy=True).requires_grad_() for name, tensor in trained.items()}
    x = sampler([e]).training(0, e.training.batch).to(dtype)
    out = forward(e.bottleneck, dataclasses.replace(parameters, **weights), x).out
    loss = losses(torch.from_numpy(e.importance())[None].to(dtype), target_of([e])(x), out, e.cost).sum()
    return loss.item(), dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


autograd, fused = ENGINES["autograd"], ENGINES["fused"]

NEARLY_A_SIGN = Experiment(
    Features(7, 0.05, importance=Importance(Geometric(0.8))),
    Bottleneck(2, Linear(), LayerNorm(), Linear(), output_bias=False, hidden_bias=True, init_scale=0.5),
    Training(steps=1, batch=1),
    seed=73,
)
"""LayerNorm over two neurons is nearly the sign of their difference: its gradient is what cancellation leaves."""


@given(experiments(st.builds(Training, steps=st.just(1), batch=st.integers(1, 700))))
@settings(max_examples=250)
@example(NEARLY_A_SIGN)
def test_gradients_of_one_step_agree_with_float64_autograd(e):
    """Each parameter's to 1e-5 of its norm (and 1e-6 of that of all), of everything that the sweep file can say.

    And to four times the error of autograd in float32 on the same draw, where float32 itself cannot hold that.
    """
    parameters = moved(e)
    loss, ours = fused_gradient(e, parameters)
    true_loss, theirs = autograd_gradient(e, parameters)
    float32_loss, in_float32 = autograd_gradient(e, parameters, torch.float32)
    assert abs(loss - true_loss) <= 1e-5 * true_loss + 4 * abs(float32_loss - true_loss)
    assert ours.keys() == theirs.keys()
    norm = torch.cat([tensor.flatten() for tensor in theirs.values()]).norm().item()
    for name, tensor in theirs.items():
        allowed = 1e-5 * tensor.norm() + 1e-6 * norm + 4 * (in_float32[name].double() - tensor).norm()
        assert (ours[name].double() - tensor).norm() <= allowed + 1e-12, name


RECIPES = [
    Training(steps=60, batch=100, optimizer=Adam(), schedule=Cosine(), weight_decay=0.1, snapshots=4),
    Training(steps=60, batch=300, optimizer=SGD(), learning_rate=0.02, schedule=LinearDecay(), weight_decay=0.01),
    Training(steps=60, batch=64, optimizer=RotatedAdam(), learning_rate=3e-3),
]
SETTINGS = [
    (Features(200, 0.04), Bottleneck(20, ReLU())),
    (Features(120, 0.1, signed=True), Bottleneck(100, GeLU(), output=Linear(), tied=False)),
    (Features(12, 0.2), Bottleneck(3)),
    (Features(12, 0.2, signed=True, values=FoldedNormal()), Bottleneck(20, SoLU(), LayerNorm(), Linear(), tied=False)),
    (
        Features(30, 0.1, Frequency(Zipf(1.0), cap=0.6), values=Binary()),
        Bottleneck(9, GeLU(), LayerNorm(), hidden_bias=True),
    ),
    (
        Features(20, 0.05, Frequency(Zipf(1.0), cap=0.6), values=Binary()),
        Bottleneck(20, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True, embedding=Embedding(10)),
    ),
    (Features(40, 0.1), Bottleneck(6, ReLU(), None, Linear(), tied=False, embedding=Embedding(20, trained=True))),
    (Features(40, 0.1), Bottleneck(20, ReLU(), None, Linear(), tied=False, embedding=Embedding(5, trained=True))),
]
OBJECTIVES: list[dict[str, Any]] = [{}, {"target": And(50)}, {"target": And(3), "loss": CrossEntropy()}]


def batch_of(features, bottleneck, recipe, models=5, **objective):
    return [
        Experiment(
            dataclasses.replace(features, density=features.density * (1 + seed / 9)),
            dataclasses.replace(bottleneck, init_scale=1 + seed / 5),
            dataclasses.replace(recipe, learning_rate=recipe.learning_rate * (1 + seed / 3)),
            seed=seed,
            **objective,
        )
        for seed in range(models)
    ]


@pytest.mark.parametrize("objective", OBJECTIVES[1:], ids=["and", "and, entropy"])
@pytest.mark.parametrize("embedding", [None, Embedding(6)])
def test_pairs_of_features_and_cross_entropies_follow_the_reference(embedding, objective):
    features = Features(12, 0.2, values=Binary())
    bottleneck = Bottleneck(20, GeLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True, embedding=embedding)
    es = batch_of(features, bottleneck, RECIPES[0], **objective)
    ours, theirs = fused.train(es), autograd.train(es, dtype=torch.float64)
    torch.testing.assert_close(ours.curve.double(), theirs.curve, rtol=1e-4, atol=0)
    for name, tensor in theirs.parameters.present().items():
        torch.testing.assert_close(ours.parameters.present()[name].double(), tensor, rtol=1e-3, atol=1e-4)


def test_a_softmax_over_exclusive_features_follows_the_reference():
    features = Features(8, 1 / 8, Frequency(Zipf(1.0)), Importance(Geometric(0.9)), Binary(), firing=One())
    bottleneck = Bottleneck(3, ReLU(), None, Linear(), tied=False, hidden_bias=True)
    es = [Experiment(features, bottleneck, RECIPES[0], seed=seed, loss=CrossEntropy()) for seed in range(3)]
    ours, theirs = fused.train(es), autograd.train(es, dtype=torch.float64)
    torch.testing.assert_close(ours.curve.double(), theirs.curve, rtol=1e-4, atol=0)
    for name, tensor in theirs.parameters.present().items():
        torch.testing.assert_close(ours.parameters.present()[name].double(), tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("hidden", [3, 20])
@pytest.mark.parametrize("density", [0.02, 0.4])
def test_an_embedding_that_is_the_identity_changes_no_bit(hidden, density):
    """A decoder that begins where an untied bottleneck does, with E = 1, is that bottleneck."""
    features, recipe = Features(30, density), Training(steps=40, batch=130, snapshots=2)
    plain = Bottleneck(hidden, GeLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True)
    decoder = dataclasses.replace(plain, embedding=Embedding(30))
    one = Batch.of([Experiment(features, plain, recipe, seed=3)])
    other = Batch.of([Experiment(features, decoder, recipe, seed=3)])
    start = dataclasses.replace(one.start, E=torch.eye(30)[None])
    other.state.theta[:] = layout.pack(other.shape, start)
    other.own.embedding[:] = layout.fixed_embedding(other.shape, start)
    assert other.shape.size == one.shape.size
    for batch in (one, other):
        steps.train(*batch.arguments(workspace(batch.shape)), 0, 1, 1, 42)
    for name in ("theta", "mean", "square", "curve", "snapshots"):
        assert np.array_equal(getattr(one.state, name), getattr(other.state, name)), name
    assert not one.state.diverged_step.any()


@pytest.mark.parametrize("recipe", RECIPES, ids=["adam", "sgd", "rotated"])
@pytest.mark.parametrize("features, bottleneck", SETTINGS)
def test_runs_agree_with_the_reference_in_all_they_return(features, bottleneck, recipe):
    es = batch_of(features, bottleneck, recipe)
    ours, theirs = fused.train(es), autograd.train(es, dtype=torch.float64)
    torch.testing.assert_close(ours.curve.double(), theirs.curve, rtol=1e-4, atol=0)
    assert ours.parameters.present().keys() == theirs.parameters.present().keys()
    for name, tensor in theirs.parameters.present().items():
        torch.testing.assert_close(ours.parameters.present()[name].double(), tensor, rtol=1e-3, atol=1e-4)
    assert ours.snapshots.keys() == theirs.snapshots.keys()
    for name, tensor in theirs.snapshots.items():
        torch.testing.assert_close(ours.snapshots[name].double(), tensor, rtol=1e-3, atol=1e-4)
    for name in ("curve_step", "snapshot_step"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    assert ours.experiments == theirs.experiments
    assert not ours.diverged.any()
    assert ours.sub_batches == (5,)


@pytest.mark.parametrize("bottleneck", [Bottleneck(5), Bottleneck(5, SoLU(), LayerNorm()), Bottleneck(12, GeLU())])
def test_a_thousand_steps_follow_the_float64_reference(bottleneck):
    recipe = Training(steps=1000, batch=128, learning_rate=3e-3, schedule=Cosine())
    es = [Experiment(Features(20, 0.1), bottleneck, recipe, seed=seed) for seed in range(3)]
    ours, theirs = fused.train(es), autograd.train(es, dtype=torch.float64)
    torch.testing.assert_close(ours.curve.double(), theirs.curve, rtol=1e-3, atol=0)


def same(a, b, models=slice(None)):
    """Bit for bit."""
    for name, tensor in a.parameters[models].present().items():
        assert torch.equal(tensor, b.parameters.present()[name]), name
    torch.testing.assert_close(a.curve[models], b.curve, rtol=0, atol=0, equal_nan=True)
    for name, tensor in a.snapshots.items():
        assert torch.equal(tensor[models], b.snapshots[name])


READS = Bottleneck(9, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True, embedding=Embedding(8))
BITS = Features(20, 0.1, values=Binary())
OF_OTHERS = [
    *((*setting, {}) for setting in SETTINGS),
    (BITS, READS, {"target": And(31)}),
    (BITS, dataclasses.replace(READS, hidden=30, embedding=Embedding(20, trained=True)), {"loss": CrossEntropy()}),
    (BITS, dataclasses.replace(READS, embedding=None), {"target": And(5), "loss": CrossEntropy()}),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=["adam", "sgd", "rotated"])
@pytest.mark.parametrize("features, bottleneck, objective", OF_OTHERS)
def test_alone_in_a_batch_in_another_order_and_on_more_threads_bit_for_bit(
    features, bottleneck, objective, recipe, monkeypatch
):
    es = batch_of(features, bottleneck, recipe, **objective)
    together = fused.train(es)
    for k, e in enumerate(es):
        same(together, fused.train([e]), slice(k, k + 1))
    shuffled = fused.train([es[k] for k in (3, 0, 4, 1, 2)])
    assert torch.equal(shuffled.parameters.W_in[[1, 3, 4, 0, 2]], together.parameters.W_in)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    same(together, fused.train(es))
    same(together, next(iter(fused.train_each([es, es[:2]]))))
    monkeypatch.setattr(crew, "WIDE_FLOP", 0.0)
    same(together, fused.train(es[:2]), slice(0, 2))
    monkeypatch.setattr(crew, "CALL_SECONDS", 0.0)
    same(together, fused.train(es))


def test_batches_of_different_shapes_come_back_in_their_order():
    batches = [batch_of(*setting, RECIPES[0], models) for models, setting in zip((3, 1, 4), SETTINGS[-3:], strict=True)]
    asked = []

    def ask():
        for number, es in enumerate(batches):
            asked.append(number)
            yield es

    for number, (es, trained) in enumerate(zip(batches, fused.train_each(ask()), strict=True)):
        assert max(asked) > number or number == len(batches) - 1  # the next one was under way before this one ended
        assert isinstance(trained, Trained)
        assert trained.experiments == tuple(es)
        same(trained, fused.train(es))
    assert asked == [0, 1, 2]


def test_batches_that_end_at_once_do_not_pile_up():
    asked = 0

    def ask():
        nonlocal asked
        for _ in range(30):
            asked += 1
            yield batch_of(*SETTINGS[-1], Training(steps=1, batch=8), 1)

    for taken, _ in enumerate(fused.train_each(ask())):
        time.sleep(0.01)
        assert asked - taken <= 2 * torch.get_num_threads() + 2
    assert asked == 30


# ---------------------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("rate", [1e6, 1e30, 1e38])
@pytest.mark.parametrize("steps_", [1, 2, 60])
@pytest.mark.parametrize("wide", [False, True])
def test_divergence_is_the_references(rate, steps_, wide, monkeypatch):
    if wide:
        monkeypatch.setattr(crew, "WIDE_FLOP", 0.0)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    recipe = Training(steps=steps_, batch=64, snapshots=3, curve_points=9)
    es = [
        Experiment(Features(12, 0.2), Bottleneck(4), dataclasses.replace(recipe, learning_rate=rate_), seed=seed)
        for seed, rate_ in enumerate((1e-3, rate))
    ]
    ours, theirs = fused.train(es), autograd.train(es)
    assert ours.diverged_step.tolist() == theirs.diverged_step.tolist()
    assert ours.diverged.tolist() == [False, True]
    for name, tensor in theirs.parameters.present().items():
        torch.testing.assert_close(ours.parameters.present()[name], tensor, rtol=1e-4, atol=1e-5)
    for name, tensor in theirs.snapshots.items():
        torch.testing.assert_close(ours.snapshots[name], tensor, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.curve, theirs.curve, rtol=1e-3, atol=1e-6, equal_nan=True)
    calm = fused.train(es[:1])
    assert torch.equal(calm.parameters.W_in[0], ours.parameters.W_in[0])


@pytest.mark.parametrize("density", [0.002, 0.05, 0.5])
@pytest.mark.parametrize("hidden", [6, 16, 20, 40])
def test_a_diverging_model_leaves_nothing_behind_for_the_next_on_its_thread(hidden, density):
    recipe = Training(steps=20, batch=66)
    es = [
        Experiment(
            Features(12, density), Bottleneck(hidden), dataclasses.replace(recipe, learning_rate=rate), seed=seed
        )
        for seed, rate in enumerate((1e30, 1e-3, 1e38, 1e-3))
    ]
    together = fused.train(es)
    assert [step > 0 for step in together.diverged_step.tolist()] == [True, False, True, False]
    for k, e in enumerate(es):
        same(together, fused.train([e]), slice(k, k + 1))


def test_an_eps_of_zero_divides_nothing_by_nothing():
    recipe = Training(steps=20, batch=64, optimizer=Adam(eps=0.0))
    es = [Experiment(Features(5, 0.5), Bottleneck(3), recipe)]
    ours, theirs = fused.train(es), autograd.train(es, dtype=torch.float64)
    assert not ours.diverged.any()
    torch.testing.assert_close(ours.curve.double(), theirs.curve, rtol=1e-4, atol=0)


def test_an_overflow_is_divergence_and_no_activity_is_not():
    recipe = Training(steps=40, batch=32, optimizer=SGD(), learning_rate=10.0)
    wild = Experiment(Features(8, 0.5), Bottleneck(3, XExp(), output=Linear(), init_scale=30.0), recipe)
    trained = fused.train([wild])
    assert trained.diverged.all()
    assert all(tensor.isfinite().all() for tensor in trained.parameters.present().values())
    silent = Experiment(Features(4, 1e-9), Bottleneck(2, SoLU(), LayerNorm(1e-12)), Training(steps=40, batch=32))
    assert not fused.train([silent]).diverged.any()


# ------------------------------------------------------------------------------------------------------------- the door


def test_an_iterator_that_is_forgotten_does_not_keep_the_program():
    program = """
        import toymodels as tm
        from toymodels.engines import ENGINES
        fused = ENGINES["fused"]
        def batch(steps):
            return [tm.Experiment(tm.Features(5, .2), tm.Bottleneck(2), tm.Training(steps=steps, batch=64))]
        kept = fused.train_each(iter([batch(10), batch(10**7)]))
        next(kept)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)


def test_auto_is_fused_where_that_can_be_and_precision_and_device_decide():
    e = batch_of(*SETTINGS[0], RECIPES[0])
    same(train(e), fused.train(e))
    same(train(e, engine="autograd"), autograd.train(e))
    same(train(e, dtype=torch.float64), autograd.train(e, dtype=torch.float64))
    with pytest.raises(ValueError, match="the fused engine computes in float32, not in float64"):
        train(e, dtype=torch.float64, engine="fused")
    with pytest.raises(ValueError, match="expected auto, autograd, gpu_tf32, gpu_split, gpu or fused, got 'fast'"):
        train(e, engine="fast")


@pytest.mark.parametrize("threads", [1, 3])
def test_progress_adds_up_to_the_steps_and_to_the_models(threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    done: list[float] = []
    fused.train(batch_of(*SETTINGS[0], RECIPES[0]), on_step=done.append)
    assert sum(done) == pytest.approx(60)
    done.clear()
    batches = [batch_of(*SETTINGS[0], RECIPES[0]), batch_of(*SETTINGS[1], RECIPES[1], 2)]
    list(fused.train_each(batches, on_progress=done.append))
    assert sum(done) == pytest.approx(7)


def test_a_batch_over_the_budget_is_returned_as_the_reason_and_the_others_are_trained():
    small, large = batch_of(*SETTINGS[0], RECIPES[0], 1), batch_of(*SETTINGS[1], RECIPES[0], 4)
    budget = fused.bytes_needed(small)
    first, second = crew.Crew(2, budget).train_each(iter([large, small]), None, lambda _: None)
    assert "MiB" in str(first)
    same(second, fused.train(small))


def test_an_interruption_is_heard_within_a_second_and_the_threads_end():
    """Ctrl-C, in a process of its own, in the middle of a run that would take minutes."""
    program = """
        import signal, threading, time, toymodels as tm
        from toymodels.engines import ENGINES
        fused = ENGINES["fused"]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
        fused.prepare()
        es = [tm.Experiment(tm.Features(64, .1), tm.Bottleneck(16), tm.Training(steps=10**6), seed=s) for s in range(3)]
        try:
            print("go", flush=True)
            fused.train(es)
        except KeyboardInterrupt:
            print(threading.active_count())
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        try:
            assert process.stdout.readline() == "1\n"
            assert time.monotonic() - begin < 1
        finally:
            process.kill()


def test_memory_grows_neither_with_steps_nor_with_batch():
    """Peak resident memory of a process, a hundred times the steps and the batch; a batch of these models is 84 MB."""
    program = """
        import re
        from pathlib import Path
        import toymodels as tm
        from toymodels.engines import ENGINES
        fused = ENGINES["fused"]
        def peak():
            return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
        def run(steps, batch):
            recipe = tm.Training(steps=steps, batch=batch)
            fused.train([tm.Experiment(tm.Features(20, .1), tm.Bottleneck(5), recipe, seed=s) for s in range(64)])
            return peak()
        run(2, 64)
        before = run(3, 128)
        print(run(3, 16384) - before, run(3000, 64) - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert all(float(grown) < 4 for grown in done.stdout.split()), done.stdout


@pytest.mark.parametrize("engine", ["autograd", "fused"])
def test_the_newest_losses_are_told_on_the_way(engine):
    recipe = Training(steps=200, batch=32, learning_rate=1e-2, curve_points=200)
    es = batch_of(*SETTINGS[0], recipe)
    told: list[Advance] = []
    trained = train(es, on_step=told.append, engine=engine)
    assert sum(told) == pytest.approx(200)
    for advance in told:
        known = ~advance.losses.isnan()
        assert known.shape == (len(es),)
        assert known.all() or engine == "fused"
        assert (trained.curve == advance.losses[:, None]).any(1)[known].all() or engine == "autograd"
    assert torch.equal(told[-1].losses, trained.curve[:, -1])
