"""Replaced masks: GeLU is ReLU where z is large and half of z where it is small."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.hypotheses.linearisation.conftest import M, N, experiments_of, parameters_of, with_neurons_in_order
from toymodels import Features, GeLU, LayerNorm, Parameters, ReLU, forward
from toymodels.hosts import Models
from toymodels.hypotheses.linearisation.replaced import replaced
from toymodels.metrics.loss import loss_fraction
from toymodels.metrics.moments import collect
from toymodels.training.experiment import sampler


def scaled(parameters: Parameters, size: float) -> Parameters:
    assert parameters.b_in is not None
    return dataclasses.replace(
        parameters,
        W_in=size * parameters.W_in,
        b_in=size * parameters.b_in,
        W_out=parameters.decoder / size,
    )


@pytest.mark.parametrize("norm", [None, LayerNorm()])
def test_an_activation_in_its_own_place_costs_nothing(norm: LayerNorm | None) -> None:
    experiments = experiments_of(GeLU(), norm)
    of = replaced(Models(experiments, parameters_of(experiments)), GeLU(), 512)
    assert of.added.tolist() == of.refitted.tolist() == [0, 0]
    assert of.kept.tolist() == [1, 1]


def test_of_large_pre_activations_relus_mask_is_gelus() -> None:
    experiments = experiments_of(GeLU())
    large = scaled(parameters_of(experiments), 1e4)
    of = replaced(Models(experiments, large), ReLU(), 1024)
    assert of.added.abs().max() < 1e-3
    assert of.refitted.abs().max() < 1e-3
    assert (of.kept > 0.999).all()


def test_of_small_symmetric_pre_activations_it_keeps_nothing() -> None:
    """gelu(z) -> z / 2 and relu(z) - z / 2 = |z| / 2, whose mean square is that of z / 2."""
    (like, *_) = experiments_of(GeLU(), binary=False)
    e = dataclasses.replace(like, features=Features(N, 0.3, signed=True))
    p = scaled(parameters_of([e]), 1e-4)
    assert p.b_in is not None
    p = dataclasses.replace(p, b_in=torch.zeros_like(p.b_in))
    assert replaced(Models([e], p), ReLU(), 8192).kept.item() == pytest.approx(0, abs=0.01)


def test_what_is_added_is_the_difference_of_loss_fractions_and_mid_is_kept_as_by_hand() -> None:
    experiments = experiments_of(GeLU(), LayerNorm())
    p = parameters_of(experiments)
    of = replaced(Models(experiments, p), ReLU(), 1024)
    changed = [
        dataclasses.replace(e, bottleneck=dataclasses.replace(e.bottleneck, activation=ReLU())) for e in experiments
    ]
    both = Models(changed, p), Models(experiments, p)
    fractions = [loss_fraction(each, collect(each, 1024, 1024)) for each in both]
    torch.testing.assert_close(of.added, fractions[0] - fractions[1])
    x = sampler(experiments).evaluation(1024, 1024).double()
    mids = [forward(each[0].bottleneck, p, x).mid for each in (changed, experiments)]
    other, own = (mid - mid.mean(1, keepdim=True) for mid in mids)
    error, spread = (other - own).square().mean(2).sum(1), (own - own.mean(2, keepdim=True)).square().mean(2).sum(1)
    torch.testing.assert_close(of.kept, 1 - error / spread)


def test_the_order_of_neurons_means_nothing() -> None:
    experiments = experiments_of(GeLU(), LayerNorm())
    p = parameters_of(experiments)
    one, other = (
        replaced(Models(experiments, each), ReLU(), 512)
        for each in (p, with_neurons_in_order(p, np.arange(M)[::-1].copy()))
    )
    for name in ("added", "refitted", "kept"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-8)
