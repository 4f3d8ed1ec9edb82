"""The engines on CUDA against the CPU: same data, same models, memory halving. Run by `make device`.

The same parity tests run on CPU tensors with the torch draw and, of the gpu engine, interpreted and with fewer steps:
so the code is never untested where there is no GPU.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch

from toymodels import (
    SGD,
    AbsoluteValue,
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
    Independent,
    LayerNorm,
    Linear,
    Matched,
    One,
    OutOfMemory,
    ReLU,
    RotatedAdam,
    Sampler,
    SoLU,
    Training,
    Tree,
    UniformValues,
    Zipf,
    forward,
    measure,
    train,
)
from toymodels.engines import ENGINES
from toymodels.engines.autograd import run
from toymodels.engines.gpu import run as gpu_run
from toymodels.engines.gpu.batch import GpuBatch
from toymodels.objectives import losses
from toymodels.random import Domain
from toymodels.training.experiment import importances, sampler, target_of
from toymodels.training.keep import Keep
from toymodels.training.memory import train_within

autograd, gpu = ENGINES["autograd"], ENGINES["gpu"]
CUDA = pytest.mark.cuda
EITHER = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
"""the gpu engine interpreted, and on a real one"""
STEPS = {"cpu": 3, "cuda": 200}
DATA = (5, 64, 8, Domain.DATA, Domain.FIRING)


def specs():
    frequency = Frequency(Zipf(1.0), cap=0.9)
    return [
        Features(12, 0.2, frequency=frequency),
        Features(12, 0.2, frequency=frequency, values=Binary(), signed=True),
        Features(12, 0.2, values=FoldedNormal(), firing=Correlated(3)),
        Features(12, 1 / 12, firing=One(), values=UniformValues()),
        Features(12, 0.15, frequency=frequency, firing=Tree(2, 1, 0.8)),
        Features(12, 0.2, firing=Independent(), signed=True),
    ]


def arms():
    base = Features(16, 0.2, frequency=Frequency(Zipf(1.0), cap=0.9))
    return [
        (base, Bottleneck(4, ReLU())),
        (base, Bottleneck(4, GeLU(), tied=False)),
        (base, Bottleneck(4, SoLU(), LayerNorm(Matched()), hidden_bias=True)),
    ]


def experiments(features, bottleneck, optimizer=None):
    recipe = Training(steps=200, batch=64, learning_rate=3e-3)
    recipe = recipe if optimizer is None else dataclasses.replace(recipe, optimizer=optimizer)
    return [Experiment(features, bottleneck, recipe, seed=seed) for seed in range(4)]


@EITHER
@pytest.mark.parametrize("spec", specs(), ids=lambda s: f"{s.values.name}-{s.firing.name}-{s.signed}")
def test_the_draws_on_a_device_are_the_numba_draw(spec, device):
    on_cpu = Sampler([spec] * 2, [3, 4])._on_cpu(*DATA)
    elsewhere = Sampler([spec] * 2, [3, 4], device)._elsewhere
    assert torch.equal(on_cpu, elsewhere.in_torch(*DATA).cpu())
    assert torch.equal(on_cpu, elsewhere.by_kernel(*DATA).cpu())


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=CUDA)])
def test_a_step_that_is_a_tensor_is_drawn_like_one_that_is_a_number(device):
    for spec in specs():
        sampler = Sampler([spec] * 2, [3, 2**40 + 5], device)
        counted = sampler.training(torch.tensor(5, device=device), 64)
        assert torch.equal(counted, sampler.training(5, 64))
        assert counted.device.type == device


@CUDA
@pytest.mark.parametrize("optimizer", [None, RotatedAdam()], ids=["adam", "rotated_adam"])
@pytest.mark.parametrize("arm", arms(), ids=lambda arm: arm[1].activation.name)
def test_cuda_trains_the_models_of_the_cpu(arm, optimizer):
    features, bottleneck = arm
    es = experiments(features, bottleneck, optimizer)
    on_cpu, on_cuda = train(es), train(es, device="cuda", engine="autograd")
    assert torch.allclose(on_cuda.curve, on_cpu.curve, rtol=1e-3)
    for name, tensor in on_cuda.parameters.trained(es[0].bottleneck).items():
        assert torch.allclose(tensor, on_cpu.parameters.trained(es[0].bottleneck)[name], atol=1e-3), name
    samples = 20_000
    ours, theirs = (measure(es, trained.parameters, samples).models["loss"] for trained in (on_cuda, on_cpu))
    assert torch.allclose(ours, theirs, rtol=1e-3)


@CUDA
def test_cuda_in_float64_is_the_cpu_in_float64():
    es = experiments(arms()[2][0], arms()[2][1])
    on_cpu, on_cuda = train(es, dtype=torch.float64), train(es, device="cuda", dtype=torch.float64)
    for name, tensor in on_cuda.parameters.trained(es[0].bottleneck).items():
        assert torch.allclose(tensor, on_cpu.parameters.trained(es[0].bottleneck)[name], rtol=1e-6, atol=1e-8), name


@CUDA
@pytest.mark.parametrize("optimizer", [None, RotatedAdam()], ids=["adam", "rotated_adam"])
@pytest.mark.parametrize("arm", arms(), ids=lambda arm: arm[1].activation.name)
def test_steps_recorded_as_a_graph_are_those_launched_one_by_one(arm, optimizer, monkeypatch):
    es = experiments(*arm, optimizer=optimizer)
    going = run.TrainingRun(es, "cuda", torch.float32)
    with going.aside():
        for _ in range(10):
            going.step()
    assert going.in_place
    recorded = train(es, device="cuda")
    monkeypatch.setattr(run, "recorder_for", lambda device: None)
    launched = train(es, device="cuda")
    assert torch.allclose(recorded.curve, launched.curve, rtol=1e-5)
    for name, tensor in recorded.parameters.trained(es[0].bottleneck).items():
        assert torch.allclose(tensor, launched.parameters.trained(es[0].bottleneck)[name], atol=1e-5), name


@CUDA
@pytest.mark.parametrize("arm", arms(), ids=lambda arm: arm[1].activation.name)
def test_what_is_measured_on_cuda_is_what_is_measured_on_the_cpu(arm):
    es = experiments(*arm)
    parameters = train(es).parameters
    here, there = measure(es, parameters, 8192), measure(es, parameters.to("cuda:0", torch.float32), 8192)
    assert here.failed == there.failed == {}
    for level, column in (
        ("models", "loss"),
        ("models", "affine_substitution"),
        ("features", "r2"),
        ("features", "norm"),
    ):
        mine, theirs = getattr(there, level)[column], getattr(here, level)[column]
        assert mine.device.type == "cpu"
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-4, equal_nan=True), column


@CUDA
def test_a_device_by_its_number_is_that_device():
    es = experiments(*arms()[0])
    last = torch.cuda.device_count() - 1
    numbered, unnumbered = train(es, device=f"cuda:{last}"), train(es, device="cuda")
    assert torch.allclose(numbered.curve, unnumbered.curve, rtol=1e-4)


@CUDA
def test_a_full_device_halves_the_batch():
    """Everything but about half of what the batch needs is taken away first, by a real allocation."""
    recipe = Training(steps=3, batch=4096)
    es = [Experiment(Features(64, 0.1), Bottleneck(16, SoLU(), LayerNorm()), recipe, seed=s) for s in range(64)]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train(es, device="cuda", engine="autograd")
    needed = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(needed * 0.6 / total)
    try:
        halved = train_within(partial(autograd.train, device="cuda"), es, needs=autograd.bytes_needed)
        assert len(halved.sub_batches) > 1
        assert sum(halved.sub_batches) == 64
        torch.cuda.set_per_process_memory_fraction(needed * 0.003 / total)
        torch.cuda.empty_cache()
        with pytest.raises(OutOfMemory):
            train_within(partial(autograd.train, device="cuda"), es, needs=autograd.bytes_needed)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    whole = train(es, device="cuda", engine="autograd")
    assert torch.allclose(halved.parameters.W_in, whole.parameters.W_in, atol=1e-5)


# ------------------------------------------------------------------------------------------------------ the gpu engine


def cases():
    """What differs between the paths of the kernels: number by number or by matrix units, and each kind of part."""
    bits = Features(10, 0.2, values=Binary())
    decoder = Bottleneck(20, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True, embedding=Embedding(5))
    return {
        "2->1": (Features(2, 0.3), Bottleneck(1), Training(), {}),
        "5->2": (Features(5, 0.2), Bottleneck(2, GeLU(), LayerNorm()), Training(), {}),
        "20->5": (Features(20, 0.2), Bottleneck(5), Training(schedule=Cosine(), weight_decay=0.01), {}),
        "64->16": (Features(64, 0.1), Bottleneck(16, SoLU(), LayerNorm()), Training(), {}),
        "decoder": (bits, decoder, Training(optimizer=RotatedAdam()), {"loss": CrossEntropy()}),
        "pairs": (bits, decoder, Training(optimizer=SGD(), learning_rate=0.01), {"target": And(5)}),
        "softmax": (
            Features(8, 1 / 8, values=Binary(), firing=One()),
            Bottleneck(3, ReLU(), None, Linear(), tied=False),
            Training(weights_kept=0.5),
            {"loss": CrossEntropy()},
        ),
        "sizes": (
            Features(12, 0.2, values=Exponential(), signed=True, firing=Correlated(3)),
            Bottleneck(20, ReLU(), None, ReLU(), tied=False, hidden_bias=True, embedding=Embedding(6, trained=True)),
            Training(activation_l1=0.01, hidden_bias_decay=0.1),
            {"target": AbsoluteValue()},
        ),
    }


def of(case, device, models=3):
    features, bottleneck, recipe, objective = cases()[case]
    recipe = dataclasses.replace(recipe, steps=STEPS[device], batch=70, snapshots=2)
    return [
        Experiment(
            features,
            bottleneck,
            dataclasses.replace(recipe, learning_rate=recipe.learning_rate * (1 + seed)),
            seed=seed,
            **objective,
        )
        for seed in range(models)
    ]


def same(a, b, models=slice(None)):
    """Bit for bit."""
    for name, tensor in a.parameters[models].present().items():
        assert torch.equal(tensor, b.parameters.present()[name]), name
    torch.testing.assert_close(a.curve[models], b.curve, rtol=0, atol=0, equal_nan=True)
    for name, tensor in a.snapshots.items():
        assert torch.equal(tensor[models], b.snapshots[name]), name


@EITHER
@pytest.mark.parametrize("spec", specs(), ids=lambda s: f"{s.values.name}-{s.firing.name}-{s.signed}")
def test_x_in_triton_is_the_numba_draw(spec, device):
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    from tests.engines.gpu.filling import fill_x

    es = [Experiment(spec, Bottleneck(2), Training(steps=9, batch=64), seed=seed) for seed in (3, 2**62 + 5)]
    batch = GpuBatch.of(es, device)
    out = torch.full((2, batch.form.N, 64), torch.nan, device=device)
    fill_x[(2,)](*batch.source[:5], out, 5, form=batch.form)
    drawn, expected = out.cpu()[:, : spec.n], sampler(es).training(5, 64)
    assert torch.equal(drawn, expected) or isinstance(spec.values, FoldedNormal)
    torch.testing.assert_close(drawn, expected, rtol=2e-6, atol=1e-7)


@EITHER
@pytest.mark.parametrize("case", cases())
def test_gradients_in_triton_are_those_of_float64(case, device):
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    plain = dataclasses.replace(of(case, device)[0].training, optimizer=SGD(), activation_l1=0.0, hidden_bias_decay=0.0)
    plain = dataclasses.replace(plain, weight_decay=0.0, weights_kept=1.0)
    es = [dataclasses.replace(e, training=plain) for e in of(case, device)]
    run = gpu_run.GpuRun(es, device)
    start = run.batch.start.to("cpu", torch.float64)
    weights = {name: each.requires_grad_() for name, each in start.trained(es[0].bottleneck).items()}
    x = sampler(es).training(0, plain.batch).double()
    out = forward(es[0].bottleneck, dataclasses.replace(start, **weights), x).out
    loss = losses(torch.from_numpy(importances(es)), target_of(es)(x), out, es[0].cost)
    truth = dict(zip(weights, torch.autograd.grad(loss.sum(), list(weights.values())), strict=True))
    run.advance(1)
    torch.testing.assert_close(run.curve[:, 0].cpu().double(), loss.detach(), rtol=1e-5, atol=0)
    ours = run.batch.unpacked(run.stood[:, 1])  # SGD's momentum, which begins with the gradient
    for name, gradient in truth.items():
        assert (ours[name].double() - gradient).norm() <= 1e-5 * gradient.norm() + 1e-9, name


@EITHER
@pytest.mark.parametrize("case", cases())
def test_models_of_the_gpu_engine_are_those_of_float64(case, device):
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    es = of(case, device)
    ours, theirs = gpu.train(es, device), autograd.train(es, dtype=torch.float64)
    torch.testing.assert_close(ours.curve.double(), theirs.curve, rtol=1e-3, atol=0)
    assert ours.diverged_step.tolist() == theirs.diverged_step.tolist()


@EITHER
@pytest.mark.parametrize("case", ["5->2", "decoder"])
def test_alone_in_a_batch_and_cut_into_stretches_bit_for_bit(case, device, monkeypatch):
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    es = of(case, device)
    together = gpu.train(es, device)
    same(together, gpu.train(es[1:2], device), slice(1, 2))
    monkeypatch.setattr(gpu_run, "MOST_AT_ONCE", 7 if device == "cuda" else 1)
    same(together, gpu.train(es, device))


@CUDA
def test_a_thousand_steps_follow_the_float64_reference():
    for bottleneck in (Bottleneck(5), Bottleneck(5, SoLU(), LayerNorm()), Bottleneck(12, GeLU())):
        recipe = Training(steps=1000, batch=128, learning_rate=3e-3, schedule=Cosine())
        es = [Experiment(Features(20, 0.1), bottleneck, recipe, seed=seed) for seed in range(3)]
        ours, theirs = gpu.train(es, "cuda"), autograd.train(es, dtype=torch.float64)
        torch.testing.assert_close(ours.curve.double(), theirs.curve, rtol=1e-3, atol=0)


@CUDA
def test_products_in_tf32_are_others_and_near():
    es = of("64->16", "cuda")
    exact, rounded = gpu.train(es, "cuda"), ENGINES["gpu_tf32"].train(es, "cuda")
    assert not torch.equal(exact.parameters.W_in, rounded.parameters.W_in)
    torch.testing.assert_close(exact.curve, rounded.curve, rtol=3e-2, atol=0)


@EITHER
@pytest.mark.parametrize("case", ["5->2", "decoder"])
def test_a_batch_that_is_shared_out_gives_the_models_of_the_gpu_engine(case, device):
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    es, split = of(case, device), ENGINES["gpu_split"]
    together, whole = split.train(es, device), gpu.train(es, device)
    same(together, split.train(es[1:2], device), slice(1, 2))
    torch.testing.assert_close(together.curve, whole.curve, rtol=1e-3, atol=0)


class Kept(Keep):
    """Keeps the state of a run in memory after every stretch, and stops the run after so many."""

    seconds = 0.0

    def __init__(self):
        self.state, self.left = None, 2

    def load(self):
        self.left = 2
        return self.state

    def save(self, state):
        self.state = {name: tensor.clone() for name, tensor in state.items()}
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def part(self, first, last):
        raise NotImplementedError


@EITHER
@pytest.mark.parametrize("name", ["gpu", "gpu_split"])
def test_stopped_and_continued_it_is_the_undisturbed_run(name, device, monkeypatch):
    """One of three models diverges; stretches begin and end within what was recorded."""
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    engine, es = ENGINES[name], of("5->2", device)
    es[1] = dataclasses.replace(es[1], training=dataclasses.replace(es[1].training, learning_rate=1e30))
    whole, keep, stopped = engine.train(es, device), Kept(), 0
    assert whole.diverged.tolist() == [False, True, False]
    monkeypatch.setattr(gpu_run, "MOST_AT_ONCE", 37 if device == "cuda" else 1)
    while True:
        try:
            continued = engine.train(es, device, keep=keep)
            break
        except KeyboardInterrupt:
            stopped += 1
    assert stopped > 0
    same(continued, whole)


@CUDA
def test_a_hundred_thousand_models_are_each_what_they_are_alone():
    recipe = Training(steps=20, batch=64)
    es = [Experiment(Features(2, 0.3), Bottleneck(1), recipe, seed=seed) for seed in range(100_000)]
    together = gpu.train(es, "cuda")
    assert not together.diverged.any()
    for model in (0, 65_535, 65_536, 99_999):
        same(together, gpu.train(es[model : model + 1], "cuda"), slice(model, model + 1))


@CUDA
def test_auto_on_cuda_takes_the_gpu_engine():
    es = of("5->2", "cuda")
    same(train(es, device="cuda"), gpu.train(es, "cuda"))
