"""Models are hosts: what the protocol says of them is what the arithmetic of this package says, engine or no engine."""

from __future__ import annotations

import pytest
import torch

from toymodels import (
    Binary,
    Bottleneck,
    Embedding,
    Experiment,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    Parameters,
    SoLU,
    forward,
    train,
)
from toymodels.engines.moment_table import TABLE
from toymodels.hosts import Host, Models
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.constructed import CONSTRUCTIONS, regime
from toymodels.losses import Power
from toymodels.rotations import rotations_of
from toymodels.surgery import FrozenNorm, KeepLargest, norm_statistics, operate
from toymodels.training.experiment import sampler, target_of
from toymodels.training.recipe import Training

HOSTS = {
    "bottleneck": Bottleneck(4, GeLU()),
    "solu+LN": Bottleneck(4, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True),
    "decoder": Bottleneck(5, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True, embedding=Embedding(3)),
}


@pytest.fixture(scope="module", params=HOSTS.values(), ids=[*HOSTS])
def models(request) -> Models:
    es = [
        Experiment(Features(6, 0.3, values=Binary()), request.param, Training(steps=30, batch=64), seed=k)
        for k in range(3)
    ]
    return Models(es, train(es, device="cpu").parameters)


def test_examples_are_the_models_own_evaluation_stream(models):
    examples = models.examples(64, 128)
    x = sampler(models.experiments).evaluation(64, 128)
    assert torch.equal(examples.x, x)
    assert torch.equal(examples.t, target_of(models.experiments)(x))
    assert torch.equal(examples.active, x != 0)
    parts = [each.x for each in models.batches(64, 128, 48)]
    assert [part.shape[2] for part in parts] == [48, 48, 32]
    assert torch.equal(torch.cat(parts, 2), x)


def test_taps_are_the_forward_pass_and_surgery(models):
    x = models.examples(0, 64).x
    of = models.bottleneck, models.parameters
    assert torch.equal(models.taps(x).out, forward(*of, x).out)
    assert torch.equal(models.taps(x, KeepLargest(2)).out, operate(*of, x, KeepLargest(2)).out)
    if models.bottleneck.layer_norm is None:
        with pytest.raises(ValueError, match="LayerNorm"):
            models.scale(models.taps(x).mid)
        return
    mean, scale = models.scale(models.taps(x).mid)
    for ours, theirs in zip((mean, scale), norm_statistics(*of, models.taps(x).mid), strict=True):
        assert torch.equal(ours, theirs)
    torch.testing.assert_close(models.taps(x, FrozenNorm(scale, mean)).out, models.taps(x).out)


def test_what_any_host_computes_is_what_the_engine_does(models):
    """The generic sums of `Host`, by torch operations, against those of the engine that models use."""
    edges = [0, 512, 1024]
    ours, engines = Host.moments(models, edges), models.moments(edges)
    for a, b in zip(ours, engines, strict=True):
        for row in TABLE:
            torch.testing.assert_close(a[row.key], b[row.key].to(a[row.key]), rtol=1e-4, atol=1e-3)
    rotations = rotations_of(models.bottleneck, 5, 0)
    found = Host.rotated_r2(models, rotations, 0, 512), models.rotated_r2(rotations, 0, 512)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_without_is_the_input_without_the_feature(models):
    one = models[1:2]
    examples = one.examples(0, 256)
    _, feature, sample = examples.active.nonzero(as_tuple=True)
    pre = one.taps(examples.x).pre
    x = examples.x[:, :, sample].clone()
    x[0, feature, torch.arange(len(sample))] = 0
    torch.testing.assert_close(one.without(examples, pre, feature, sample), one.taps(x).pre, rtol=1e-5, atol=1e-6)


def test_rest_and_directions_are_of_nothing_and_of_one_feature(models):
    x = torch.zeros(3, 6, 1)
    torch.testing.assert_close(models.rest().post, models.taps(x).post)
    alone = torch.eye(6).expand(3, -1, -1)
    expected = models.taps(alone).mid - models.taps(x).mid
    torch.testing.assert_close(models.directions("mid"), expected)


def test_changed_keeps_the_data_and_each_models_own_settings(models):
    other = models.changed(models.parameters, lambda b: Bottleneck(b.hidden, GeLU(), tied=False), loss=Power(4))
    assert [e.seed for e in other.experiments] == [0, 1, 2]
    assert {type(e.bottleneck.activation) for e in other.experiments} == {GeLU}
    assert other.cost == Power(4)
    assert torch.equal(other.examples(0, 64).x, models.examples(0, 64).x)


def test_constructed_models_are_hosts():
    arm = regime(CONSTRUCTIONS[0], 16, Binary(), [0, 1], "1e-05", counterparts=False).arms[MAIN]
    assert isinstance(arm, Host)
    assert arm.taps(arm.examples(0, 8).x).post.shape == (2, 16, 8)


def test_models_of_several_structures_or_other_numbers_are_refused(models):
    with pytest.raises(ValueError, match="of 3 models, got 2"):
        Models(models.experiments, models.parameters[:2])
    unlike = [*models.experiments[:2], Experiment(Features(6, 0.3), Bottleneck(2))]
    with pytest.raises(ValueError, match="one structure"):
        Models(unlike, models.parameters)
    with pytest.raises(ValueError, match="at least one"):
        Models([], Parameters(W_in=torch.zeros(0, 4, 6)))
