"""Kinds of sparsity: gradients are autograd's in float64, models do not mix, L0 is what was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.metrics.dictionaries.test_learning import sparse_codes
from toymodels.metrics.dictionaries import (
    L1,
    BatchTopK,
    Dictionary,
    JumpReLU,
    Matryoshka,
    Sparsity,
    TopK,
    choose,
    fit,
    score,
)
from toymodels.metrics.dictionaries.largest import keep_largest_of_all
from toymodels.metrics.dictionaries.learning import START_STEP, Learner

OF_THREE: list[Sparsity] = [
    L1((0.3, 0.1, 0.2)),
    TopK((2, 5, 1)),
    BatchTopK((1.5, 0.4, 3.0)),
    JumpReLU((1.5, 0.4, 3.0), bandwidth=0.3),
    JumpReLU(None, penalty=(0.2, 0.1, 0.05), bandwidth=0.3),
    Matryoshka(BatchTopK((1.5, 0.4, 3.0)), (2, 5)),
    Matryoshka(L1((0.3, 0.1, 0.2)), (3,)),
    Matryoshka(JumpReLU((1.5, 0.4, 3.0), bandwidth=0.3), (2, 5)),
]
"""of every kind one with a value for each of three models"""


def of_one(kind: Sparsity, model: int) -> Sparsity:
    """The kind of one of the models alone."""
    if isinstance(kind, Matryoshka):
        return replace(kind, base=of_one(kind.base, model))
    values = {name: value[model] for name, value in vars(kind).items() if isinstance(value, tuple)}
    return replace(kind, **values)  # pyright: ignore[reportArgumentType] -- of the kind's own fields


def values(kind: Any, name: str) -> list[float]:
    return np.broadcast_to(getattr(kind, name), 3).tolist()


def kept(z: Tensor, n: int) -> Tensor:
    """Whether an entry is among the n largest over the first axis, and above 0."""
    return (z >= z.topk(n, dim=0).values[-1]) & (z > 0)


def loss(kind: Any, z: Tensor, D: Tensor, d: Tensor, u: Tensor, threshold: Tensor | None) -> Tensor:
    """What a dictionary of three models is trained for, written down as in the papers: summed over models."""
    edges = (*kind.prefixes, z.shape[1]) if isinstance(kind, Matryoshka) else (z.shape[1],)
    base = kind.base if isinstance(kind, Matryoshka) else kind
    total = torch.zeros((), dtype=z.dtype)
    for m in range(3):
        if isinstance(base, L1):
            f, added = z[m].relu(), values(base, "penalty")[m] * z[m].relu().sum(0).mean()
        elif isinstance(base, TopK):
            f, added = z[m] * kept(z[m], values(base, "k")[m]), 0.0  # pyright: ignore[reportArgumentType]
        elif isinstance(base, BatchTopK):
            flat = z[m].flatten()
            f, added = (flat * kept(flat, round(values(base, "k")[m] * z.shape[2]))).view(z[m].shape), 0.0
        else:
            assert isinstance(base, JumpReLU)
            assert threshold is not None
            theta = threshold[m][:, None]
            ramp = ((z[m].detach() - theta) / base.bandwidth + 0.5).clamp(0, 1)
            on = (z[m] > theta).to(z.dtype) + ramp - ramp.detach()  # a step, with the slope of a ramp to the threshold
            f = z[m] * on.detach() + theta.detach() * (on - on.detach())
            l0, penalty = on.sum(0).mean(), values(base, "penalty")[m]
            added = penalty * l0 if base.target_l0 is None else penalty * (l0 / values(base, "target_l0")[m] - 1) ** 2
        errors = [(D[m][:, :edge] @ f[:edge] + d[m][:, None] - u[m]).square().sum(0).mean() for edge in edges]
        total = total + torch.stack(errors).mean() + added
    return total


@pytest.mark.parametrize("kind", OF_THREE, ids=repr)
def test_gradients_are_autograds(kind):
    a, _, _ = sparse_codes(3, 10, 6, 0.3, 64)
    learner = Learner(a, kind, 9, np.array([3, 4, 5]), 64)
    E, D, d, *thresholds = learner.parameters
    E += 0.1 * torch.randn_like(E)
    d += 0.1 * torch.randn_like(d)
    for threshold in thresholds:
        threshold += 0.2 * torch.rand_like(threshold)
    learner.differentiate(learner.u)

    exact = [p.detach().double().requires_grad_() for p in learner.parameters]
    u = learner.u.double()
    loss(kind, exact[0] @ u, exact[1], exact[2], u[:, :6], exact[3] if thresholds else None).backward()
    expected = [p.grad for p in exact]
    assert expected[1] is not None
    expected[1] = expected[1] - D * (expected[1] * D).sum(1, keepdim=True)
    for ours, autograd in zip(learner.parameters, expected, strict=True):
        assert autograd is not None
        assert autograd.abs().max() > 1e-3
        torch.testing.assert_close(ours.grad, autograd, rtol=1e-4, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize("kind", OF_THREE, ids=repr)
def test_a_model_alone_is_itself_in_a_batch(kind):
    a, active, directions = sparse_codes(3, 16, 8, 0.1, 4000)
    for steps, tolerance in ((40, 1e-3), (600, None)):
        together, alone = fit(a, kind, 20, [5, 6, 7], steps), fit(a[1:2], of_one(kind, 1), 20, [6], steps)
        if tolerance is not None:
            for name, part in vars(alone).items():
                if part is not None:
                    torch.testing.assert_close(getattr(together, name)[1:2], part, rtol=tolerance, atol=tolerance)
        scores = [score(d, a[1:2], active[1:2], directions[1:2]) for d in (together[1:2], alone)]
        torch.testing.assert_close(scores[0].mcc, scores[1].mcc, rtol=0, atol=0.02)


@pytest.mark.parametrize("kind", OF_THREE, ids=repr)
def test_permuted_neurons_and_latents_are_permuted_gradients(kind):
    """Latents of Matryoshka within a level."""
    a, _, _ = sparse_codes(3, 10, 6, 0.3, 64)
    edges = kind.prefixes if isinstance(kind, Matryoshka) else ()
    groups = np.split(np.arange(9), edges)
    latents, neurons = (
        torch.from_numpy(np.concatenate([each[::-1] for each in groups])),
        torch.tensor([3, 0, 5, 1, 4, 2]),
    )
    learner, permuted = Learner(a, kind, 9, np.arange(3), 64), Learner(a[:, neurons], kind, 9, np.arange(3), 64)
    coordinates = torch.cat([neurons, torch.tensor([6])])  # the last one is the bias
    permuted.D.copy_(learner.D[:, neurons][:, :, latents])
    permuted.E.copy_(learner.E[:, latents][:, :, coordinates])
    for each in (learner, permuted):
        each.differentiate(each.u)
    E, D, d, *thresholds = (parameter.grad for parameter in learner.parameters)
    assert E is not None
    assert D is not None
    assert d is not None
    expected = [E[:, latents][:, :, coordinates], D[:, neurons][:, :, latents], d[:, neurons]]
    expected += [each[:, latents] for each in thresholds if each is not None]
    for theirs, mine in zip(permuted.parameters, expected, strict=True):
        torch.testing.assert_close(theirs.grad, mine, rtol=1e-4, atol=1e-6)


# --------------------------------------------------------------------------------------------------------------- L0


@pytest.mark.parametrize("kind", [L1(), TopK(), BatchTopK(), JumpReLU(), Matryoshka(BatchTopK(), (8,))], ids=repr)
def test_every_kind_is_given_the_truths_sparsity(kind):
    a, active, _ = sparse_codes(2, 16, 16, 0.15, 6000)
    target = active.double().sum(1).mean(1)
    choice = choose(a[:, :, :4000], a[:, :, 4000:], target, 16, [0, 1], kind=kind, steps=800, batch=256)
    l0 = choice.l0.gather(1, choice.index[:, None])[:, 0]
    expected = target.round() if isinstance(kind, TopK) else target
    torch.testing.assert_close(l0, expected, rtol=0.2, atol=0)
    assert choice.l0.shape == (2, 8 if isinstance(kind, L1) else 1)


def test_the_largest_of_all_are_kept():
    torch.manual_seed(0)
    f = torch.randn(13, 70)
    for keep in (1, 40, 400, 13 * 70):
        expected, found = torch.zeros_like(f), f.clone()
        values, index = f.flatten().relu().topk(keep)
        expected.view(-1)[index] = values
        keep_largest_of_all(found, keep)
        assert torch.equal(found, expected)
    equal = torch.tensor([[2.0, 3.0, 2.0, -1.0, 0.0]])
    keep_largest_of_all(equal, 2)
    assert equal.tolist() == [[2, 3, 2, 0, 0]]


def test_a_batchs_share_of_latents_is_a_models_own():
    """In training model by model k a sample; afterwards above the mean of the least that stayed, within a few %."""
    a, _, _ = sparse_codes(2, 16, 8, 0.2, 4000)
    learner = Learner(a * torch.tensor([1.0, 50.0])[:, None, None], BatchTopK((1.0, 4.5)), 20, np.arange(2), 256)
    f = learner.selection.select(learner.E @ learner.slice(0, 256))
    assert (f > 0).sum((1, 2)).tolist() == [256, 1152]
    found = learner.dictionary()
    assert found.threshold is not None
    least = []
    for step in range(15):
        f = learner.selection.select(learner.E @ learner.slice(step, 256))
        least.append([each[each > 0].min().item() for each in f])
    assert found.threshold[:, 0].tolist() == pytest.approx(np.mean(least, 0).tolist(), rel=1e-6)
    assert (found.threshold == found.threshold[:, :1]).all()
    l0 = (found.encode(a * torch.tensor([1.0, 50.0])[:, None, None]) > 0).sum(1).double().mean(1)
    assert l0.tolist() == pytest.approx([1.0, 4.5], rel=0.05)


def test_a_threshold_is_where_a_latent_starts_to_answer():
    eye = torch.eye(2)[None]
    d = Dictionary(eye, eye, threshold=torch.tensor([[0.5, 1.5]]))
    a = torch.tensor([[[0.4, 0.5, 0.6, -3.0], [1.4, 1.5, 1.6, 2.0]]])
    assert torch.equal(d.encode(a), torch.tensor([[[0, 0, 0.6, 0], [0, 0, 1.6, 2.0]]]))
    assert torch.equal(d.decode(d.encode(a)), d.encode(a))
    assert d[[0]].threshold is not None
    with pytest.raises(ValueError, match="no encoder"):
        Dictionary(eye).encode(a)


def test_revived_thresholds_start_anew():
    a, _, _ = sparse_codes(2, 16, 8, 0.1, 2000)
    learner = Learner(a, JumpReLU(), 20, np.arange(2), 256)
    optimizer = torch.optim.Adam(learner.parameters)
    learner.differentiate(learner.slice(0, 256))
    optimizer.step()
    threshold = learner.parameters[3]
    threshold[:, 4:] = 100.0  # none fires there
    before = threshold[:, :4].clone()
    learner.revive(learner.u, START_STEP + 1, optimizer)
    assert torch.equal(threshold[:, :4], before)
    assert (threshold[:, 4:] < 1).all()
    assert ((learner.dictionary().encode(a) > 0).sum(2)[:, 4:] > 0).float().mean() > 0.8


def test_thresholds_are_never_below_zero():
    a, _, _ = sparse_codes(1, 8, 8, 0.3, 1000)
    found = fit(a, JumpReLU(8.0), 8, [0], 200)  # more than there are: thresholds are pushed down
    assert found.threshold is not None
    assert (found.threshold >= 0).all()
    assert (found.threshold == 0).any()


# -------------------------------------------------------------------------------------------------------- Matryoshka


def test_the_first_prefix_has_the_features_that_matter_most():
    """Eight orthogonal features, two of them five times as frequent: those are the first level's two latents'."""
    torch.manual_seed(1)
    p = torch.tensor([0.03] * 3 + [0.15] * 2 + [0.03] * 3)[:, None]
    active = torch.rand(4, 8, 12_000) < p
    Q = torch.linalg.qr(torch.randn(4, 8, 8)).Q
    found = fit(Q @ active.float(), Matryoshka(L1(0.1), (2,)), 8, range(4), 1200, 256, 5e-3)
    cosines = found.decoder.transpose(1, 2) @ Q
    assert (cosines[:, :2, 3:5].amax(1) > 0.99).float().mean() > 0.8  # not all: a start can be a trap
    others = fit(Q @ active.float(), L1(0.1), 8, range(4), 1200, 256, 5e-3).decoder.transpose(1, 2) @ Q
    assert (others[:, :2, 3:5].amax(1) > 0.99).float().mean() < 0.5  # which latent has which is else anyone's guess


def test_one_level_is_the_base():
    a, _, _ = sparse_codes(2, 16, 8, 0.1, 2000)
    nested, plain = (fit(a, kind, 12, [0, 1], 50) for kind in (Matryoshka(TopK(2)), TopK(2)))
    assert torch.equal(nested.decoder, plain.decoder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopK(True), "k: expected a whole number >= 1, got True"),
        (lambda: TopK((2, True)), "k: expected a whole number >= 1, got True"),
        (lambda: BatchTopK(True), "k: expected a number > 0, got True"),
        (lambda: fit(torch.randn(1, 2, 9), TopK((1, 2)), 2, [0]), "one value, or one for each of 1 models, got 2"),
        (lambda: BatchTopK(0.0), "k: expected a number > 0, got 0.0"),
        (lambda: BatchTopK((1.0, float("nan"))), "k: expected a number > 0, got nan"),
        (lambda: JumpReLU(target_l0=0.0), "target_l0: expected a number > 0, got 0.0"),
        (lambda: JumpReLU(penalty=-1.0), "penalty: expected a number >= 0, got -1.0"),
        (lambda: JumpReLU(bandwidth=0.0), "bandwidth: expected a number > 0, got 0.0"),
        (lambda: Matryoshka(TopK(1), (3, 3)), "prefixes: expected whole numbers"),
        (lambda: Matryoshka(TopK(1), (0, 3)), "prefixes: expected whole numbers"),
        (lambda: Matryoshka(Matryoshka()), "base: expected a kind without levels"),
        (lambda: fit(torch.ones(1, 4, 8), Matryoshka(TopK(1), (3, 5)), 5, [0]), "expected fewer than all 5 latents"),
    ],
)
def test_what_has_no_meaning_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
