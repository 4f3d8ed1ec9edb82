"""On a real GPU: what is measured of an arm there is what is measured of it on the CPU, but for rounding."""

from __future__ import annotations

import pytest
import torch

import toymodels as tm
from toymodels.hosts import Models
from toymodels.hypotheses.arms import MAIN, PLAIN, Regime
from toymodels.hypotheses.battery import judge, statistics
from toymodels.hypotheses.measuring import gather
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
    score,
)
from toymodels.metrics.dictionaries.largest import keep_largest_of_batches, keep_largest_of_examples

CUDA = pytest.mark.cuda
KINDS: list[Sparsity] = [
    L1(0.1),
    TopK((2, 3)),
    BatchTopK((1.3, 2.5)),
    JumpReLU((1.3, 2.5)),
    Matryoshka(BatchTopK(2.0), (8,)),
]
FEATURES, HIDDEN = 12, 8


def codes() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Activations of random unit directions under non-negative codes, which are active, and the directions."""
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(2, HIDDEN, FEATURES), dim=1)
    active = torch.rand(2, FEATURES, 8192) < 0.12
    return directions @ (active * (0.5 + torch.rand(2, FEATURES, 8192))), active, directions


@CUDA
@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_few_steps_of_a_dictionary_on_cuda_are_those_of_the_cpu(kind: Sparsity) -> None:
    a, active, directions = codes()
    here, there = (fit(each, kind, 16, [3, 4], 8, 512) for each in (a, a.cuda()))
    assert there.decoder.device.type == "cuda"
    # Adam without momentum steps by the sign of a gradient at first, and that of rounding may be either.
    assert ((there.decoder.cpu() - here.decoder).abs() < 1e-3).double().mean() > 0.97
    mine, theirs = score(there, a.cuda(), active.cuda(), directions.cuda()), score(here, a, active, directions)
    assert mine.f1.device.type == "cpu"
    torch.testing.assert_close(mine.mcc, theirs.mcc, rtol=0, atol=0.01)
    torch.testing.assert_close(mine.unexplained, theirs.unexplained, rtol=0.02, atol=1e-3)


@CUDA
@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_dictionary_trained_on_cuda_finds_what_one_of_the_cpu_finds(kind: Sparsity) -> None:
    a, active, directions = codes()
    target = active.double().sum(1).mean(1)
    fitted = [
        choose(each[:, :, :6144], each[:, :, 6144:], target, 16, [3, 4], kind=kind, steps=1000)
        for each in (a, a.cuda())
    ]
    here, there = (
        score(of.dictionary, *(each.to(of.dictionary.decoder.device) for each in (a, active, directions)))
        for of in fitted
    )
    torch.testing.assert_close(there.mcc, here.mcc, rtol=0, atol=0.1)
    torch.testing.assert_close(there.unexplained, here.unexplained, rtol=0.5, atol=0.02)
    torch.testing.assert_close(there.l0, here.l0, rtol=0.2, atol=0.1)


@CUDA
def test_a_dictionary_of_the_cpu_scores_on_cuda_what_it_scores_here() -> None:
    a, active, directions = codes()
    dictionary = fit(a, TopK((2, 3)), 16, [3, 4], 200)
    there, data = dictionary.to("cuda"), (a.cuda(), active.cuda(), directions.cuda())
    mine, theirs = score(there, *data), score(dictionary, a, active, directions)
    for name in ("cosine", "precision", "recall", "f1", "kept", "l0", "unexplained", "shrinkage", "dead_latents"):
        one, other = getattr(mine, name), getattr(theirs, name)
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3, equal_nan=True, msg=name)
    parents = [-1] * 4 + [0, 1, 2, 3] * 2
    ours, others = absorption(there, *data, parents), absorption(dictionary, a, active, directions, parents)
    torch.testing.assert_close(ours.fraction, others.fraction, rtol=1e-3, atol=1e-3, equal_nan=True)


@CUDA
def test_the_largest_are_the_same_latents() -> None:
    torch.manual_seed(1)
    f, k = (3 * torch.randn(3, 17, 90)).round(), torch.tensor([1, 4, 17])
    here, there = f.clone(), f.cuda()
    keep_largest_of_examples(here, k)
    keep_largest_of_examples(there, k.cuda())
    assert torch.equal(there.cpu(), here)
    there, last = f.cuda(), torch.tensor([0, 399, 17 * 90 - 1])
    keep_largest_of_batches(there, last.cuda(), 17 * 90)
    for of_model, place, found in zip(f, last.tolist(), there.cpu(), strict=True):
        least = of_model.flatten().sort(descending=True).values[place]
        assert torch.equal(found, torch.where((of_model >= least) & (of_model > 0), of_model, 0.0))


@CUDA
@pytest.mark.parametrize("signed", [False, True])
def test_what_is_gathered_on_cuda_is_the_evidence_of_the_cpu(signed: bool) -> None:
    features = tm.Features(12, 0.1, values=tm.UniformValues() if signed else tm.Binary(), signed=signed)
    shape = {"output": tm.Linear(), "tied": False, "hidden_bias": True, "embedding": tm.Embedding(6)}
    here, there = dict[str, Models](), dict[str, Models]()
    for name, (activation, norm) in {MAIN: (tm.SoLU(), tm.LayerNorm()), PLAIN: (tm.GeLU(), None)}.items():
        recipe = tm.Training(steps=400, batch=256, learning_rate=0.02)
        es = [tm.Experiment(features, tm.Bottleneck(10, activation, norm, **shape), recipe, seed=s) for s in range(3)]
        parameters = tm.train(es, engine="autograd").parameters
        here[name], there[name] = (Models(es, each) for each in (parameters, parameters.to("cuda", torch.float32)))
    mine, theirs = (gather(Regime("small", each), "1e-05", 8192) for each in (there, here))
    for arm, measured in theirs.arms.items():
        for key, quantities in measured.items():
            for name, expected in quantities.items():
                found = mine.arms[arm][key][name]
                assert found.device.type == "cpu"
                assert found.dtype == expected.dtype
                if expected.is_floating_point():
                    # A number at a threshold may fall on the other side: nearly all must agree, not each.
                    both = torch.stack([found.nan_to_num(-7.0), expected.nan_to_num(-7.0)]).double()
                    near = (both[0] - both[1]).abs() <= 1e-3 + 1e-2 * both[1].abs()
                    assert near.double().mean() > 0.97, (arm, key, name)
                else:
                    assert (found == expected).double().mean() > 0.97, (arm, key, name)
    answers = [judge([statistics(each)])[0].answer for each in (mine, theirs)]
    assert answers[0] is answers[1]
