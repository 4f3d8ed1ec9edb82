"""Scores of dictionaries: brute force, scikit-learn's F1, and what permuting features must do."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score
from torch import Tensor

from toymodels import Binary, Bottleneck, Experiment, Features, GeLU, LayerNorm, Linear, ReLU, SoLU, train
from toymodels.bottleneck import Parameters
from toymodels.hosts import Models
from toymodels.layer_norm import centred
from toymodels.metrics.dictionaries import Dictionary, Scores, TopK, activations, by_chance, fit, matching, score
from toymodels.metrics.dictionaries.detection import CHUNK
from toymodels.metrics.dictionaries.scores import BY_FEATURE
from toymodels.responses import mean_active_values, responses
from toymodels.training.recipe import Training


def planted(seed: int, n_models: int = 2, n: int = 7, latents: int = 9, samples: int = 300):
    """A random dictionary on random data: nothing is recovered, everything is counted."""
    g = torch.Generator().manual_seed(seed)
    hidden = 4
    decoder = torch.randn(n_models, hidden, latents, generator=g)
    decoder /= decoder.norm(dim=1, keepdim=True)
    d = Dictionary(
        decoder,
        decoder.transpose(1, 2),
        -0.5 * torch.ones(n_models, latents),
        torch.zeros(n_models, hidden),
        torch.full((n_models,), 2.0),
    )
    active = torch.rand(n_models, n, samples, generator=g) < 0.2
    truth = torch.randn(n_models, hidden, n, generator=g)
    return d, truth @ active.float(), active, truth


ANGLE = torch.arange(5) * 2 * math.pi / 5
PENTAGON = torch.stack([ANGLE.cos(), ANGLE.sin()])[None]
"""Directions [model 1, hidden 2, feature 5]."""


def permuted(s: Scores, order: Tensor) -> dict[str, Tensor]:
    return {name: getattr(s, name)[:, order] for name in (*BY_FEATURE, "latent")}


def test_what_a_layer_norm_cannot_see_changes_no_score() -> None:
    """W_in + 1 v' is the same model as W_in, and D + 1 w' then the same dictionary."""
    g = torch.Generator().manual_seed(0)
    W, v, w = torch.randn(1, 8, 6, generator=g), torch.randn(1, 1, 6, generator=g), torch.randn(1, 1, 6, generator=g)
    e = Experiment(Features(6, 0.3), Bottleneck(8, layer_norm=LayerNorm(affine=False), output_bias=False))
    eps = torch.full((1,), 1e-5, dtype=torch.float64)

    def scored(added: float, *, gauged: bool) -> Scores:
        host = Models([e], Parameters(W + added * v, ln_eps=eps))
        a, active = activations(host, "mid", 0, 500)
        delta = host.directions("mid")
        E = centred(W).transpose(1, 2)  # reads what is about the mean over neurons
        found = Dictionary(centred(W) + added * w, E, -0.5 * torch.ones(1, 6), 0.1 * torch.randn(1, 8, generator=g))
        return score(found, a, active, delta, up_to_common=gauged)

    g.manual_seed(1)
    plain = scored(0, gauged=True)
    g.manual_seed(1)
    moved = scored(2, gauged=True)
    for each in fields(Scores):
        torch.testing.assert_close(getattr(moved, each.name), getattr(plain, each.name), rtol=1e-4, atol=1e-5)
    assert plain.mcc.item() == pytest.approx(1, abs=1e-6)
    assert scored(2, gauged=False).mcc.item() < 0.95
    assert plain.mmcs_by_chance.item() == pytest.approx(by_chance(W[:, :7], 6).mmcs.item())  # one dimension less


def mirrored_pentagon() -> Scores:
    """A dictionary that points the wrong way, on the data of a model whose features are a pentagon."""
    g = torch.Generator().manual_seed(0)
    encoder = -PENTAGON.transpose(1, 2).contiguous()
    d = Dictionary(-PENTAGON, encoder, torch.full((1, 5), -0.5), torch.zeros(1, 2), torch.ones(1))
    x = torch.rand(1, 5, 20_000, generator=g) * (torch.rand(1, 5, 20_000, generator=g) < 0.02)
    return score(d, PENTAGON @ x, x != 0, PENTAGON)


def test_a_mirrored_dictionary_does_not_score_one():
    s = mirrored_pentagon()
    assert s.mmcs.item() == pytest.approx(math.cos(math.radians(36)))
    assert s.mmcs_absolute.item() == pytest.approx(1)
    assert s.f1.nanmean().item() < 0.05


@pytest.mark.parametrize("samples", [300, CHUNK + 37])
def test_scores_by_scikit_learn_and_by_hand(samples):
    d, a, active, truth = planted(1, samples=samples)
    s = score(d, a, active, truth)
    f, a_hat = d.encode(a), d.decode(d.encode(a))
    for m in range(2):
        for i in range(7):
            on, fires = active[m, i].numpy(), (f[m, s.latent[m, i]] > 0).numpy()
            for ours, theirs in ((s.f1, f1_score), (s.precision, precision_score), (s.recall, recall_score)):
                assert ours[m, i].item() == pytest.approx(theirs(on, fires))
            v, on = truth[m, :, i].double(), active[m, i]
            effect, effect_hat = (
                v @ (x[:, on].mean(1) - x[:, ~on].mean(1)) for x in (a[m].double(), a_hat[m].double())
            )
            assert s.kept[m, i].item() == pytest.approx((effect_hat / effect).item(), rel=1e-4)
        variance = a[m].double().var(1, correction=0).sum()
        assert s.unexplained[m].item() == pytest.approx(
            ((a - a_hat)[m].square().sum() / samples / variance).item(), 1e-4
        )
        cosines = torch.nn.functional.cosine_similarity(d.decoder[m].T[:, None], truth[m].T[None], dim=2).abs()
        closest = cosines.argmax(1)
        assert s.uniqueness[m].item() == pytest.approx(len(set(closest.tolist())) / 9)
        each = [f1_score(active[m, i].numpy(), (f[m, j] > 0).numpy()) for j, i in enumerate(closest.tolist())]
        assert s.classification_f1[m].item() == pytest.approx(np.mean(each))
    assert s.shrinkage.tolist() == pytest.approx((a_hat.norm(dim=1).mean(1) / a.norm(dim=1).mean(1)).tolist(), rel=1e-5)
    assert s.r2.tolist() == pytest.approx((1 - s.unexplained).tolist())
    assert s.l0.tolist() == pytest.approx((f > 0).sum(1).double().mean(1).tolist())
    assert s.mcc.tolist() == pytest.approx(s.cosine.mean(1).tolist())
    assert s.mmcs.tolist() == pytest.approx(s.max_cosine.mean(1).tolist())
    assert s.mmcs_absolute.tolist() == pytest.approx(s.max_absolute_cosine.mean(1).tolist())


def test_a_perfect_dictionary_scores_perfectly():
    n = 5
    eye = torch.eye(n)[None]
    d = Dictionary(eye, eye, torch.zeros(1, n), torch.zeros(1, n), torch.ones(1))
    torch.manual_seed(0)
    active = torch.rand(1, n, 500) < 0.3
    s = score(d, active.float(), active, eye)
    assert s.latent.tolist() == [list(range(n))]
    for measured in (*(getattr(s, name) for name in BY_FEATURE), s.mcc, s.mmcs, s.mmcs_absolute, s.mcc_matched):
        assert (measured == 1).all()
    for measured in (s.uniqueness, s.classification_f1, s.r2, s.shrinkage):
        assert (measured == 1).all()
    assert s.unexplained.item() == 0
    assert s.l0.item() == pytest.approx(active.float().sum(1).mean().item())
    assert s.dead_latents.item() == 0


def test_a_perfect_dictionary_in_superposition_scores_perfectly():
    """Five features in two dimensions, one at a time: directions at angles, every latent a perfect detector."""
    g = torch.Generator().manual_seed(0)
    which = torch.randint(6, (4000,), generator=g)  # 5 is none
    active = (torch.arange(5)[:, None] == which)[None]
    bias = torch.full((1, 5), -0.5)  # above cos 72 degrees
    d = Dictionary(PENTAGON / 0.5, PENTAGON.transpose(1, 2), bias)
    s = score(d, PENTAGON @ active.float(), active, PENTAGON)
    for measured in (*(getattr(s, name) for name in BY_FEATURE), s.mcc, s.mmcs, s.uniqueness, s.r2, s.shrinkage):
        torch.testing.assert_close(measured, torch.ones_like(measured), rtol=0, atol=1e-5)


def test_what_shrinks_is_seen_by_feature():
    """Latents at half of their features: half is kept, whatever else is active."""
    torch.manual_seed(0)
    eye, active = torch.eye(4)[None], torch.rand(1, 4, 3000) < 0.3
    d = Dictionary(eye * torch.tensor([1.0, 0.5, 0.25, 2.0]), eye)
    s = score(d, active.float(), active, eye)
    assert s.kept[0].tolist() == pytest.approx([1, 0.5, 0.25, 2], rel=1e-5)
    always = score(d, active.float() + 1, torch.ones_like(active), eye)
    assert always.kept.isnan().all()


def test_directions_alone_have_no_detectors():
    d, a, active, truth = planted(3)
    d = Dictionary(d.decoder, d.decoder.transpose(1, 2))
    found, alone = score(d, a, active, truth), score(Dictionary(d.decoder), a, active, truth)
    assert (found.dead_latents == 0).all()
    same = ("cosine", "max_cosine", "max_absolute_cosine", "latent", "mcc", "mcc_matched", "mcc_by_chance", "mmcs")
    for name in (*same, "mmcs_by_chance", "mmcs_absolute", "mmcs_absolute_by_chance", "uniqueness"):
        assert torch.equal(getattr(alone, name), getattr(found, name)), name
    for name in ("precision", "recall", "f1", "kept", "classification_f1", "l0", "unexplained", "r2", "shrinkage"):
        assert getattr(alone, name).shape == getattr(found, name).shape
        assert getattr(alone, name).isnan().all(), name
    assert alone.dead_latents.isnan().all()


def test_means_over_a_tier_leave_out_what_is_undefined():
    d, a, active, truth = planted(2)
    active[:, 0] = False
    s = score(d, a, active, truth)
    tier = torch.tensor([[1, 1, 1, 2, 2, 0, 0], [1, 1, 2, 2, 2, 2, 2]])
    means = s.means(tier == 1)
    assert set(means) == set(BY_FEATURE)
    assert means["cosine"].tolist() == pytest.approx([s.cosine[0, :3].mean().item(), s.cosine[1, :2].mean().item()])
    assert means["f1"].tolist() == pytest.approx([s.f1[0, 1:3].mean().item(), s.f1[1, 1].item()])
    assert s.means(tier == 0)["f1"].isnan().tolist() == [False, True]


def test_dead_latents_unmatched_and_unseen_features():
    n = 4
    eye = torch.eye(n)[None]
    bias = torch.tensor([[0.0, 0.0, -5.0, 0.0]])  # latent 2 never fires
    d = Dictionary(eye, eye, bias, torch.zeros(1, n), torch.ones(1))
    torch.manual_seed(0)
    active = torch.rand(1, n, 400) < 0.5
    active[:, 3] = False
    s = score(d, active.float(), active, eye)
    assert s.dead_latents.item() == 2
    assert s.latent.tolist() == [[0, 1, -1, -1]]
    assert s.f1[0, :3].tolist() == [1, 1, 0]
    assert s.f1[0, 3].isnan()
    assert s.mcc.item() == pytest.approx(0.5)
    assert s.mcc_matched.item() == pytest.approx(1)


def test_silence_is_scored():
    d, a, active, truth = planted(0)
    s = score(fit(torch.zeros_like(a), TopK(2), 9, [0, 1], 20), torch.zeros_like(a), active, truth)
    assert s.mcc.tolist() == s.mmcs.tolist() == s.mmcs_absolute.tolist() == s.l0.tolist() == [0, 0]
    assert (s.f1 == 0).all()
    assert s.dead_latents.tolist() == [9, 9]
    assert s.unexplained.isnan().all()
    assert s.mcc_matched.isnan().all()
    assert d.decoder.shape[2] == 9


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.permutations(range(7)))
def test_permuting_features_permutes_their_scores(seed, order):
    d, a, active, truth = planted(seed)
    order = torch.tensor(order)
    before, after = score(d, a, active, truth), score(d, a, active[:, order], truth[:, :, order])
    for name, expected in permuted(before, order).items():
        torch.testing.assert_close(getattr(after, name), expected, equal_nan=True)
    torch.testing.assert_close(after.mcc, before.mcc)
    assert torch.equal(after.l0, before.l0)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.permutations(range(9)))
def test_permuting_latents_renames_them(seed, order):
    d, a, active, truth = planted(seed)
    order = torch.tensor(order)
    assert d.encoder is not None
    assert d.encoder_bias is not None
    renamed = Dictionary(d.decoder[:, :, order], d.encoder[:, order], d.encoder_bias[:, order], d.decoder_bias, d.scale)
    before, after = score(d, a, active, truth), score(renamed, a, active, truth)
    assert torch.equal(torch.where(after.latent >= 0, order[after.latent], -1), before.latent)
    torch.testing.assert_close(after.f1, before.f1, equal_nan=True)
    for name in ("mcc", "uniqueness", "classification_f1", "l0", "shrinkage", "dead_latents"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), msg=name)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.lists(st.sampled_from([-1.0, 1.0]), min_size=9, max_size=9))
def test_of_directions_alone_the_sign_does_not_matter(seed, signs):
    d, a, active, truth = planted(seed)
    before, after = (score(Dictionary(D), a, active, truth) for D in (d.decoder, d.decoder * torch.tensor(signs)))
    for name in ("cosine", "max_absolute_cosine", "latent", "mcc", "mcc_matched", "mmcs_absolute", "uniqueness"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), msg=name)


# ---------------------------------------------------------------------------------------------------------------- truth


def small_models(hidden_bias: bool = False) -> tuple[list[Experiment], Parameters]:
    bottleneck = Bottleneck(6, SoLU(), LayerNorm(), hidden_bias=hidden_bias)
    es = [Experiment(Features(10, 0.1, values=Binary()), bottleneck, Training(steps=50), seed=s) for s in range(3)]
    return es, train(es).parameters


@pytest.mark.parametrize("tap", ["pre", "mid", "post"])
def test_activations_are_each_models_own_stream(tap):
    es, parameters = small_models()
    a, active = activations(Models(es, parameters), tap, 8, 100)
    assert a.shape == (3, 6, 100)
    assert active.shape == (3, 10, 100)
    assert active.dtype == torch.bool
    alone, active_alone = activations(Models(es[1:2], parameters[1:2]), tap, 0, 108)
    torch.testing.assert_close(alone[:, :, 8:], a[1:2])
    assert torch.equal(active_alone[:, :, 8:], active[1:2])


@pytest.mark.parametrize("hidden_bias", [False, True])
def test_directions_are_responses_at_mid(hidden_bias):
    es, parameters = small_models(hidden_bias)
    values = mean_active_values(es, parameters.W_in)
    expected = responses(Bottleneck(parameters.W_in.shape[1], SoLU()), parameters, values)
    torch.testing.assert_close(Models(es, parameters).directions("mid"), expected)
    torch.testing.assert_close(Models(es, parameters).directions("pre"), parameters.W_in * values[:, None, :])
    assert Models(es, parameters).directions("post").shape == (3, 6, 10)


def signed_relu_pairs() -> tuple[list[Experiment], Parameters]:
    """Each of three signed features has two neurons, one that answers to each of its signs."""
    eye = torch.eye(3)
    es = [Experiment(Features(3, 0.3, signed=True), Bottleneck(6, ReLU(), None, Linear(), tied=False))]
    return es, Parameters(W_in=torch.cat([eye, -eye])[None], W_out=torch.cat([eye, -eye], 1)[None])


def test_a_signed_feature_has_a_direction_a_side():
    es, parameters = signed_relu_pairs()
    assert torch.equal(Models(es, parameters).directions("mid")[0], 0.5 * torch.eye(6))
    values = mean_active_values(es, parameters.W_in)
    pre = parameters.W_in * values[:, None, :]
    assert torch.equal(Models(es, parameters).directions("pre"), torch.cat([pre, -pre], 2))


def test_a_signed_feature_is_active_on_one_side_at_a_time():
    es, parameters = signed_relu_pairs()
    a, active = activations(Models(es, parameters), "mid", 0, 4096)
    assert torch.equal(active, a > 0)  # here neuron k answers to side k alone
    both = active.unflatten(1, (2, 3))
    assert not both.all(1).any()
    assert both.any(1).float().mean().item() == pytest.approx(0.3, abs=0.02)


def test_the_sides_of_signed_features_are_all_found_by_a_latent_each():
    es, parameters = signed_relu_pairs()
    a, active = activations(Models(es, parameters), "mid", 0, 4096)
    eye = torch.eye(6)[None]
    d = Dictionary(eye, eye, torch.zeros(1, 6), torch.zeros(1, 6), torch.ones(1))
    s = score(d, a, active, Models(es, parameters).directions("mid"), signed=True)
    assert s.latent.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert s.f1.tolist() == [[1.0] * 6]
    assert s.mcc.item() == s.mmcs.item() == 1


def test_a_trained_model_end_to_end_beats_a_random_dictionary():
    e = [Experiment(Features(20, 0.06), Bottleneck(10, GeLU(), tied=False), Training(steps=800, learning_rate=3e-3))]
    parameters = train(e).parameters
    a, _ = activations(Models(e, parameters), "mid", 0, 8000)
    held_out, active = activations(Models(e, parameters), "mid", 8000, 4000)
    truth = Models(e, parameters).directions("mid")
    s = score(fit(a, TopK(1), 32, [0], 800, batch=256), held_out, active, truth)
    chance = np.mean([matching(torch.randn(1, 10, 32), truth).cosine.mean().item() for _ in range(10)])
    assert s.mcc.item() > chance + 0.05
    assert not math.isnan(s.f1.mean().item())
