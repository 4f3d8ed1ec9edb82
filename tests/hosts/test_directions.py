"""Directions: what writes a feature and what reads it, against closed forms and least squares."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import toymodels as tm
from tests.hosts.test_module import ARCHITECTURES, one_model
from tests.hosts.test_streaming import FEATURES, host
from toymodels.hosts.hosted import HostedModel
from toymodels.hosts.models import Models
from toymodels.parameters import turned
from toymodels.surroundings import torch_threads


def linear_host(W: torch.Tensor, features: tm.Features, norm: tm.LayerNorm | None = None) -> HostedModel:
    e = tm.Experiment(features, tm.Bottleneck(W.shape[0], layer_norm=norm, output_bias=False))
    eps = None if norm is None else torch.full((1,), 1e-5, dtype=torch.float64)
    return HostedModel(Models([e], tm.Parameters(W[None], ln_eps=eps)), "mid")


def test_without_superposition_reading_undoes_writing() -> None:
    W = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 3.0], [1.0, 0.0, 1.0]])
    found = linear_host(W, tm.Features(3, 0.4)).directions
    value = 0.5  # the mean of U(0, 1)
    torch.testing.assert_close(found.delta, value * W.T)
    torch.testing.assert_close(found.ridge @ found.delta.T, value * torch.eye(3), rtol=1e-3, atol=1e-3)
    # Of the read-outs that undo it, ridge is the shortest: the pseudo-inverse.
    torch.testing.assert_close(found.ridge, torch.linalg.pinv(W), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.ridge_r2, torch.ones(3), rtol=0, atol=1e-4)
    assert found.ridge_bias.abs().max() < 1e-3
    assert not found.up_to_common


@pytest.mark.parametrize(
    "name, tap", [("affine norm", "post"), ("decoder", "mid"), ("untied", "pre"), ("routed", "mid")]
)
def test_the_read_out_is_as_good_as_least_squares_on_other_samples(name: str, tap: str) -> None:
    of = host(name, tap)
    found, held_out = of.directions, of.sample(30_000, start=100_000)
    said = held_out.activations @ found.ridge.T + found.ridge_bias
    variance = held_out.x.var(0)
    r2 = 1 - (held_out.x - said).square().mean(0) / variance
    torch.testing.assert_close(r2, found.ridge_r2, rtol=0, atol=0.03)
    a = np.c_[held_out.activations.double().numpy(), np.ones(30_000)]
    best, *_ = np.linalg.lstsq(a, held_out.x.double().numpy(), rcond=None)
    r2_best = 1 - ((held_out.x.numpy() - a @ best) ** 2).mean(0) / variance.numpy()
    assert (r2.numpy() <= r2_best + 1e-4).all()
    assert (r2.numpy() >= r2_best - 0.01).all()


def test_features_in_superposition_are_read_elsewhere_than_they_are_written() -> None:
    W = torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    found = linear_host(W, tm.Features(2, 0.3)).directions
    cosine = torch.nn.functional.cosine_similarity(found.delta, found.ridge)
    torch.testing.assert_close(cosine, torch.full((2,), 0.6), rtol=1e-3, atol=1e-3)  # the sine of the angle between


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("tap", ["pre", "mid", "post"])
def test_delta_is_the_feature_alone_less_nothing(name: str, tap: str) -> None:
    of = host(name, tap)
    alone = torch.cat([0.5 * torch.eye(8), torch.zeros(8, 1)], 1)[None]
    response = getattr(tm.forward(of.models.bottleneck, of.models.parameters, alone), tap)[0]
    torch.testing.assert_close(of.directions.delta, (response[:, :-1] - response[:, -1:]).T)


def test_what_a_layer_norm_cannot_see_is_said_and_can_be_taken_out() -> None:
    W = torch.tensor([[2.0, -1.0, 0.3], [0.0, 1.0, 1.0], [0.5, 0.0, 3.0], [1.0, 0.0, -1.0]])
    plain, added = (linear_host(each, tm.Features(3, 0.4), tm.LayerNorm(affine=False)) for each in (W, W + 7.5))
    assert not torch.allclose(plain.directions.delta, added.directions.delta)
    assert plain.directions.up_to_common
    torch.testing.assert_close(plain.directions.gauged, added.directions.gauged, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain.directions.gauged.sum(1), torch.zeros(3))
    at = {tap: dataclasses.replace(plain, tap=tap).directions for tap in ("pre", "mid", "post")}
    assert [each.up_to_common for each in at.values()] == [True, True, False]
    assert torch.equal(at["post"].gauged, at["post"].delta)
    assert [host("affine norm", tap).directions.up_to_common for tap in at] == [False, True, False]
    assert not host("untied", "mid").directions.up_to_common


@pytest.mark.parametrize("name", ["affine norm", "untied"])
def test_permuting_neurons_permutes_the_directions(name: str) -> None:
    of, order = host(name), torch.tensor([3, 1, 5, 0, 2, 4])
    turned_too = turned(of.models.parameters, torch.eye(6)[order])
    own = {each: turned_too.present()[each][:, order] for each in ("ln_gain", "ln_bias") if name == "affine norm"}
    permuted = HostedModel(of.models.changed(dataclasses.replace(turned_too, **own))).directions
    torch.testing.assert_close(permuted.delta, of.directions.delta[:, order])
    torch.testing.assert_close(permuted.ridge_r2, of.directions.ridge_r2, rtol=0, atol=1e-4)
    # After a LayerNorm a combination of neurons is constant: of it a read-out has what rounding gives.
    loose = 3e-3 if name == "affine norm" else 1e-5
    torch.testing.assert_close(permuted.ridge, of.directions.ridge[:, order], rtol=0, atol=loose)


def test_a_signed_feature_has_two_directions() -> None:
    """|x| by two neurons a feature: each side has its own, and is read from it exactly."""
    W = torch.cat([torch.eye(3), -torch.eye(3)])
    e = tm.Experiment(tm.Features(3, 0.5, signed=True), tm.Bottleneck(6, tm.ReLU(), output=tm.Linear(), tied=False))
    parameters = tm.Parameters(W[None], torch.zeros(1, 3, 6), b_out=torch.zeros(1, 3))
    found = HostedModel(Models([e], parameters), "mid").directions
    torch.testing.assert_close(found.delta, 0.5 * torch.eye(6))
    torch.testing.assert_close(found.ridge, torch.eye(6), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.ridge_r2, torch.ones(6), rtol=0, atol=1e-4)


def test_a_feature_that_is_never_seen_is_undefined_and_not_read() -> None:
    features = tm.Features(3, 0.2, tm.Frequency(tm.Listed((1.0, 1.0, 1e-9))))
    found = linear_host(torch.eye(3), features).directions
    assert found.ridge_r2[:2].isfinite().all()
    assert found.ridge_r2[2].isnan()
    assert not found.ridge[2].any()
    assert found.delta[2].any()


def test_targets_that_are_not_of_features_change_no_direction() -> None:
    of, pairs = host("untied"), host("untied", features=FEATURES, target=tm.And(5))
    parameters = dataclasses.replace(one_model(ARCHITECTURES["untied"]), W_out=torch.rand(1, 5, 6), b_out=None)
    same = HostedModel(pairs.models.changed(parameters))
    assert torch.equal(same.directions.delta, of.directions.delta)
    assert torch.equal(same.directions.ridge, of.directions.ridge)


def test_they_are_the_same_bytes_on_two_threads() -> None:
    of = host("decoder", "mid")
    one = of.directions
    with torch_threads(2):
        two = HostedModel(of.models, "mid").directions
        assert torch.get_num_threads() == 2
    assert torch.equal(one.ridge, two.ridge)
    assert torch.equal(one.delta, two.delta)
