"""Dictionaries on a device that is not there (`tests.elsewhere`): the numbers of the CPU, and nothing waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.elsewhere import DEVICE, Elsewhere
from tests.metrics.dictionaries.test_learning import sparse_codes
from toymodels.kernels.largest import keep_largest
from toymodels.metrics.dictionaries import (
    L1,
    BatchTopK,
    JumpReLU,
    Matryoshka,
    Sparsity,
    TopK,
    absorption,
    choose,
    fit,
    learning,
    score,
)
from toymodels.metrics.dictionaries.largest import (
    keep_largest_of_all,
    keep_largest_of_batches,
    keep_largest_of_examples,
)

KINDS: list[Sparsity] = [
    L1((0.1, 0.2)),
    TopK((2, 3)),
    BatchTopK((1.3, 2.5)),
    JumpReLU((1.3, 2.5)),
    Matryoshka(BatchTopK((1.3, 2.5)), (4, 9)),
    Matryoshka(L1(0.1), (4,)),
]
STEPS = 20
REVIVALS = 10


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    monkeypatch.setattr(
        learning, "FUSED", ()
    )  # PyTorch knows no fused Adam there: the other one on both, for equal bits
    with Elsewhere() as device:
        yield device


def same(mine: Any, theirs: Any, kind: str) -> None:
    """Every field bit for bit, NaN as NaN; ``mine`` lies on a device of this kind."""
    for field in fields(mine):
        one, other = getattr(mine, field.name), getattr(theirs, field.name)
        if one is None:
            assert other is None
            continue
        assert one.device.type == kind
        assert torch.equal(one.cpu().nan_to_num(-7.0), other.nan_to_num(-7.0)), field.name


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_every_kind_trains_and_is_scored_there_as_on_the_cpu(kind: Sparsity, elsewhere: Elsewhere) -> None:
    a, active, directions = sparse_codes(2, 16, 8, 0.15, 5000)
    here = fit(a, kind, 20, [3, 4], STEPS, 128)
    there = fit(a.to(DEVICE), kind, 20, [3, 4], STEPS, 128)
    same(there, here, "meta")
    same(there.to("cpu"), here, "cpu")
    same(here.to(DEVICE)[1:], here[1:], "meta")
    data = a.to(DEVICE), active.to(DEVICE), directions.to(DEVICE)
    same(score(there, *data), score(here, a, active, directions), "cpu")
    same(score(there, *data, up_to_common=True), score(here, a, active, directions, up_to_common=True), "cpu")
    parents = [-1] * 4 + [0, 1, 2] * 4
    same(absorption(there, *data, parents), absorption(here, a, active, directions, parents), "cpu")


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_only_a_revival_waits_for_it(kind: Sparsity, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the examples, which are drawn on the CPU: a level's errors go there, and which they are comes back.

    More steps wait no more often. The first revival also brings how many `BatchTopK` keeps of a batch of another size.
    """
    revived: list[int] = []
    revive = learning.Learner.revive

    def counted(*arguments: Any) -> None:
        before = len(elsewhere.waited)
        revive(*arguments)
        revived.append(len(elsewhere.waited) - before)

    monkeypatch.setattr(learning.Learner, "revive", counted)
    a = sparse_codes(2, 16, 8, 0.15, 5000)[0].to(DEVICE)
    waits = []
    for steps in (STEPS, 2 * STEPS):
        before = len(elsewhere.waited)
        fit(a, kind, 20, [3, 4], steps, 128)
        waits.append(len(elsewhere.waited) - before)
    drawn = 2 * len(kind.levels(20))
    assert [waited for waited in revived if waited != drawn] in ([], [drawn + 1] * 2)
    assert len(revived) == 2 * REVIVALS
    assert waits[0] == waits[1]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_the_truths_sparsity_is_chosen_there_as_on_the_cpu(kind: Sparsity, elsewhere: Elsewhere) -> None:
    a, active, _ = sparse_codes(2, 16, 8, 0.15, 3000)
    target = active.double().sum(1).mean(1)
    found = [
        choose(each[:, :, :2000], each[:, :, 2000:], target, 12, [3, 4], kind=kind, steps=20, batch=128)
        for each in (a, a.to(DEVICE))
    ]
    assert torch.equal(found[0].index, found[1].index)
    assert torch.equal(found[0].l0, found[1].l0)
    same(found[1].dictionary, found[0].dictionary, "meta")


def tied() -> Tensor:
    """Values of which many are equal, [model, latent, batch]."""
    torch.manual_seed(1)
    return (3 * torch.randn(3, 17, 90)).round()


def test_the_largest_of_an_example_are_the_same_latents_of_equals_the_first(elsewhere: Elsewhere) -> None:
    for k, f in ((torch.tensor([1, 4, 17]), tied()), (torch.tensor([2, 25, 3]), torch.randn(3, 17, 90))):
        there = f.to(DEVICE)
        keep_largest_of_examples(there, k.to(DEVICE))
        keep_largest(f.numpy(), k.numpy())
        assert torch.equal(there.cpu(), f)


def test_the_largest_of_a_batch_are_the_same_latents(elsewhere: Elsewhere) -> None:
    keep = torch.tensor([1, 400, 17 * 90])
    for f in (tied(), torch.randn(3, 17, 90)):
        there = f.to(DEVICE)
        keep_largest_of_batches(there, (keep - 1).to(DEVICE), int(keep.max()))
        for of_model, largest in zip(f, keep.tolist(), strict=True):
            keep_largest_of_all(of_model, largest)
        assert torch.equal(there.cpu(), f)
