"""Surroundings: whatever a process has set for PyTorch and NumPy, the same bits, and its settings left as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import toymodels as tm
from toymodels import random, rotations, surgery
from toymodels.engines import ENGINES
from toymodels.hosts import Models
from toymodels.hypotheses import battery, measuring
from toymodels.hypotheses.constructed import CONSTRUCTIONS, regime
from toymodels.laws import probabilities
from toymodels.metrics import dictionaries
from toymodels.surroundings import torch_threads

FEATURES = tm.Features(
    6, 0.2, tm.Frequency(tm.Zipf(1.0)), tm.Importance(tm.Geometric(0.9), shuffle=True), tm.Binary(), signed=True
)
EXPERIMENTS = [
    tm.Experiment(
        FEATURES, tm.Bottleneck(3, tm.SoLU(), tm.LayerNorm(tm.Matched()), tm.Linear()), tm.Training(20, 16), seed=seed
    )
    for seed in range(3)
]
PARAMETERS = tm.train(EXPERIMENTS).parameters
EPS = "matched"


def trained(by: Callable[..., tm.Trained]) -> dict[str, Any]:
    done = by(EXPERIMENTS)
    return {**done.parameters.present(), "curve": done.curve}


def one_after_another(engine: str) -> dict[str, Any]:
    batches = [each for each in ENGINES[engine].train_each([EXPERIMENTS] * 2) if isinstance(each, tm.Trained)]
    return {f"W_in of {number}": each.parameters.W_in for number, each in enumerate(batches)}


def measured() -> dict[str, Any]:
    found = tm.measure(EXPERIMENTS, PARAMETERS, samples=512)
    assert not found.failed
    return {**found.models, **found.features, **found.neurons}


def sought() -> dict[str, Any]:
    a, active = dictionaries.activations(Models(EXPERIMENTS, PARAMETERS), "mid", 0, 512)
    directions = Models(EXPERIMENTS, PARAMETERS).directions("mid")
    l0 = active.double().sum(1).mean(1)
    choice = dictionaries.choose(a, a, l0, 5, [0, 1, 2], penalties=(0.1, 0.3), steps=20, batch=32)
    top = dictionaries.fit(a, dictionaries.TopK(2), 5, [0, 1, 2], steps=20, batch=32)
    nested = dictionaries.Matryoshka(dictionaries.BatchTopK(1.5), (2,))
    others = [dictionaries.fit(a, kind, 5, [0, 1, 2], steps=20, batch=32) for kind in (nested, dictionaries.JumpReLU())]
    scores = dictionaries.score(top, a, active, directions)
    thresholds = {f"threshold {i}": other.threshold for i, other in enumerate(others)}
    return {"a": a, "directions": directions, "l0": choice.l0, **vars(top), **vars(scores), **thresholds}


def operated_on() -> dict[str, Any]:
    return {
        "mean": surgery.geometric_mean_scale(Models(EXPERIMENTS, PARAMETERS), 256),
        "best": surgery.loss_optimal_scale(Models(EXPERIMENTS, PARAMETERS), 256),
        **surgery.refit(Models(EXPERIMENTS, PARAMETERS), samples=256).parameters.present(),
    }


def drawn() -> dict[str, Any]:
    sampler = tm.Sampler([FEATURES] * 3, [0, 1, 2])
    as_elsewhere = tm.Sampler([FEATURES] * 3, [0, 1, 2])
    vars(as_elsewhere)["_on_cpu"] = as_elsewhere._elsewhere.in_torch  # as on a device that is no CPU
    return {
        "training": sampler.training(3, 64),
        "evaluation": sampler.evaluation(64, 64),
        "in torch": as_elsewhere.training(3, 64),
        "words": random.words_torch(random.seed_keys(torch.from_numpy(sampler.seeds)), 3, 8, 0, random.Domain.DATA),
        "rotations": rotations.haar(np.arange(2), 3, 0),
        "rare": probabilities(tm.Geometric(0.01), 161, 0.001),
        "unimportant": tm.Features(400, 0.1, importance=tm.Importance(tm.Zipf(400.0))).importance.weights(400, 0),
    }


def judged() -> dict[str, Any]:
    evidence = measuring.gather(regime(CONSTRUCTIONS[0], 4, tm.Binary(), [0, 1], EPS), EPS, 1024)
    found = battery.statistics(evidence)
    numbers = {
        f"{name} {p} {n}": v for name, arm in evidence.arms.items() for p, of in arm.items() for n, v in of.items()
    }
    for setting, at in found.at.items():
        numbers |= {f"{setting} {p} {kind}": v for p, of in at.numbers.items() for kind, v in of.items()}
    return numbers


WORK: dict[str, Callable[[], dict[str, Any]]] = {
    "train": lambda: trained(tm.train),
    "train with autograd": lambda: trained(ENGINES["autograd"].train),
    "train fused": lambda: trained(ENGINES["fused"].train),
    "train each": lambda: one_after_another("fused"),
    "train each with autograd": lambda: one_after_another("autograd"),
    "measure": measured,
    "dictionaries": sought,
    "surgery": operated_on,
    "draw": drawn,
    "hypotheses": judged,
}


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")  # stands for "cuda" where there is none
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu"),
    "default dtype": default_dtype,
    "default device": default_device,
    "a device around it": lambda: torch.device("meta"),
    "NumPy raises": lambda: np.errstate(all="raise"),
    "NumPy is silent": lambda: np.errstate(all="ignore"),
}


def state() -> tuple[Any, ...]:
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    return (*modes, torch.get_default_dtype(), torch.get_default_device(), np.geterr())


def bits(value: Any) -> bytes | str | None:
    if isinstance(value, Tensor):
        assert not value.is_inference()
        value = value.detach().numpy()
    return value if value is None or isinstance(value, str) else np.ascontiguousarray(value).tobytes()


@cache
def undisturbed(work: str) -> dict[str, Any]:
    return {name: bits(value) for name, value in WORK[work]().items()}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("work", WORK)
def test_the_same_bits_and_the_settings_left_alone(work: str, setting: str) -> None:
    expected = undisturbed(work)
    with SETTINGS[setting]():
        before = state()
        found = WORK[work]()
        assert state() == before
    assert {name: bits(value) for name, value in found.items()} == expected


@pytest.mark.parametrize("engine", ["fused", "autograd"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_between_two_batches_the_settings_are_the_callers(setting: str, engine: str) -> None:
    with SETTINGS[setting]():
        before = state()
        each = ENGINES[engine].train_each([EXPERIMENTS] * 3)
        for _ in range(2):
            next(each)
            assert state() == before
        each.close()
        assert state() == before


def test_a_failure_leaves_the_settings_alone() -> None:
    with torch.no_grad(), default_dtype(), np.errstate(all="raise"):
        before = state()
        with pytest.raises(ValueError, match="engine: expected"):
            tm.train(EXPERIMENTS, engine="none")
        assert state() == before


def test_forward_follows_the_callers_gradient_mode() -> None:
    x, W = torch.ones(3, 6, 1), PARAMETERS.W_in.clone().requires_grad_()
    parameters = tm.Parameters(W, b_out=PARAMETERS.b_out, ln_eps=PARAMETERS.ln_eps)
    assert tm.forward(EXPERIMENTS[0].bottleneck, parameters, x).out.requires_grad
    with torch.no_grad():
        assert not tm.forward(EXPERIMENTS[0].bottleneck, parameters, x).out.requires_grad


def test_threads_are_set_meanwhile_and_put_back_whatever_happens() -> None:
    before, seen = torch.get_num_threads(), []

    def broken() -> None:
        with torch_threads(before + 1):
            seen.append(torch.get_num_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert (seen, torch.get_num_threads()) == ([before + 1], before)
