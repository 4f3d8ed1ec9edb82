"""Memory: halves where a batch does not fit, and an estimate that holds."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

from toymodels import Bottleneck, Experiment, Features, OutOfMemory, SoLU, Training, train
from toymodels.engines import ENGINES
from toymodels.training.memory import train_within

autograd = ENGINES["autograd"]
bytes_needed = autograd.bytes_needed

EXPERIMENTS = [
    Experiment(Features(8, 0.2), Bottleneck(3, SoLU()), Training(steps=30, batch=32, snapshots=3), seed=seed)
    for seed in range(7)
]


def refuse_above(limit, error):
    def engine(experiments, keep=None):
        if len(experiments) > limit:
            raise error
        return autograd.train(experiments, keep=keep)

    return engine


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        MemoryError(),
    ],
    ids=["cuda", "cublas", "cpu", "python"],
)
def test_a_refused_allocation_halves_and_finishes(error):
    whole = autograd.train(EXPERIMENTS)
    halved = train_within(refuse_above(2, error), EXPERIMENTS, needs=bytes_needed)
    assert halved.sub_batches == (2, 2, 2, 1)
    assert [e.seed for e in halved.experiments] == list(range(7))
    assert torch.allclose(halved.parameters.W_in, whole.parameters.W_in, atol=1e-5)
    assert torch.allclose(halved.snapshots["b_out"], whole.snapshots["b_out"], atol=1e-5)
    assert torch.allclose(halved.curve, whole.curve, rtol=1e-4)


def test_a_budget_halves_before_anything_is_allocated():
    budget = bytes_needed(EXPERIMENTS[:3])
    trained = train(EXPERIMENTS, memory_bytes=budget, engine="autograd")
    assert trained.sub_batches == (2, 2, 3)
    assert train(EXPERIMENTS, memory_bytes=bytes_needed(EXPERIMENTS), engine="autograd").sub_batches == (7,)


def test_the_budget_counts_the_precision():
    assert train(EXPERIMENTS, dtype=torch.float64, memory_bytes=bytes_needed(EXPERIMENTS)).sub_batches == (2, 2, 3)


def test_one_model_that_does_not_fit_is_an_error_that_says_how_much():
    with pytest.raises(OutOfMemory, match="MiB"):
        train(EXPERIMENTS, memory_bytes=10)


def test_other_errors_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="something else"):
        train_within(refuse_above(0, RuntimeError("something else")), EXPERIMENTS, needs=bytes_needed)


@pytest.mark.parametrize(
    "arm, n, target",
    [
        ("64, Linear(), None", 128, "Identity()"),
        ("64, SoLU(), LayerNorm()", 128, "Identity()"),
        ("64, GeLU(), gated=True, experts=4", 64, "Identity()"),
        ("8, ReLU(), None", 32, "And(400)"),
        ("8, ReLU(), None", 100, "And(100)"),
        ("8, ReLU(), None, embedding=Embedding(128, trained=True)", 128, "Identity()"),
        ("4, ReLU(), None, embedding=Embedding(64, trained=True)", 64, "And(300)"),
    ],
)
def test_the_estimate_is_above_the_measured_peak(arm, n, target):
    """In a process of its own: the growth of its peak resident memory over one training step."""
    program = f"""
        import re
        from pathlib import Path
        from toymodels import *
        from toymodels.engines import ENGINES
        train, bytes_needed = ENGINES["autograd"].train, ENGINES["autograd"].bytes_needed
        def make(k, batch):
            b = Bottleneck({arm}, tied=False)
            recipe = Training(steps=2, batch=batch)
            return [Experiment(Features({n}, 0.1), b, recipe, {target}, seed=s) for s in range(k)]
        def peak():  # of this process alone: ru_maxrss is inherited from whoever started it
            return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        train(make(2, 8))
        before = peak()
        big = make(16, 4096)
        train(big)
        print((peak() - before) / bytes_needed(big))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert 0.1 < float(result.stdout) < 1.0


def test_in_parts_the_newest_losses_are_of_all_models():
    es = [Experiment(Features(6, 0.3), Bottleneck(2), Training(60, 32), seed=seed) for seed in range(8)]
    told = []
    trained = train(es, memory_bytes=bytes_needed(es) // 4, engine="autograd", on_step=told.append)
    assert trained.sub_batches != (8,)
    assert {tuple(advance.losses.shape) for advance in told} == {(8,)}
    known = [int((~advance.losses.isnan()).sum()) for advance in told]
    assert known == sorted(known)
    assert (known[0], known[-1]) == (trained.sub_batches[0], 8)
    assert torch.equal(told[-1].losses, trained.curve[:, -1])
