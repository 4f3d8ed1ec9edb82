"""Weight-sparse training: how many weights stay and which, on both engines, alone, together and continued."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import toymodels as tm
from tests.engines.test_keep import ENGINES, same, short_slices, until_done
from toymodels.bottleneck import forward
from toymodels.engines.fused import codes, crew
from toymodels.initialisation import initialise
from toymodels.training import pruning
from toymodels.training.experiment import sampler
from toymodels.training.pruning import PRUNED

__all__ = ["short_slices"]
FEATURES = tm.Features(9, 0.3)
UNTIED = tm.Bottleneck(5, tm.ReLU(), tm.LayerNorm(), tied=False, hidden_bias=True)
BOTTLENECKS = {
    "tied": tm.Bottleneck(5, tm.SoLU()),
    "untied": UNTIED,
    "wide": dataclasses.replace(UNTIED, hidden=20),
    "fixed embedding": dataclasses.replace(UNTIED, embedding=tm.Embedding(4)),
    "trained embedding": dataclasses.replace(UNTIED, embedding=tm.Embedding(4, trained=True)),
}
RECIPE = tm.Training(steps=40, batch=32, learning_rate=0.02, snapshots=6)
SHARES = (0.2, 1.0, 0.63, 1e-9)


def experiments(bottleneck: tm.Bottleneck, shares: Any = SHARES, **recipe: Any) -> list[tm.Experiment]:
    trained = dataclasses.replace(RECIPE, **recipe)
    return [
        tm.Experiment(FEATURES, bottleneck, dataclasses.replace(trained, weights_kept=share), seed=seed)
        for seed, share in enumerate(shares)
    ]


def kept(share: float, entries: int, t: int, steps: int) -> int:
    return int(pruning.kept(torch.tensor([share], dtype=torch.float64), entries, t, steps))


def pruned(weights: dict[str, Tensor], shares: Any, t: int, steps: int) -> dict[str, Tensor]:
    return pruning.pruned(weights, torch.tensor(shares, dtype=torch.float64), t, steps)


def nonzeros(weights: Tensor) -> list[int]:
    return (weights != 0).flatten(1).sum(1).tolist()


def start_of(es: list[tm.Experiment], dtype: torch.dtype = torch.float32) -> Any:
    return initialise([e.bottleneck for e in es], sampler(es), dtype)


def test_the_share_falls_linearly_over_the_first_half_and_stays() -> None:
    counts = [kept(0.25, 1000, t, 8) for t in range(1, 9)]
    assert counts == [813, 625, 438, 250, 250, 250, 250, 250]
    assert kept(1e-9, 1000, 8, 8) == 1
    assert kept(0.25, 1000, 1, 1) == 250


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", BOTTLENECKS)
def test_exactly_so_many_weights_of_each_matrix_are_left_and_all_of_the_rest(engine: str, name: str) -> None:
    es = experiments(BOTTLENECKS[name])
    trained = tm.train(es, engine=engine)
    present = trained.parameters.present()
    for matrix in PRUNED.keys() & present.keys():
        size = present[matrix][0].numel()
        assert nonzeros(present[matrix]) == [round(0.2 * size), size, round(0.63 * size), 1]
        for place, t in enumerate(trained.snapshot_step.tolist()):
            expected = [kept(share, size, t, 40) for share in SHARES]
            assert nonzeros(trained.snapshots[matrix][:, place]) == expected
    for other in present.keys() - PRUNED.keys():
        assert (present[other][2] != 0).float().mean() > 0.8  # but those of neurons that lost all weights
    if "E" in BOTTLENECKS[name].fixed:
        assert torch.equal(present["E"], start_of(es).E)


def test_the_largest_stay_and_of_equals_the_first() -> None:
    torch.manual_seed(0)
    W_in, W_out = torch.randn(3, 4, 5), torch.randn(3, 6, 4)
    shares = (0.3, 0.5, 1.0)
    out = pruned({"W_in": W_in, "W_out": W_out, "b_in": W_in[:, :, 0]}, shares, 9, 10)
    for name, before in (("W_in", W_in), ("W_out", W_out)):
        for model, share in enumerate(shares):
            size = np.sort(before[model].abs().numpy().ravel())[::-1]
            least = size[round(share * size.size) - 1]
            expected = torch.where(before[model].abs() >= float(least), before[model], 0.0)
            assert torch.equal(out[name][model], expected)
    assert torch.equal(out["b_in"], W_in[:, :, 0])
    ties = torch.tensor([[[2.0, -1.0, 1.0], [1.0, -1.0, 3.0]]])
    assert pruned({"W_out": ties}, [4 / 6], 1, 1)["W_out"].tolist() == [[[2.0, -1.0, 1.0], [0.0, 0.0, 3.0]]]
    # Of W_in [hidden, feature] neurons vary fastest too.
    assert pruned({"W_in": ties}, [4 / 6], 1, 1)["W_in"].tolist() == [[[2.0, -1.0, 0.0], [1.0, 0.0, 3.0]]]


def test_permutations_signs_and_units_change_nothing_else() -> None:
    torch.manual_seed(1)
    W = torch.randn(2, 6, 7)
    neurons, features = torch.randperm(6), torch.randperm(7)

    def of(matrix: Tensor) -> Tensor:
        return pruned({"W_in": matrix}, [0.3, 0.6], 5, 5)["W_in"]

    assert torch.equal(of(W[:, neurons][:, :, features]), of(W)[:, neurons][:, :, features])
    assert torch.equal(of(-4 * W), -4 * of(W))


@pytest.mark.parametrize("hidden", [5, 20])
@pytest.mark.parametrize("engine", ENGINES)
def test_ties_in_training_leave_as_many_weights_the_same_on_every_engine(engine: str, hidden: int) -> None:
    # Importance 0 and decay alone: the weights are multiples of the start, here of -1, 1 and 2 with many ties.
    features = tm.Features(9, 0.3, importance=tm.Importance(tm.Listed((0.0,) * 9)))
    es = [dataclasses.replace(e, features=features) for e in experiments(tm.Bottleneck(hidden, tied=False), [0.3, 0.7])]
    rounded = {name: (3 * weights).round().clamp(-1, 2) for name, weights in start_of(es).present().items()}
    begin = dataclasses.replace(start_of(es), **{name: rounded[name] for name in PRUNED})

    def started(*arguments: Any, **options: Any) -> Any:
        return begin

    module = {"autograd": "toymodels.engines.autograd.run.start", "fused": "toymodels.engines.fused.batch.start"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module[engine], started)
        trained = ENGINES[engine](es).parameters
    expected = rounded
    for t in range(1, 41):
        expected = pruned(expected, [0.3, 0.7], t, 40)
    for name in PRUNED:
        assert torch.equal(getattr(trained, name), expected[name])


@pytest.mark.parametrize("optimizer", [tm.Adam(), tm.SGD()])
@pytest.mark.parametrize("name", BOTTLENECKS)
def test_the_engines_agree(name: str, optimizer: tm.Adam | tm.SGD) -> None:
    # Few weights before a LayerNorm, and large steps, let rounding grow: with neither, what differs is a mistake.
    bottleneck = dataclasses.replace(BOTTLENECKS[name], layer_norm=None)
    es = experiments(bottleneck, optimizer=optimizer, weight_decay=0.05, learning_rate=5e-3)
    exact, fused = tm.train(es, dtype=torch.float64), tm.train(es, engine="fused")
    for each, weights in exact.parameters.trained(es[0].bottleneck).items():
        other = fused.parameters.trained(es[0].bottleneck)[each]
        torch.testing.assert_close(other.double(), weights, rtol=1e-3, atol=2e-4)


def test_it_is_what_torch_optim_and_a_hard_threshold_make() -> None:
    (e,) = experiments(dataclasses.replace(UNTIED, layer_norm=None), [0.3], weight_decay=0.1)
    ours, begin = tm.train([e], dtype=torch.float64).parameters, start_of([e], torch.float64)
    theirs = {name: t.clone().requires_grad_() for name, t in begin.trained(e.bottleneck).items()}
    optimizer, data = torch.optim.AdamW(theirs.values(), lr=0.02, weight_decay=0.1), sampler([e])
    for step in range(40):
        x = data.training(step, 32).double()
        out = forward(e.bottleneck, dataclasses.replace(begin, **theirs), x).out
        optimizer.zero_grad()
        (out - x).square().sum(1).mean().backward()
        optimizer.step()
        for name in PRUNED:
            W = theirs[name].data
            stay = round(W.numel() * (1 - 0.7 * min(1.0, (step + 1) / 20)))
            W[W.abs() < W.abs().flatten().topk(stay).values[-1]] = 0
    for name, weights in theirs.items():
        torch.testing.assert_close(getattr(ours, name), weights.data, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_all_weights_kept_is_no_setting_bit_for_bit_whatever_trains_beside_it(engine: str) -> None:
    es = experiments(UNTIED)
    plain = [dataclasses.replace(e, training=RECIPE) for e in es]
    some, none = (ENGINES[engine](each) for each in (es, plain))
    for name, weights in none.parameters.present().items():
        assert torch.equal(some.parameters.present()[name][1], weights[1])
    assert not torch.equal(some.parameters.W_in[0], none.parameters.W_in[0])
    assert es[1] == plain[1]


@pytest.mark.parametrize("name", BOTTLENECKS)
def test_alone_is_as_in_a_batch(name: str) -> None:
    es = experiments(BOTTLENECKS[name])
    for engine, near in (("fused", 0.0), ("autograd", 1e-5)):
        together = ENGINES[engine](es).parameters
        for place, e in enumerate(es):
            alone = ENGINES[engine]([e]).parameters
            assert torch.allclose(alone.W_in[0], together.W_in[place], rtol=0, atol=near)
            assert nonzeros(alone.W_in) == nonzeros(together.W_in[place : place + 1])


@pytest.mark.parametrize("engine", ENGINES)
def test_weight_decay_shrinks_what_stays(engine: str) -> None:
    features = tm.Features(9, 0.3, importance=tm.Importance(tm.Listed((0.0,) * 9)))
    es = [dataclasses.replace(e, features=features) for e in experiments(UNTIED, [0.25], weight_decay=0.2)]
    start, trained = start_of(es).W_in, ENGINES[engine](es).parameters.W_in
    expected = pruned({"W_in": start}, [0.25], 40, 40)["W_in"] * (1 - 0.02 * 0.2) ** 40
    assert torch.allclose(trained, expected, rtol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_diverges_stays_as_it_was_before(engine: str) -> None:
    rates = (0.02, 1e30)
    es = experiments(UNTIED, [0.3, 0.3])
    es = [
        dataclasses.replace(e, training=dataclasses.replace(e.training, learning_rate=rate))
        for e, rate in zip(es, rates, strict=True)
    ]
    trained = ENGINES[engine](es)
    step = int(trained.diverged_step[1])
    assert trained.diverged_step[0] == 0
    assert 0 < step < 20
    assert nonzeros(trained.parameters.W_in)[1] == (45 if step == 1 else kept(0.3, 45, step - 1, 40))


@pytest.mark.usefixtures("short_slices")
@pytest.mark.parametrize("engine, wide", [("autograd", False), ("fused", False), ("fused", True)])
def test_what_is_interrupted_goes_on_as_if_it_had_not_been(engine: str, wide: bool, monkeypatch: Any) -> None:
    if wide:
        monkeypatch.setattr(crew, "WIDE_FLOP", 0.0)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    es = experiments(UNTIED, SHARES[:2] if wide else SHARES, steps=20 if wide else 120)
    chance, most = random.Random(engine), 10 if wide else {"autograd": 40, "fused": 60}[engine]
    came, _ = until_done(lambda keep: ENGINES[engine](es, keep=keep), lambda: chance.randint(1, most), killed=True)
    same(came, ENGINES[engine](es))


def test_what_makes_no_sense_is_refused_in_a_sentence() -> None:
    for share in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match=r"weights_kept: expected a number > 0 and <= 1"):
            tm.Training(weights_kept=share)
    with pytest.raises(ValueError, match=r"weights_kept: .*neurons' basis.*: adam or sgd"):
        tm.Training(weights_kept=0.5, optimizer=tm.RotatedAdam())
    assert tm.Training(weights_kept=1, optimizer=tm.RotatedAdam()) == tm.Training(optimizer=tm.RotatedAdam())
    assert codes.KNOWN.every_setting()


@pytest.mark.parametrize("other", [{"blocks": 2}, {"experts": 2}, {"gated": True}])
def test_a_layer_that_is_not_one_dense_matrix_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="weights_kept: a share of the weights of a dense W_in"):
        tm.Experiment(tm.Features(4, 0.1), tm.Bottleneck(4, **other), tm.Training(weights_kept=0.5))
