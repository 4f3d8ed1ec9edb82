"""Optimizers against torch.optim, per-model rates, and Adam in a rotated basis."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toymodels import SGD, Adam, RotatedAdam
from toymodels.rotations import haar

STEPS = 40


def minimise(optimizer, weight, gradient, rate, decay, parameter="W_in", seeds=(0,)):
    weight = weight.clone()
    direction = optimizer.begin(parameter, weight, np.array(seeds))
    rate, decay = (torch.as_tensor(v, dtype=weight.dtype).view(-1, *[1] * (weight.dim() - 1)) for v in (rate, decay))
    for t in range(1, STEPS + 1):
        weight -= rate * direction(gradient(weight), weight, decay, t)
    return weight


def quadratic(target):
    return lambda weight: (weight - target) * torch.linspace(0.1, 5, weight.numel()).view_as(weight).to(weight)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    "ours, theirs",
    [
        (Adam(), lambda p, decay: torch.optim.AdamW(p, lr=0.05, weight_decay=decay)),
        (SGD(), lambda p, decay: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=decay)),
    ],
    ids=["adam", "sgd"],
)
def test_agrees_with_torch_optim(ours, theirs, decay):
    torch.manual_seed(0)
    start, target = torch.randn(1, 4, 6, dtype=torch.float64), torch.randn(1, 4, 6, dtype=torch.float64)
    gradient = quadratic(target)
    reference = torch.nn.Parameter(start.clone())
    optimizer = theirs([reference], decay)
    for _ in range(STEPS):
        reference.grad = gradient(reference.detach())
        optimizer.step()
    assert torch.allclose(minimise(ours, start, gradient, [0.05], [decay]), reference, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", [Adam(), SGD(), RotatedAdam()], ids=lambda o: o.name)
def test_every_model_has_its_own_state_rate_and_decay(optimizer):
    torch.manual_seed(0)
    start = torch.randn(2, 4, 6, dtype=torch.float64)
    seeds, rates, decays = [3, 4], [0.05, 0.01], [0.0, 0.2]
    together = minimise(optimizer, start, lambda w: w**3 - w, rates, decays, seeds=seeds)
    for k in range(2):
        alone = minimise(
            optimizer, start[k : k + 1], lambda w: w**3 - w, rates[k : k + 1], decays[k : k + 1], seeds=seeds[k : k + 1]
        )
        assert torch.allclose(alone[0], together[k], rtol=1e-12)


@pytest.mark.parametrize(
    "parameter, shape, axis", [("W_in", (1, 4, 6), 1), ("W_out", (1, 6, 4), 2), ("b_in", (1, 4), 1)]
)
def test_rotated_adam_is_adam_in_rotated_coordinates(parameter, shape, axis):
    torch.manual_seed(0)
    start, target = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    Q = haar(np.array([9]), 4, step=0)[0]

    def turn(matrix, x):
        return torch.from_numpy(np.moveaxis(np.tensordot(matrix.numpy(), x.numpy(), axes=(1, axis)), 0, axis))

    gradient = quadratic(target)
    ours = minimise(RotatedAdam(), start, gradient, [0.05], [0.1], parameter, seeds=[9])
    in_rotated = minimise(Adam(), turn(Q, start), lambda w: turn(Q, gradient(turn(Q.T, w))), [0.05], [0.1], parameter)
    assert torch.allclose(ours, turn(Q.T, in_rotated), rtol=1e-9, atol=1e-12)


def test_rotated_adam_leaves_the_output_bias_to_adam():
    start = torch.randn(1, 6, dtype=torch.float64)
    gradient = quadratic(torch.zeros_like(start))
    assert torch.equal(
        minimise(RotatedAdam(), start, gradient, [0.05], [0.0], "b_out"),
        minimise(Adam(), start, gradient, [0.05], [0.0], "b_out"),
    )
