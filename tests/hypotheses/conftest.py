"""Small arms with every number moved away from where it starts, so that no term of an equation is 0 by chance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from toymodels import AbsoluteValue, Bottleneck, Experiment, Features, Identity, Parameters, UniformValues
from toymodels.hosts import Models
from toymodels.initialisation import initialise
from toymodels.training.experiment import sampler
from toymodels.values import Values

MakeArm = Callable[..., Models]


@pytest.fixture(scope="session")
def make_arm() -> MakeArm:
    def make(
        bottleneck: Bottleneck,
        values: Values | None = None,
        models: int = 2,
        n: int = 9,
        density: float = 0.2,
        dtype: torch.dtype = torch.float32,
        signed: bool = False,
    ) -> Models:
        features = Features(n, density, values=values or UniformValues(), signed=signed)
        target = AbsoluteValue() if signed else Identity()
        es = [Experiment(features, bottleneck, target=target, seed=seed) for seed in range(models)]
        start = initialise([bottleneck] * models, sampler(es), dtype)
        noise = torch.Generator().manual_seed(5)
        trained = start.trained(bottleneck)
        moved = {name: t + 0.3 * torch.randn(t.shape, generator=noise, dtype=dtype) for name, t in trained.items()}
        return Models(es, Parameters(**moved, ln_eps=start.ln_eps))

    return make
