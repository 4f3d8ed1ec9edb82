"""Levels: least-squares slopes in equal bins, as few as the loss allows; ReLU's two, a linear layer's one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.hypotheses.linearisation.conftest import (
    K,
    M,
    data_of,
    experiments_of,
    parameters_of,
    with_gauge,
    with_neurons_in_order,
)
from toymodels import Activation, Experiment, GeLU, LayerNorm, Linear, Parameters, ReLU, SoLU, forward
from toymodels.bottleneck import Taps
from toymodels.hypotheses.linearisation import levels
from toymodels.hypotheses.linearisation.levels import COUNTS, RISE, Quantised, fewest_levels, fitted, run_in_levels

LAYERS = [(a, norm) for a in (ReLU(), GeLU(), SoLU()) for norm in (None, LayerNorm())]
IDS = [f"{a.name}{' + LN' if norm else ''}" for a, norm in LAYERS]


def found(experiments: list[Experiment], parameters: Parameters) -> tuple[Quantised, Callable[..., Tensor]]:
    """Levels of models that have learned what they say but for some noise, and the loss that they go by."""
    b, x = experiments[0].bottleneck, data_of(experiments, 512, 512)
    live = forward(b, parameters, x).out
    noise = torch.randn(live.shape[1:], generator=torch.Generator().manual_seed(0)).double()
    t = live + 0.5 * live.std(2, keepdim=True) * noise

    def loss(run: Callable[[Tensor], Taps]) -> Tensor:
        return (run(x).out - t).square().sum(1).mean(1)

    return fewest_levels(b, parameters, data_of(experiments, 512), loss), loss


def test_a_bin_has_the_least_squares_slope_of_what_is_in_it() -> None:
    z = torch.randn(1, 1, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, s = GeLU()(z), levels.mask_of(GeLU(), z)
    of = fitted(s, z.square(), torch.tensor([4]))
    codes, flat = of.codes(s).flatten().numpy(), (z.flatten().numpy(), a.flatten().numpy())
    edges = np.linspace(s.min().item(), s.max().item(), 5)
    assert codes.tolist() == (np.searchsorted(edges[1:-1], s.flatten().numpy(), side="right")).tolist()
    for code in range(4):
        z_in, a_in = (each[codes == code] for each in flat)
        slope = np.linalg.lstsq(z_in[:, None], a_in, rcond=None)[0]
        assert of.table[0, 0, code].item() == pytest.approx(slope.item())


def test_a_row_that_never_varies_has_its_one_value() -> None:
    u = torch.full((1, 2, 5), 0.25, dtype=torch.float64)
    of = fitted(u, torch.ones_like(u), torch.tensor([3]))
    assert torch.equal(of.values(u), u)
    assert of.codes(u).unique().tolist() == [0]


def test_relus_mask_has_two_levels_and_loses_nothing() -> None:
    for norm in (None, LayerNorm()):
        experiments = experiments_of(ReLU(), norm)
        b, p = experiments[0].bottleneck, parameters_of(experiments)
        of, _ = found(experiments, p)
        assert of.mask.count.tolist() == [2, 2]
        assert of.mask_rise.abs().max() < 1e-12
        assert of.binary_rise.abs().max() < 1e-12
        x = data_of(experiments, 64, 2048)
        codes, _ = of.codes(b, p, x)
        assert torch.equal(codes, (forward(b, p, x).pre > 0).long())


def test_a_linear_layer_has_one_level() -> None:
    experiments = experiments_of(Linear())
    of, _ = found(experiments, parameters_of(experiments))
    assert of.mask.count.tolist() == [1, 1]


@pytest.mark.parametrize("activation, norm", LAYERS, ids=IDS)
def test_no_fewer_levels_would_do(activation: Activation, norm: LayerNorm | None) -> None:
    experiments = experiments_of(activation, norm, binary=False)
    b, p = experiments[0].bottleneck, parameters_of(experiments, 2.0)
    of, loss = found(experiments, p)
    own = loss(lambda x: forward(b, p, x))
    fit = forward(b, p, data_of(experiments, 512))
    s = levels.mask_of(activation, fit.pre)

    def rise(count: Tensor) -> Tensor:
        mask = fitted(s, fit.pre.square(), count)
        return loss(lambda x: run_in_levels(b, p, x, mask, None)) / own - 1

    assert (of.mask_rise <= RISE).all()
    torch.testing.assert_close(rise(of.mask.count), of.mask_rise)
    for fewer in COUNTS:
        at = torch.full((K,), fewer)
        assert (rise(at)[at < of.mask.count] > RISE).all()
    if of.scale is not None:
        held = of.scale
        assert of.scale_rise is not None
        torch.testing.assert_close(loss(lambda x: run_in_levels(b, p, x, None, held)) / own - 1, of.scale_rise)
        assert (of.scale_rise <= RISE).all()


@pytest.mark.parametrize("activation, norm", LAYERS, ids=IDS)
def test_without_levels_it_is_forward_and_with_many_it_comes_near(
    activation: Activation, norm: LayerNorm | None
) -> None:
    experiments = experiments_of(activation, norm, binary=False)
    b, p, x = experiments[0].bottleneck, parameters_of(experiments), data_of(experiments, 256)
    live = forward(b, p, x)
    assert torch.equal(run_in_levels(b, p, x, None, None).out, live.out)
    many = torch.full((K,), 4096)
    mask = fitted(levels.mask_of(activation, live.pre), live.pre.square(), many)
    torch.testing.assert_close(run_in_levels(b, p, x, mask, None).out, live.out, rtol=1e-2, atol=1e-2)


def test_a_models_levels_are_its_own_whatever_is_beside_it() -> None:
    experiments = experiments_of(SoLU(), LayerNorm(), binary=False)
    p = parameters_of(experiments)
    both = found(experiments, p)[0]
    for k in range(K):
        alone = found(experiments[k : k + 1], p[k : k + 1])[0]
        assert both.mask.count[k] == alone.mask.count[0]
        assert both.scale is not None
        assert alone.scale is not None
        assert both.scale.count[k] == alone.scale.count[0]
        torch.testing.assert_close(both.mask_rise[k], alone.mask_rise[0])


def test_neurons_in_another_order_have_their_codes_in_that_order() -> None:
    experiments = experiments_of(GeLU(), LayerNorm(), binary=False)
    b, p, x = experiments[0].bottleneck, parameters_of(experiments), data_of(experiments, 64, 1024)
    order = np.random.default_rng(1).permutation(M)
    other = with_neurons_in_order(p, order)
    (mask, scale), (permuted, same) = (found(experiments, each)[0].codes(b, each, x) for each in (p, other))
    assert torch.equal(mask[:, torch.from_numpy(order)], permuted)
    assert scale is not None
    assert same is not None
    assert torch.equal(scale, same)


def test_a_scales_levels_do_not_see_what_layer_norm_deletes() -> None:
    experiments = experiments_of(Linear(), LayerNorm(), binary=False)
    p = parameters_of(experiments)
    one, other = (found(experiments, each)[0] for each in (p, with_gauge(p)))
    assert one.scale is not None
    assert other.scale is not None
    torch.testing.assert_close(one.scale.table, other.scale.table)
    assert one.mask.count.tolist() == other.mask.count.tolist() == [1, 1]
