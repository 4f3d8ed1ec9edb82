"""Freezing: exact at the point, affine away from it, and blind to what LayerNorm cannot see, where it can be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.hypotheses.linearisation.conftest import (
    M,
    data_of,
    experiments_of,
    parameters_of,
    with_gauge,
    with_neurons_in_order,
)
from toymodels import Activation, GeLU, LayerNorm, Linear, SoLU, forward
from toymodels.activations import ACTIVATIONS
from toymodels.hypotheses.linearisation.freezing import OF_NORM, Frozen, affine_freeze, freezes, frozen


@pytest.mark.parametrize("norm", [None, LayerNorm(), LayerNorm(1e-12, affine=False)], ids=["bare", "LN", "plain LN"])
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=lambda each: each.name)
def test_whatever_is_frozen_is_exact_at_the_point(activation: Activation, norm: LayerNorm | None) -> None:
    experiments = experiments_of(activation, norm, binary=False)
    b, p, x = experiments[0].bottleneck, parameters_of(experiments), data_of(experiments, 64)
    live = forward(b, p, x)
    assert set(freezes(b)) == {"mask"} | (set() if norm is None else set(OF_NORM))
    for what in freezes(b).values():
        torch.testing.assert_close(frozen(b, p, x, x, what).out, live.out, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", [None, LayerNorm()], ids=["bare", "LN"])
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=lambda each: each.name)
def test_the_least_that_must_be_frozen_leaves_an_affine_read_out_and_no_less_does(
    activation: Activation, norm: LayerNorm | None
) -> None:
    experiments = experiments_of(activation, norm, binary=False)
    b, p, at = experiments[0].bottleneck, parameters_of(experiments), data_of(experiments, 1)
    x, y = data_of(experiments, 64, 64), data_of(experiments, 64, 128)

    def bend(what: Frozen) -> float:
        def f(of: torch.Tensor) -> torch.Tensor:
            return frozen(b, p, at, of, what).readout

        return float((f(x + y) - f(x) - f(y) + f(torch.zeros_like(x))).abs().max())

    of = freezes(b)
    assert bend(of[affine_freeze(b)]) < 1e-10
    if norm is not None:
        assert bend(of["everything"]) < 1e-10
        assert bend(Frozen.MASK) > 1e-3
        assert type(activation) is Linear or bend(Frozen.SCALE) > 1e-3


def test_a_norms_parts_need_a_norm() -> None:
    experiments = experiments_of(SoLU())
    x = data_of(experiments, 4)
    with pytest.raises(ValueError, match="expected a model with LayerNorm"):
        frozen(experiments[0].bottleneck, parameters_of(experiments), x, x, Frozen.SCALE)


@pytest.mark.parametrize("what", OF_NORM.values(), ids=list(OF_NORM))
def test_what_is_frozen_is_the_other_examples_and_the_rest_is_its_own(what: Frozen) -> None:
    experiments = experiments_of(GeLU(), LayerNorm())
    b, p, at = experiments[0].bottleneck, parameters_of(experiments), data_of(experiments, 32)
    x = data_of(experiments, 32, 32)
    here, there = forward(b, p, x), forward(b, p, at)
    mid = here.pre * 0.5 * torch.erfc(-there.pre / math.sqrt(2)) if Frozen.MASK in what else here.mid
    of_mean, of_scale = (there.mid if part in what else mid for part in (Frozen.MEAN, Frozen.SCALE))
    assert p.ln_gain is not None
    assert p.ln_bias is not None
    scale = (of_scale.var(1, correction=0, keepdim=True) + 1e-5).rsqrt()
    post = (mid - of_mean.mean(1, keepdim=True)) * scale * p.ln_gain[:, :, None] + p.ln_bias[:, :, None]
    torch.testing.assert_close(frozen(b, p, at, x, what).post, post)


def test_the_frozen_scale_does_not_see_what_layer_norm_deletes_and_the_frozen_mean_does() -> None:
    experiments = experiments_of(Linear(), LayerNorm())
    b, p, at, x = (
        experiments[0].bottleneck,
        parameters_of(experiments),
        data_of(experiments, 32),
        data_of(experiments, 32, 32),
    )
    shifted = with_gauge(p)
    torch.testing.assert_close(forward(b, p, x).out, forward(b, shifted, x).out)
    for name, what in freezes(b).items():
        same = torch.allclose(frozen(b, p, at, x, what).out, frozen(b, shifted, at, x, what).out, atol=1e-9)
        assert same == (Frozen.MEAN not in what), name


@pytest.mark.parametrize("what", OF_NORM.values(), ids=list(OF_NORM))
def test_the_order_of_neurons_means_nothing(what: Frozen) -> None:
    experiments = experiments_of(SoLU(), LayerNorm())
    b, p, at, x = (
        experiments[0].bottleneck,
        parameters_of(experiments),
        data_of(experiments, 32),
        data_of(experiments, 32, 32),
    )
    other = with_neurons_in_order(p, np.random.default_rng(0).permutation(M))
    torch.testing.assert_close(frozen(b, p, at, x, what).out, frozen(b, other, at, x, what).out)
