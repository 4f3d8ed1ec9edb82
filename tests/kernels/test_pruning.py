"""Pruning in the kernels is pruning in PyTorch, weight by weight: any shape, many ties, few numbers that are not 0."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
import torch

import toymodels as tm
from toymodels.bottleneck import Parameters
from toymodels.engines.fused.layout import pack, shape_of, unpack
from toymodels.kernels.pruning import kept as kept_in_kernels
from toymodels.kernels.pruning import prune
from toymodels.kernels.vector import pointer
from toymodels.kernels.workspace import aligned
from toymodels.training.pruning import kept, pruned

prune_from_python: Any = numba.njit(
    lambda shape, share, t, theta, room: prune(shape, share, t, 10, pointer(theta), pointer(room))
)
kept_from_python: Any = numba.njit(lambda share, entries, t, steps: kept_in_kernels(share, entries, t, steps))


@pytest.mark.parametrize("values", ["any", "ties", "mostly 0", "signs"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("n, m", [(1, 1), (3, 2), (7, 5), (9, 8), (6, 9), (12, 20), (33, 40)])
def test_the_same_weights_stay(n: int, m: int, tied: bool, values: str) -> None:
    chance = np.random.default_rng([n, m])
    shape = shape_of(tm.Experiment(tm.Features(n, 0.5), tm.Bottleneck(m, tied=tied, hidden_bias=True)))

    def some(*size: int) -> torch.Tensor:
        x = chance.normal(size=(1, *size))
        made = {"any": x, "ties": np.rint(2 * x), "mostly 0": x * (x > 1.5), "signs": np.sign(x)}[values]
        return torch.from_numpy(made.astype(np.float32))

    before = Parameters(some(m, n), None if tied else some(n, m), some(m), some(n))
    for share in (0.01, 0.3, 0.77, 0.999):
        theta, room = pack(shape, before)[0], aligned(shape.size)
        prune_from_python(shape, share, 8, theta, room)
        expected = pruned(before.present(), torch.tensor([share], dtype=torch.float64), 8, 10)
        for name, weights in unpack(shape, theta[None]).items():
            assert torch.equal(weights, expected[name]), (name, share)
        assert (pack(shape, Parameters(**expected))[0] == theta).all()  # what fills matrices up is still 0


def test_as_many_stay_at_every_step() -> None:
    shares = (1e-9, 0.1, 0.125, 1 / 3, 0.9999, 1.0)
    for entries in (1, 7, 45, 512, 4097):
        for t in (1, 2, 33, 50, 51, 100):
            expected = [kept_from_python(share, entries, t, 100) for share in shares]
            for counted in (t, torch.tensor(t)):
                assert kept(torch.tensor(shares, dtype=torch.float64), entries, counted, 100).tolist() == expected
