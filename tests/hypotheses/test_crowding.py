"""Crowding: by the definition in NumPy, and on errors made by hand of which the answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from toymodels import Binary, Bottleneck, LayerNorm, Linear, ReLU, SoLU, UniformValues, forward
from toymodels.hypotheses import crowding
from toymodels.hypotheses.crowding import (
    COMPANY,
    FEWEST,
    by_company,
    drops,
    equal_company,
    explained_in_company,
    observe,
)
from toymodels.training.experiment import sampler


def observed(error, target, present):
    return {
        "squared_error": torch.as_tensor(error, dtype=torch.float32)[None],
        "target": torch.as_tensor(target, dtype=torch.float32)[None],
        "present": torch.as_tensor(present)[None],
        "crowd": torch.as_tensor(present.sum(0))[None],
    }


def by_definition(error, target, present, gates):
    """drop_i of the module's docstring, in loops."""
    n, found = len(error), []
    for i in range(n):
        others = np.arange(n) != i
        c, u = present[others].sum(0), present[others & gates].sum(0)
        groups = [u == 0, u >= 1]
        weight = np.zeros(error.shape[1])
        for size in range(1, n):
            cells = [group & (c == size) for group in groups]
            rarer = min(cell.sum() for cell in cells)
            for cell in cells:
                weight[cell] = rarer / max(1, cell.sum())
        r2 = []
        for group in groups:
            w, t = weight * group, target[i].astype(np.float64)
            if (present[i] & (w > 0)).sum() < FEWEST:
                r2.append(np.nan)
                continue
            mean = np.average(t, weights=w)
            r2.append(1 - np.average(error[i], weights=w) / np.average((t - mean) ** 2, weights=w))
        found.append(r2[0] - r2[1])
    return np.array(found)


@pytest.mark.parametrize("density", [0.12, 0.3])
def test_it_is_its_definition(density):
    rng = np.random.default_rng(3)
    present = rng.random((7, 600)) < density
    present[6] = False  # a feature that is never there
    target = present * rng.uniform(0.2, 1, present.shape)
    error = rng.exponential(0.1, present.shape) * (1 + present.sum(0))
    gates = np.arange(7) < 3
    found = drops(observed(error, target, present), torch.from_numpy(gates)[None])[0]
    expected = by_definition(error.astype(np.float32), target.astype(np.float32), present, gates)
    assert np.isfinite(expected[:6]).any()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)
    company = explained_in_company(observed(error, target, present), torch.from_numpy(gates)[None])[0]
    for i, k in itertools.product(range(7), range(COMPANY)):
        u = present[gates & (np.arange(7) != i)].sum(0)
        where = u >= k if k == COMPANY - 1 else u == k
        if (present[i] & where).sum() < FEWEST:
            assert company[i, k].isnan()
        else:
            r2 = 1 - error[i, where].mean() / target[i, where].var()
            assert company[i, k].item() == pytest.approx(r2, rel=1e-5)


N, GATES = 9, torch.arange(9)[None] < 4
EVERY = np.array(list(itertools.product([False, True], repeat=N))).T
"""Every sample that there can be of binary features, once: what the others do says nothing of a feature."""
COMPANY_SIZE = EVERY.sum(0) - EVERY
OF_GATES = EVERY[:4].sum(0) - EVERY * (np.arange(N) < 4)[:, None]


def test_pure_crowding_costs_nothing():
    """Errors that depend on how many others are active and on nothing else."""
    error = np.array([0.01, 0.02, 0.04, 0.1, 0.11, 0.12, 0.2, 0.24, 0.25])[COMPANY_SIZE]
    found = drops(observed(error, EVERY, EVERY), GATES)
    assert found.abs().max() < 1e-6
    company = explained_in_company(observed(error, EVERY, EVERY), GATES)[0]
    assert (company.diff(dim=1) < -0.05).all()  # which it does cost, where the sizes of company are not made equal


@pytest.mark.parametrize("size", [0.4, -0.3])
def test_a_pure_gate_costs_its_size(size):
    """Of features 4 to 8, and beside what crowding costs; Var t is 1 / 4. Or company that helps."""
    error = 0.1 + 0.01 * COMPANY_SIZE + 0.25 * size * ((OF_GATES > 0) & (np.arange(N) >= 4)[:, None])
    found = drops(observed(error, EVERY, EVERY), GATES)[0]
    assert found[:4].abs().max() < 1e-6
    assert found[4:].numpy() == pytest.approx(size, abs=1e-6)


def test_where_the_variance_is_the_same_everywhere_it_is_the_mean_of_differences_in_r2():
    """The weighted mean over sizes of company, cell by cell."""
    rng = np.random.default_rng(1)
    error = rng.random((N, COMPANY_SIZE.max() + 1, 2))
    of_sample = error[np.arange(N)[:, None], COMPANY_SIZE, (OF_GATES > 0).astype(int)]
    found = drops(observed(of_sample, EVERY, EVERY), GATES)[0]
    for i in range(N):
        whole = weights = 0.0
        for c in range(1, N):
            cells = [(COMPANY_SIZE[i] == c) & ((OF_GATES[i] > 0) == g) for g in (False, True)]
            w = min(cell.sum() for cell in cells)
            whole += w * (error[i, c, 1] - error[i, c, 0]) / 0.25
            weights += w
        assert found[i].item() == pytest.approx(whole / weights, rel=1e-5)


def test_without_company_of_either_kind_nothing_is_said():
    error = np.full(EVERY.shape, 0.1)
    none, every = torch.zeros_like(GATES), torch.ones_like(GATES)
    assert drops(observed(error, EVERY, EVERY), none).isnan().all()
    assert drops(observed(error, EVERY, EVERY), every).isnan().all()
    alone = EVERY[:, EVERY.sum(0) <= 1]
    assert drops(observed(error[:, : alone.shape[1]], alone, alone), GATES).isnan().all()


def test_too_few_active_examples_say_nothing():
    """Feature 8 is active in 5 samples with one of the gates, and in 5 with one that is none; then in 4."""
    present = np.zeros((N, 400), dtype=bool)
    present[0, :100] = present[5, 100:200] = True
    for examples, defined in ((FEWEST, True), (FEWEST - 1, False)):
        present[8] = False
        present[8, [*range(examples), *range(100, 100 + FEWEST)]] = True
        found = drops(observed(np.full(present.shape, 0.1), present, present), GATES)[0, 8]
        assert found.isfinite().item() is defined


def test_a_diverged_model_is_undefined():
    found = drops(observed(np.full(EVERY.shape, np.nan), EVERY, EVERY), GATES)
    assert found.isnan().all()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("values", [Binary(), UniformValues()], ids=lambda v: v.name)
def test_what_is_observed_is_what_the_models_say(make_arm, values, signed):
    bottleneck = Bottleneck(5, SoLU(), LayerNorm(), ReLU() if signed else Linear(), tied=False)
    arm = make_arm(bottleneck, values, signed=signed)
    found = observe(arm, 256, 1280)
    x = sampler(arm.experiments).evaluation(256, 1024)
    t, y = x.abs(), forward(bottleneck, arm.parameters, x).out
    assert torch.equal(found["present"], x != 0)
    assert torch.equal(found["crowd"], (x != 0).sum(1))
    torch.testing.assert_close(found["target"], t)
    torch.testing.assert_close(found["squared_error"], (t - y).square())


def test_gates_asked_together_are_those_asked_alone_to_the_bit(monkeypatch):
    """Two models, one of them diverged, and five gates, of which each model has three that differ."""
    error, target, present, gates = made_by_hand(600)
    one, other = observed(error, target, present), observed(np.full_like(error, np.nan), target[::-1].copy(), ~present)
    both = {name: torch.cat([one[name], other[name]]) for name in one}
    g = torch.from_numpy(gates)
    asked = torch.stack([torch.stack(of) for of in ((g, ~g), (~g, g), (g, ~g), (g, g), (g & False, g & False))])
    alone = [drops(both, of) for of in asked]
    calls, sums = [], crowding._Samples.sums
    monkeypatch.setattr(crowding._Samples, "sums", lambda *of: calls.append(1) or sums(*of))
    together = drops(both, asked)
    assert together.shape == asked.shape
    assert together.numpy().tobytes() == torch.stack(alone).numpy().tobytes()
    assert together[:4, 0].isfinite().any(1).all()
    assert together[:, 1].isnan().all()
    assert not torch.equal(together[0, 0], together[1, 0])
    assert len(calls) == 6


def at_equal_company_by_definition(error, target, present, gates, of, k):
    """R^2 with k of the gates active, and in company of the same size with none of them, in loops."""
    n, top = {"error": [0.0, 0.0], "variance": [0.0, 0.0]}, COMPANY - 1
    for i in np.flatnonzero(of):
        others = np.arange(len(error)) != i
        c, u = present[others].sum(0), np.minimum(present[others & gates].sum(0), top)
        t = target[i].astype(np.float64)
        for place, group in enumerate((u == k, u == 0)):
            weight = np.zeros(len(t))
            for size in range(len(error)):
                here = c == size
                number = (group & here).sum()
                weight[group & here] = min((here & (u == k)).sum(), (here & (u == 0)).sum()) / max(1, number)
            if weight.sum():
                mean = np.average(t, weights=weight)
                n["error"][place] += (weight * error[i]).sum()
                n["variance"][place] += (weight * (t - mean) ** 2).sum()
    return [1 - e / v for e, v in zip(n["error"], n["variance"], strict=True)]


def made_by_hand(samples=8000):
    rng = np.random.default_rng(5)
    present = rng.random((7, samples)) < 0.25
    target = present * rng.uniform(0.2, 1, present.shape)
    gates = np.arange(7) < 3
    error = rng.exponential(0.02, present.shape) * (1 + present.sum(0) + 2 * present[gates].sum(0))
    return error.astype(np.float32), target.astype(np.float32), present, gates


@pytest.mark.parametrize("of", [slice(0, 3), slice(3, 7)])
def test_equal_company_is_its_definition(of):
    error, target, present, gates = made_by_hand()
    chosen = np.zeros(7, dtype=bool)
    chosen[of] = True
    sums = by_company(observed(error, target, present), torch.from_numpy(gates)[None])
    found = equal_company(sums, torch.from_numpy(chosen)[None])[0].numpy()
    for k in range(COMPANY):
        if k == 3 and of.start == 0:
            assert np.isnan(found[:, 3]).all()  # there are but two others
        else:
            expected = at_equal_company_by_definition(error, target, present, gates, chosen, k)
            np.testing.assert_allclose(found[:, k], expected, rtol=1e-5)
    assert found[0, 0] == found[1, 0]
    assert found[0, 1] < found[1, 1]  # as the gates cost more than others do


def test_company_adds_up_over_samples():
    error, target, present, gates = made_by_hand(1000)
    g = torch.from_numpy(gates)[None]
    whole = by_company(observed(error, target, present), g)
    parts = sum(
        by_company(observed(error[:, some], target[:, some], present[:, some]), g)
        for some in (slice(0, 300), slice(300, 1000))
    )
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_of_too_few_examples_together_nothing_is_said():
    error, target, present, gates = made_by_hand(60)
    one = torch.zeros(1, 7, dtype=torch.bool)
    one[0, 4] = True
    sums = by_company(observed(error, target, present), torch.from_numpy(gates)[None])
    assert equal_company(sums, one).isnan()[0, :, 3].all()
    assert equal_company(sums, torch.zeros_like(one)).isnan().all()
