"""Sparse dictionaries: known codes are found, gradients are autograd's, models do not mix, nothing is ever NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import MiniBatchDictionaryLearning
from torch import Tensor

from toymodels.kernels.largest import keep_largest
from toymodels.metrics.dictionaries import (
    L1,
    BatchTopK,
    Dictionary,
    JumpReLU,
    Matryoshka,
    TopK,
    choose,
    fit,
    matching,
    score,
    top_k,
)
from toymodels.metrics.dictionaries.learning import START_STEP, Learner

KINDS = [L1(0.1), TopK(2), BatchTopK(1.28), JumpReLU(1.28)]
TENSORS = ("decoder", "encoder", "encoder_bias", "decoder_bias", "scale")


def sparse_codes(
    n_models: int, n: int, hidden: int, p: float, samples: int, exactly: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations of random unit directions under non-negative codes, which are active, the directions.

    Features are active independently with probability ``p``, or ``exactly`` so many in every sample.
    """
    torch.manual_seed(0)
    directions = torch.randn(n_models, hidden, n)
    directions = torch.linalg.qr(directions).Q if n == hidden else directions / directions.norm(dim=1, keepdim=True)
    u = torch.rand(n_models, n, samples)
    active = u >= u.topk(exactly, dim=1).values[:, -1:] if exactly else u < p
    return directions @ (active * (0.5 + torch.rand(n_models, n, samples))), active, directions


def finite(d: Dictionary) -> bool:
    return all(bool(getattr(d, name).isfinite().all()) for name in TENSORS)


def unit_columns(d: Dictionary) -> bool:
    return torch.allclose(d.decoder.norm(dim=1), torch.ones(1), atol=1e-5)


# ------------------------------------------------------------------------------------------------------------- recovery


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_an_orthogonal_dictionary_is_recovered(kind):
    # Top-k fires k latents in emptier samples too, so its F1 can be perfect only where k are active in each.
    a, active, directions = sparse_codes(2, 16, 16, 0.08, 12_000, exactly=2 if isinstance(kind, TopK) else 0)
    d = fit(a[:, :, :8000], kind, 16, [0, 1], batch=256, learning_rate=5e-3)
    s = score(d, a[:, :, 8000:], active[:, :, 8000:], directions)
    assert (s.mcc > 0.98).all()
    assert (s.f1.mean(1) > 0.95).all()
    assert unit_columns(d)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_an_overcomplete_dictionary_is_recovered_far_above_chance(kind):
    a, active, directions = sparse_codes(2, 24, 12, 0.06, 12_000)
    d = fit(a[:, :, :8000], kind, 32, [0, 1], batch=256, learning_rate=5e-3)
    s = score(d, a[:, :, 8000:], active[:, :, 8000:], directions)
    chance = matching(torch.randn(2, 12, 32), directions).cosine.mean(1)
    assert (s.mcc > chance + 0.25).all()
    assert (s.mcc > 0.85).all()
    assert (s.unexplained < 0.15).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_worse_than_scikit_learn():
    a, active, directions = sparse_codes(1, 12, 8, 0.1, 4000)
    peer = MiniBatchDictionaryLearning(
        12,
        alpha=0.1,  # pyright: ignore[reportArgumentType] -- scikit-learn documents a float
        max_iter=60,
        batch_size=256,
        fit_algorithm="cd",
        positive_code=True,
        random_state=0,
    ).fit(a[0].T.numpy())
    theirs = matching(torch.from_numpy(peer.components_.T.copy())[None], directions).cosine.mean()
    for kind in (L1(0.1), TopK(1)):
        ours = score(fit(a, kind, 12, [0], batch=256, learning_rate=5e-3), a, active, directions)
        assert ours.mcc.item() > theirs.item() - 0.05


# ------------------------------------------------------------------------------------------------------------- training


def test_a_seed_determines_everything_and_another_seed_another_dictionary():
    a, _, _ = sparse_codes(1, 16, 8, 0.1, 2000)
    first, again, other = (fit(a, TopK(2), 20, [seed], 100) for seed in (1, 1, 2))
    assert torch.equal(first.decoder, again.decoder)
    assert not torch.allclose(first.decoder, other.decoder, atol=0.1)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_dead_latents_are_revived_toward_what_is_missed(kind):
    a, _, _ = sparse_codes(2, 16, 8, 0.1, 2000)
    learner = Learner(a, kind, 20, np.array([0, 1]), 256)
    learner.E[:, 4:, :8] = 0
    learner.E[:, 4:, 8] = -1  # fires never
    optimizer = torch.optim.Adam(learner.parameters)
    learner.differentiate(learner.slice(0, 256))
    optimizer.step()
    learner.normalise()
    before = learner.dictionary()
    kept = before.decoder[:, :, :4].clone()
    assert ((before.encode(a) > 0).sum(2)[:, 4:] == 0).all()
    learner.revive(learner.u, START_STEP + 1, optimizer)
    revived = learner.dictionary()
    assert ((revived.encode(a) > 0).sum(2)[:, 4:] > 0).float().mean() > 0.8
    assert torch.equal(revived.decoder[:, :, :4], kept)
    memory = optimizer.state[learner.E]["exp_avg_sq"]
    expected = memory[:, :4].mean(1, keepdim=True) * (not kind.competing)
    torch.testing.assert_close(memory[:, 4:], expected.expand(-1, 16, -1))
    assert unit_columns(revived)


def test_revival_leaves_few_dead(monkeypatch):
    """Activations far from 0 all point one way: the first latents to fire there starve the others."""
    a, active, directions = sparse_codes(2, 16, 16, 0.08, 4000)

    def dead_and_mcc() -> tuple[Tensor, Tensor]:
        s = score(fit(a + 1, TopK(1), 32, [0, 1], 1000, 256, 5e-3), a + 1, active, directions)
        return s.dead_latents, s.mcc

    dead, mcc = dead_and_mcc()
    monkeypatch.setattr(Learner, "revive", lambda *_: None)
    starved, mcc_starved = dead_and_mcc()
    assert (dead <= 4).all()
    assert (starved >= 16).all()
    assert (mcc > mcc_starved + 0.3).all()


# ------------------------------------------------------------------------------------------------------------- sparsity


def test_top_k_keeps_exactly_the_k_largest():
    torch.manual_seed(0)
    f, k = torch.randn(3, 17, 150), torch.tensor([1, 4, 17])
    expected = torch.zeros_like(f)
    for m in range(3):
        values, index = f[m].relu().topk(int(k[m]), dim=0)
        expected[m].scatter_(0, index, values)
    keep_largest(f.numpy(), k.numpy())
    assert torch.equal(f, expected)


def test_top_k_of_equals_keeps_the_first():
    f = torch.tensor([2.0, 3.0, 2.0, 2.0, -1.0])[None, :, None].repeat(1, 1, 70)
    keep_largest(f.numpy(), np.array([2]))
    assert (f[0] == torch.tensor([2.0, 3.0, 0, 0, 0])[:, None]).all()


def test_models_of_different_k_train_together():
    a, _, _ = sparse_codes(2, 16, 8, 0.2, 2000)
    d = fit(a, TopK((1, 6)), 20, [0, 1], 200)
    active = (d.encode(a) > 0).sum(1)
    assert active.amax(1).tolist() == [1, 6]
    assert top_k(torch.tensor([0.2, 3.6])) == TopK((1, 4))


def test_a_larger_penalty_is_sparser_and_the_nearest_is_chosen():
    a, active, _ = sparse_codes(2, 16, 8, 0.1, 6000)
    target = active.float().sum(1).mean(1)
    choice = choose(a[:, :, :4000], a[:, :, 4000:], target, 24, [0, 1], penalties=(0.01, 0.1, 0.5), steps=600)
    assert (choice.l0[:, 0] > choice.l0[:, 2]).all()
    for m in range(2):
        gaps = (choice.l0[m] - target[m]).abs().tolist()
        assert gaps.index(min(gaps)) == choice.index[m]
    l0 = (choice.dictionary.encode(a[:, :, 4000:]) > 0).sum((1, 2)) / 2000
    torch.testing.assert_close(l0.double(), choice.l0.gather(1, choice.index[:, None])[:, 0], rtol=1e-3, atol=1e-3)


# ----------------------------------------------------------------------------------------------------------- hard cases


@pytest.mark.parametrize("kind", [L1(0.1), TopK(3), TopK(50), BatchTopK(3.0), JumpReLU(3.0), Matryoshka()], ids=repr)
@pytest.mark.parametrize("value", [0.0, 1.0, 1e-20, 1e6])
@pytest.mark.parametrize("latents", [1, 8])
def test_constant_activations_give_finite_dictionaries(kind, value, latents):
    a = torch.full((2, 4, 600), value)
    a[1, 2:] = 0  # dead neurons
    d = fit(a, kind, latents, [0, 1], 60, batch=64)
    assert finite(d)
    assert unit_columns(d)
    assert d.decode(d.encode(a)).isfinite().all()
    s = score(d, a, torch.zeros(2, 3, 600, dtype=torch.bool), torch.zeros(2, 4, 3))
    assert s.mcc.tolist() == [0, 0]
    assert s.l0.isfinite().all()


def test_fewer_samples_than_a_batch():
    a, _, _ = sparse_codes(1, 4, 4, 0.5, 10)
    assert finite(fit(a, TopK(2), 6, [0], 50))


def test_a_model_of_nan_spoils_no_other():
    a, _, _ = sparse_codes(2, 16, 8, 0.1, 2000)
    a[1] = torch.nan
    assert finite(fit(a, TopK(2), 12, [0, 1], 100)[:1])


def test_reconstruction_is_in_the_activations_own_units():
    a, _, _ = sparse_codes(1, 8, 8, 0.1, 4000)
    small, large = (fit(a * size, TopK(2), 12, [0], 400) for size in (1.0, 1024.0))
    torch.testing.assert_close(large.decode(large.encode(a * 1024)), 1024 * small.decode(small.encode(a)))


@pytest.mark.parametrize(
    "make", [lambda: L1(-1.0), lambda: L1((0.1, float("nan"))), lambda: TopK(0), lambda: TopK((0,))]
)
def test_kinds_without_meaning_are_refused(make):
    with pytest.raises(ValueError, match="expected a"):
        make()


def test_a_dictionary_is_told_in_a_line():
    of = Dictionary(torch.ones(2, 4, 3))
    assert repr(of) == "Dictionary: 2 models, 3 latents, 4 hidden, without an encoder"
    whole = Dictionary(torch.ones(1, 4, 3), torch.ones(1, 3, 4))
    assert repr(whole) == "Dictionary: 1 model, 3 latents, 4 hidden, with an encoder"


def test_what_does_not_fit_is_refused():
    a = torch.zeros(2, 4, 8)
    with pytest.raises(ValueError, match="seeds: expected one for each of 2 models, got 1"):
        fit(a, TopK(1), 3, [0])
    with pytest.raises(ValueError, match="at least one latent"):
        fit(a, TopK(1), 0, [0, 1])
    with pytest.raises(
        ValueError, match=r"activations: expected \[model, hidden, sample\], got shape \[9, 4\].*\.T\[None\]"
    ):
        fit(torch.ones(9, 4), TopK(1), 3, [0])
    with pytest.raises(TypeError, match="expected a kind of sparsity"):
        fit(a, "topk", 3, [0, 1])  # pyright: ignore[reportArgumentType]
