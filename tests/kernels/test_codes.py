"""Codes: each is the arithmetic of its class and of no other, and one that no kernel knows ends in NaN.

A firing law has none: it is thresholds on words, which the kernels are given.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from toymodels import And, Binary, Bottleneck, CrossEntropy, Experiment, Features, Linear, One, Softmax, Training
from toymodels.bottleneck import Parameters
from toymodels.engines import ENGINES
from toymodels.engines.fused import codes
from toymodels.engines.fused.batch import Batch
from toymodels.kernels import steps
from toymodels.kernels.workspace import workspace
from toymodels.training import experiment
from toymodels.training.experiment import sampler

FUSED, AUTOGRAD = ENGINES["fused"], ENGINES["autograd"]
TABLES: dict[str, dict[Any, int]] = {
    "activation": codes.ACTIVATION_CODES,
    "output": codes.OUTPUT_CODES,
    "target": codes.TARGET_CODES,
    "loss": codes.LOSS_CODES,
    "values": codes.VALUE_CODES,
    "optimizer": codes.OPTIMIZER_CODES,
}
KNOWN = [(role, kind) for role, table in TABLES.items() for kind in table]
UNKNOWN = [(role, code) for role in TABLES for code in (-1, 99)]
BASE = Experiment(
    Features(5, 0.4, signed=True),
    Bottleneck(3, Linear(), output=Linear(), tied=False, hidden_bias=True),
    Training(steps=4, batch=100, learning_rate=0.01),
    seed=7,
)


BITS = Features(5, 0.4, values=Binary())
EXCLUSIVE = Features(5, 1 / 5, values=Binary(), firing=One())


def of(role: str, kind: Any) -> Experiment:
    """The base with one choice of this class."""
    part = {"activation": "bottleneck", "output": "bottleneck", "values": "features", "optimizer": "training"}.get(role)
    if kind in (CrossEntropy, Softmax):
        return dataclasses.replace(BASE, features=BITS if kind is CrossEntropy else EXCLUSIVE, loss=kind())
    if part is None:
        return dataclasses.replace(BASE, **{role: kind(5) if kind is And else kind()})
    return dataclasses.replace(BASE, **{part: dataclasses.replace(getattr(BASE, part), **{role: kind()})})


def moved(e: Experiment) -> Parameters:
    """Parameters with hidden biases on both sides of 0."""
    start = experiment.start([e], sampler([e]))
    return dataclasses.replace(start, b_in=torch.tensor([[-0.6, 0.1, 0.9]]), b_out=torch.full((1, 5), -0.1))


@pytest.mark.parametrize("role, kind", KNOWN)
def test_every_code_gives_what_its_class_gives(role: str, kind: Any) -> None:
    e = of(role, kind)
    parameters = moved(e)
    (ours,) = FUSED.moments([e], parameters, [0, 1000])
    (exact,) = AUTOGRAD.moments([e], parameters.to("cpu", torch.float64), [0, 1000])
    assert ours.keys() == exact.keys()
    for key, values in exact.items():
        torch.testing.assert_close(ours[key], values, rtol=1e-4, atol=1e-3, check_dtype=False, msg=key)
    trained, truth = FUSED.train([e]), AUTOGRAD.train([e], dtype=torch.float64)
    for name, weights in truth.parameters.trained(e.bottleneck).items():
        torch.testing.assert_close(
            trained.parameters.trained(e.bottleneck)[name].double(), weights, rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("role", TABLES)
def test_no_two_classes_share_a_code_and_each_code_computes_something_of_its_own(role: str) -> None:
    table = TABLES[role]
    assert len(set(table.values())) == len(table)
    curves = [FUSED.train([of(role, kind)]).curve[0, -1].item() for kind in table]
    assert len(set(curves)) == len(table)


@pytest.mark.parametrize("role, code", UNKNOWN)
def test_a_code_that_no_kernel_knows_ends_in_nan(monkeypatch: pytest.MonkeyPatch, role: str, code: int) -> None:
    kind = next(iter(TABLES[role]))
    e = of(role, kind)
    monkeypatch.setitem(TABLES[role], kind, code)
    batch = Batch.of([e])
    before, work = batch.state.theta.copy(), workspace(batch.shape)
    steps.train(*batch.arguments(work), 0, 1, 1, 2)
    assert batch.state.diverged_step.tolist() == [1]
    assert (batch.state.theta == before).all()
    if role == "optimizer":
        assert np.isnan(work.update).all()
        return
    assert np.isnan(batch.state.curve[0, 0])
    (sums,) = FUSED.moments([e], moved(e), [0, 1000])
    assert sums["squared_loss"].isnan().all()
    lost = {"activation": "tap mid", "output": "y", "target": "t", "loss": "squared_error", "values": "t"}[role]
    assert sums[lost].isnan().all()
