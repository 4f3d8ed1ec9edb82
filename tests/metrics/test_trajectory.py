"""Trajectories: the last snapshot is the trained model, and each is what it would be alone, in parts of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import toymodels as tm
from toymodels.bottleneck import Parameters
from toymodels.metrics import trajectory as module
from toymodels.metrics.geometry import dimensionality
from toymodels.metrics.trajectory import trajectory
from toymodels.training.experiment import sampler

E = tm.Experiment(
    tm.Features(n=6, density=0.2, importance=tm.Importance(tm.Geometric(0.7))),
    tm.Bottleneck(hidden=3),
    tm.Training(steps=60, batch=32, snapshots=12),
    seed=4,
)


def kept() -> tuple[np.ndarray, Parameters, Parameters]:
    trained = tm.train([E], engine="autograd")
    snapshots = Parameters(**{name: tensor[0] for name, tensor in trained.snapshots.items()})
    return trained.snapshot_step, snapshots, trained.parameters


def test_a_trajectory_is_what_each_snapshot_says_alone_in_float64() -> None:
    step, snapshots, final = kept()
    found = trajectory(E, step, snapshots, 500)
    assert found.dimensionality.shape == (6, len(step))
    assert found.dimensionality[:, -1] == pytest.approx(dimensionality(final.W_in.double())[0].numpy())
    x = sampler([E]).evaluation(0, 500)[0].double()
    importance = torch.from_numpy(E.importance())
    for place in (0, 5, len(step) - 1):
        W, b = snapshots.W_in[place].double(), snapshots.b_out[place].double()  # pyright: ignore[reportOptionalSubscript]
        y = torch.relu(W.T @ (W @ x) + b[:, None])
        loss = float(importance @ (y - x).square().mean(1))
        assert found.loss_fraction[place] == pytest.approx(loss / E.best_constant_loss(), rel=1e-5)


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    step, snapshots, _ = kept()
    whole = trajectory(E, step, snapshots, 200)
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 200 * 6 * 5)
    assert trajectory(E, step, snapshots, 200).loss_fraction == pytest.approx(whole.loss_fraction, rel=1e-6)


def test_features_and_neurons_in_another_order_are_the_same_trajectory() -> None:
    step, snapshots, _ = kept()
    equal = tm.Experiment(tm.Features(n=6, density=0.2), E.bottleneck, E.training, seed=4)
    turned = Parameters(snapshots.W_in[:, [2, 0, 1]], b_out=snapshots.b_out)
    first, second = (trajectory(equal, step, each, 300) for each in (snapshots, turned))
    assert second.loss_fraction == pytest.approx(first.loss_fraction, rel=1e-5)
    assert second.dimensionality == pytest.approx(first.dimensionality)
