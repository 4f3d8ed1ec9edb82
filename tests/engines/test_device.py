"""The autograd engine on CUDA against the CPU: same data, same models, memory halving. Run by `make device`.

Imports `toymodels` only, so that it runs where nothing else is installed. The same parity tests run on CPU tensors with
the torch draw, so that the code is never untested where there is no GPU.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch

from toymodels import (
    Binary,
    Bottleneck,
    Correlated,
    Experiment,
    Features,
    FoldedNormal,
    Frequency,
    GeLU,
    Independent,
    LayerNorm,
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
    measure,
    train,
)
from toymodels.engines import ENGINES
from toymodels.engines.autograd import run
from toymodels.random import Domain
from toymodels.training.memory import train_within

autograd = ENGINES["autograd"]
CUDA = pytest.mark.cuda
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


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
@pytest.mark.parametrize("spec", specs(), ids=lambda s: f"{s.values.name}-{s.firing.name}-{s.signed}")
def test_the_torch_draw_is_the_numba_draw(spec, device):
    on_cpu = Sampler([spec] * 2, [3, 4])._on_cpu(*DATA)
    elsewhere = Sampler([spec] * 2, [3, 4], device)._in_torch(*DATA).cpu()
    assert torch.equal(on_cpu, elsewhere)


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
    on_cpu, on_cuda = train(es), train(es, device="cuda")
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
    es = experiments(*arm, optimizer)
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
    train(es, device="cuda")
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
    whole = train(es, device="cuda")
    assert torch.allclose(halved.parameters.W_in, whole.parameters.W_in, atol=1e-5)
