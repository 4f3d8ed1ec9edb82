"""The gauge: what LayerNorm cannot see is in no measure, and a layer without LayerNorm has no such thing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kstest
from torch import Tensor

import toymodels as tm
from toymodels.bottleneck import directions
from toymodels.hosts import Models
from toymodels.layer_norm import about_median, centred, median
from toymodels.metrics import LEVELS, Measures, measure
from toymodels.metrics.alignment import participation_ratio, response_alignment, weight_alignment
from toymodels.metrics.gauge import gauged, gauged_dimensions, gauged_directions, gauged_moments
from toymodels.metrics.geometry import welch_gap
from toymodels.metrics.moments import Moments, collect
from toymodels.metrics.rotation_null import DRAWS, WITH_NULLS, rotation_nulls
from toymodels.responses import response_sizes, responses
from toymodels.rotations import haar, haar_about_ones
from toymodels.training.experiment import sampler, start

SAMPLES = 2048
ENTRIES = st.integers(-40, 40).map(lambda k: k / 8)
AT_MID = ("response_alignment", "participation_ratio", "best_neuron_r2_mid", "ridge_r2_mid", "hiddenness")


def built(bottleneck, *, n=7, models=2, target=None, seed=0, **features):
    """Models with weights, gain and biases at random, in float64, which keeps the digits that are compared."""
    kinds: dict[str, Any] = {"density": 0.3} | features
    of = tm.Features(n, **kinds)
    es = [tm.Experiment(of, bottleneck, target=target or tm.Identity(), seed=s) for s in range(models)]
    generator = torch.Generator().manual_seed(seed)
    first = start(es, sampler(es), torch.float64)
    drawn = {
        name: tensor + torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        for name, tensor in first.trained(bottleneck).items()
    }
    return es, dataclasses.replace(first, **drawn)


def shifted(parameters, v=None, c=0.7):
    """W_in + 1 v' and b_in + c 1."""
    v = torch.linspace(-2, 3, parameters.W_in.shape[2], dtype=torch.float64) if v is None else v
    b_in = None if parameters.b_in is None else parameters.b_in + c
    return dataclasses.replace(parameters, W_in=parameters.W_in + v, b_in=b_in)


def columns(found: Measures) -> dict[str, Tensor]:
    """Every column by its level and name, as numbers."""
    assert not found.failed
    return {f"{level}.{name}": column.double() for level in LEVELS for name, column in getattr(found, level).items()}


def differing(one: Measures, other: Measures, tolerance: float = 1e-8) -> dict[str, float]:
    """The columns in which two sets of measures differ, and by how much at most."""
    here, there = columns(one), columns(other)
    assert here.keys() == there.keys()
    away = {
        name: torch.where(column.isnan() & there[name].isnan(), 0.0, (column - there[name]).abs()).nan_to_num(9e9)
        for name, column in here.items()
        if column.numel()
    }
    return {name: gap.max().item() for name, gap in away.items() if gap.max() > tolerance}


# --------------------------------------------------------------------------------------------------- representatives


@given(arrays(np.float64, st.tuples(st.just(2), st.integers(1, 9), st.just(3)), elements=ENTRIES), ENTRIES)
def test_about_the_median_is_least_in_sizes_and_about_the_mean_in_squares(values, c):
    a = torch.from_numpy(values)
    ours = about_median(a)
    assert np.array_equal(median(a)[:, 0].numpy(), np.median(values, axis=1))
    assert np.array_equal(ours.numpy(), values - np.median(values, axis=1, keepdims=True))
    assert torch.equal(about_median(a + c), ours)
    assert torch.equal(about_median(-a), -ours)
    assert (ours.abs().sum(1) <= (a - c).abs().sum(1) + 1e-12).all()
    assert (centred(a).square().sum(1) <= (a - c).square().sum(1) + 1e-9).all()


def test_of_one_neuron_or_of_equal_ones_nothing_is_left_and_of_two_the_same_twice():
    assert about_median(torch.tensor([[0.1]])).tolist() == [[0.0]]
    assert about_median(torch.full((1, 6), 0.1)).tolist() == [[0.0] * 6]
    two = about_median(torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) + 3)
    assert torch.equal(two[:, 0], -two[:, 1])
    assert about_median(torch.tensor([[1.0, 4.0, 2.0, 9.0]])).tolist() == [[-2.0, 1.0, -1.0, 6.0]]
    three = torch.tensor([[1.0, 4.0], [2.0, 5.0]], requires_grad=True)
    assert about_median(three, 0).tolist() == [[-0.5, -0.5], [0.5, 0.5]]


def test_only_a_layer_norm_makes_a_gauge_and_only_a_linear_one_of_the_columns():
    a = torch.randn(2, 5, 3)
    plain, linear, solu = (
        tm.Bottleneck(5, activation, norm)
        for activation, norm in ((tm.Linear(), None), (tm.Linear(), tm.LayerNorm()), (tm.SoLU(), tm.LayerNorm()))
    )
    assert torch.equal(gauged(plain, a), a)
    assert torch.equal(gauged(solu, a), about_median(a))
    parameters = tm.Parameters(W_in=a)
    for bottleneck, W, dimensions in ((plain, a, 5), (solu, a, 5), (linear, centred(a), 4)):
        assert torch.equal(gauged_directions(bottleneck, parameters), W)
        assert gauged_dimensions(bottleneck) == dimensions
    assert torch.equal(gauged_directions(linear, parameters, about_median), about_median(a))
    E = torch.randn(2, 3, 4)
    decoder = tm.Parameters(W_in=a, E=E)
    assert torch.equal(gauged_directions(linear, decoder), centred(directions(decoder)))


def of_samples(taps: dict[str, Tensor], t: Tensor) -> Moments:
    """The moments at ``pre`` and ``mid`` of samples of both, [model, hidden, sample], and of targets."""
    samples, nothing = t.shape[2], torch.zeros(len(t))
    return Moments(
        samples=samples,
        active=nothing.long(),
        **dict.fromkeys(("t", "tt", "y", "yy", "squared_error", "cost", "squared_loss"), nothing),
        tap={name: a.mean(2) for name, a in taps.items()},
        tap_squared={name: a.square().mean(2) for name, a in taps.items()},
        tap_target={name: a @ t.transpose(1, 2) / samples for name, a in taps.items()},
        tap_tap={name: a @ a.transpose(1, 2) / samples for name, a in taps.items()},
        mid_pre=taps["mid"] @ taps["pre"].transpose(1, 2) / samples,
    )


@pytest.mark.parametrize("activation", [tm.Linear(), tm.SoLU()], ids=lambda a: a.name)
def test_gauged_moments_are_those_of_samples_about_their_mean_over_neurons(activation):
    es, parameters = built(tm.Bottleneck(5, activation, tm.LayerNorm(), hidden_bias=True))
    ours = gauged_moments(es[0].bottleneck, collect(Models(es, parameters), 1024))
    assert len(ours.folds) == 4
    for moments, first in ((ours, 0), *((fold, 256 * place) for place, fold in enumerate(ours.folds))):
        x = sampler(es).evaluation(first, moments.samples).double()
        taps = tm.forward(es[0].bottleneck, parameters, x)
        pre = centred(taps.pre) if type(activation) is tm.Linear else taps.pre
        expected = of_samples({"pre": pre, "mid": centred(taps.mid), "post": taps.post}, x)
        for name in ("tap", "tap_squared", "tap_target", "tap_tap"):
            for tap in ("pre", "mid", "post"):
                torch.testing.assert_close(
                    getattr(moments, name)[tap], getattr(expected, name)[tap], msg=f"{name} {tap}"
                )
        torch.testing.assert_close(moments.mid_pre, expected.mid_pre)
    without = collect(Models(es, parameters), 1024)
    assert gauged_moments(dataclasses.replace(es[0].bottleneck, layer_norm=None), without) is without


# ------------------------------------------------------------------------------------------------------ every column

LINEAR = {
    "bottleneck": ({}, {}),
    "binary values": ({}, {"values": tm.Binary()}),
    "hidden bias": ({"hidden_bias": True}, {}),
    "no gain": ({"layer_norm": tm.LayerNorm(affine=False)}, {}),
    "tiny eps": ({"layer_norm": tm.LayerNorm(1e-12)}, {}),
    "large eps": ({"layer_norm": tm.LayerNorm(0.1)}, {}),
    "tied, no gain": ({"layer_norm": tm.LayerNorm(affine=False), "tied": True}, {}),
    "decoder": ({"embedding": tm.Embedding(4), "hidden_bias": True}, {}),
    "decoder, binary": ({"embedding": tm.Embedding(4), "hidden_bias": True}, {"values": tm.Binary()}),
    "sizes": ({"hidden_bias": True}, {"signed": True, "target": tm.AbsoluteValue()}),
    "pairs": ({"output": tm.Linear()}, {"values": tm.Binary(), "target": tm.And(5)}),
    "population": ({}, {"n": 2}),
    "even": ({"hidden": 6}, {}),
    "two neurons": ({"hidden": 2, "layer_norm": tm.LayerNorm(1.0)}, {}),
    "three neurons": ({"hidden": 3}, {}),
}


@pytest.mark.parametrize("case", LINEAR)
def test_no_column_sees_what_layer_norm_does_not(case):
    of, features = LINEAR[case]
    of = {"hidden": 5, "layer_norm": tm.LayerNorm(), "tied": False} | of
    es, parameters = built(tm.Bottleneck(activation=tm.Linear(), **of), **features)
    found = measure(es, parameters, SAMPLES)
    assert differing(found, measure(es, shifted(parameters), SAMPLES)) == {}
    # Without LayerNorm it is another model, and the measures say so.
    bare = [dataclasses.replace(e, bottleneck=dataclasses.replace(e.bottleneck, layer_norm=None)) for e in es]
    without = dataclasses.replace(parameters, ln_gain=None, ln_bias=None, ln_eps=None)
    seen = differing(measure(bare, without, SAMPLES), measure(bare, shifted(without), SAMPLES), 1e-3)
    assert {"features.response_alignment", "features.weight_alignment", "features.norm", "features.interference"} <= {
        *seen
    }
    level = "targets" if "targets.r2" in columns(found) else "features"
    assert {f"{level}.best_neuron_r2_mid", f"{level}.hiddenness", f"{level}.r2"} <= {*seen}


@dataclasses.dataclass(frozen=True)
class Lifted(tm.Activation):
    """act(z) + c(z) 1, with c(z) something that is in no neuron alone."""

    act: tm.Activation
    name = "lifted"

    def __call__(self, z, dim=-1):
        return self.act(z, dim) + z.sin().sum(dim, keepdim=True) + 2

    def jvp(self, z, v, dim=-1):
        raise NotImplementedError


@pytest.mark.parametrize("norm", [tm.LayerNorm(), tm.LayerNorm(1e-12, affine=False)], ids=["LN", "tiny eps"])
@pytest.mark.parametrize("activation", [tm.SoLU(), tm.GeLU(), tm.ReLU()], ids=lambda a: a.name)
def test_what_an_activation_adds_to_every_neuron_is_in_no_column(activation, norm):
    bottleneck = tm.Bottleneck(5, activation, norm, hidden_bias=True, embedding=tm.Embedding(4), tied=False)
    es, parameters = built(bottleneck, values=tm.Binary())
    lifted = [
        dataclasses.replace(e, bottleneck=dataclasses.replace(bottleneck, activation=Lifted(activation))) for e in es
    ]
    assert differing(measure(es, parameters, SAMPLES), measure(lifted, parameters, SAMPLES)) == {}


def test_what_an_activation_adds_is_seen_where_no_layer_norm_follows():
    bottleneck = tm.Bottleneck(5, tm.GeLU(), hidden_bias=True)
    es, parameters = built(bottleneck)
    lifted = [dataclasses.replace(e, bottleneck=tm.Bottleneck(5, Lifted(tm.GeLU()), hidden_bias=True)) for e in es]
    seen = differing(measure(es, parameters, SAMPLES), measure(lifted, parameters, SAMPLES), 1e-2)
    assert {*(f"features.{name}" for name in AT_MID), "neurons.monosemanticity", "models.unexplained_by_affine"} <= {
        *seen
    }


# ------------------------------------------------------------------------------------------------ by hand and in order


@pytest.mark.parametrize("n", [5, 6])
def test_a_feature_in_one_neuron_is_in_one_neuron_whatever_is_added_to_all(n):
    """W_in = 2 I and 2 I + .5 are one model, of which max |Delta| / sum |Delta| says 1 and .25 for four neurons."""
    bottleneck = tm.Bottleneck(n, tm.Linear(), tm.LayerNorm(), tied=False)
    es = [tm.Experiment(tm.Features(n, 0.2), bottleneck)]
    first = start(es, sampler(es))
    found = []
    for W in (2 * torch.eye(n), 2 * torch.eye(n) + 0.5):
        found.append(measure(es, dataclasses.replace(first, W_in=W[None]), SAMPLES).features)
        assert torch.allclose(found[-1]["response_alignment"], torch.ones(1, n))
        assert torch.allclose(found[-1]["participation_ratio"], torch.ones(1, n))
        assert torch.allclose(found[-1]["weight_alignment"], torch.ones(1, n))
    for name in WITH_NULLS:
        assert torch.equal(found[0][f"{name}_percentile"], found[1][f"{name}_percentile"])
    assert (found[0]["response_alignment_percentile"] == 100).all()
    assert (found[0]["participation_ratio_percentile"] == 0).all()
    bare = dataclasses.replace(bottleneck, layer_norm=None)
    seen = responses(bare, tm.Parameters(W_in=2 * torch.eye(4)[None] + 0.5), torch.ones(1)).abs()
    assert response_alignment(seen)[0].tolist() == pytest.approx([2.5 / 4] * 4)


def test_a_simplex_meets_the_bound_of_the_space_that_is_left():
    """Columns of 2 I about their mean are a simplex in one dimension less."""
    bottleneck = tm.Bottleneck(6, tm.Linear(), tm.LayerNorm(), tied=False)
    W = gauged_directions(bottleneck, tm.Parameters(W_in=2 * torch.eye(6, dtype=torch.float64)[None]))
    assert welch_gap(W, gauged_dimensions(bottleneck)).item() == pytest.approx(0, abs=1e-12)
    assert welch_gap(W).item() == pytest.approx(1 / 5)


ORDERS = {
    "features.response_alignment": 2,
    "features.participation_ratio": 2,
    "neurons.monosemanticity": 1,
    "features.best_neuron_r2_mid": 1,
    "features.ridge_r2_mid": 1,
    "features.best_neuron_r2_post": 2,
    "features.ridge_r2_post": 2,
    "features.r2": 2,
}


def test_near_its_linear_range_solu_sees_little_of_what_layer_norm_does_not_see_of_a_linear_layer():
    """Of s (W_in + 1 v') and a short s, mid = s (1 + s v'x) (W_in x) / m + c(x) 1 + s^2 ...: a factor that all neurons
    share, in which inputs and features differ by O(s). Nothing is left of it in a feature's alignment, nor at post."""
    bottleneck = tm.Bottleneck(6, tm.SoLU(), tm.LayerNorm(0.0), tied=False)
    es, parameters = built(bottleneck, models=1)

    def at(s, of):
        return columns(measure(es, dataclasses.replace(of, W_in=s * of.W_in), SAMPLES))

    change = {}
    for s in (0.01, 0.005):
        here, there = at(s, parameters), at(s, shifted(parameters))
        change[s] = {name: (here[name] - there[name]).abs().max().item() for name in ORDERS}
    for name, order in ORDERS.items():
        assert 1e-7 < change[0.01][name] < 0.1, name
        assert change[0.005][name] / change[0.01][name] == pytest.approx(0.5**order, rel=0.12), name


# ----------------------------------------------------------------------------------------------------------- the null


@pytest.mark.parametrize("bias", [False, True], ids=["", "b_in"])
@pytest.mark.parametrize("norm", [None, tm.LayerNorm()], ids=["bare", "LN"])
@pytest.mark.parametrize("activation", [tm.Linear(), tm.SoLU(), tm.GeLU()], ids=lambda a: a.name)
def test_percentiles_of_random_layers_are_uniform_for_each_feature(activation, norm, bias):
    """Columns of two lengths, each judged by its own null; b_in at random as well, and turned with them."""
    models, m = 600, 9
    g = torch.Generator().manual_seed(7)
    W = torch.randn(models, m, 2, generator=g) * torch.tensor([3.0, 0.6])
    b = torch.randn(models, m, generator=g) if bias else None
    bottleneck = tm.Bottleneck(m, activation, norm, hidden_bias=bias)
    found = {name: [] for name in WITH_NULLS}
    for seed, part in enumerate(torch.arange(models).split(200)):
        parameters = tm.Parameters(W_in=W[part], b_in=None if b is None else b[part])
        values = torch.ones(len(part))
        nulls = rotation_nulls(bottleneck, parameters, values, signed=False, seed=seed)
        size = response_sizes(bottleneck, parameters, values, signed=False)
        measured = {
            "weight_alignment": weight_alignment(gauged_directions(bottleneck, parameters, about_median)),
            "response_alignment": response_alignment(size),
            "participation_ratio": participation_ratio(size),
        }
        for name, value in measured.items():
            found[name].append(nulls[name].percentile(value))
    for name, parts in found.items():
        percentile = torch.cat(parts)
        for feature in range(2):
            # 201 values at equal distances; between them it is the same anywhere.
            u = percentile[:, feature] / 100 * DRAWS / (DRAWS + 1) + torch.rand(models, generator=g) / (DRAWS + 1)
            assert kstest(u.numpy(), "uniform").pvalue > 1e-3, (name, feature)


@pytest.mark.parametrize("norm", [None, tm.LayerNorm()], ids=["bare", "LN"])
def test_percentiles_of_one_layer_in_any_basis_are_uniform(norm):
    """Columns that share a direction with b_in, or with 1: a null that turned W_in alone, or that turned 1 away where a
    LayerNorm keeps it, would find such layers aligned, or not, in any basis."""
    models, m = 600, 9
    turns = (haar if norm is None else haar_about_ones)(np.arange(10**6, 10**6 + models), m, step=1).float()
    common = torch.linspace(-1, 1, m) if norm is None else torch.ones(m)
    W = torch.stack([2 * common + torch.eye(m)[0], common - torch.eye(m)[1]], 1)
    bottleneck = tm.Bottleneck(m, tm.GeLU(), norm, hidden_bias=True)
    found = []
    for seed, Q in enumerate(turns.split(200)):
        parameters = tm.Parameters(W_in=Q @ W, b_in=-2 * Q @ common)
        null = rotation_nulls(bottleneck, parameters, torch.ones(len(Q)), signed=False, seed=seed)["response_alignment"]
        found.append(
            null.percentile(
                response_alignment(response_sizes(bottleneck, parameters, torch.ones(len(Q)), signed=False))
            )
        )
    for percentile in torch.cat(found).T:
        assert kstest((percentile / 100).numpy(), "uniform").statistic < 0.08


def test_of_two_neurons_before_a_layer_norm_no_basis_means_anything():
    """Either choice leaves (a, -a): alignment 1/2, participation 2, and no rotation that says anything else."""
    for activation in (tm.Linear(), tm.SoLU()):
        es, parameters = built(tm.Bottleneck(2, activation, tm.LayerNorm(), tied=False, hidden_bias=True))
        for dtype in (torch.float32, torch.float64):
            found = measure(es, parameters.to("cpu", dtype), SAMPLES).features
            assert (found["response_alignment"] == 0.5).all()
            assert torch.allclose(found["participation_ratio"], torch.tensor(2.0, dtype=dtype))
            assert (found["response_alignment_percentile"] == 0).all()
            assert (found["participation_ratio_percentile"] == 0).all()
            assert (found["best_neuron_r2_mid"] - found["ridge_r2_mid"]).abs().max() < 0.05
        if activation == tm.Linear():
            assert torch.allclose(found["weight_alignment"], torch.tensor(0.5**0.5, dtype=torch.float64))
