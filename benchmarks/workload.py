"""Workloads: the tasks on which engines and peers are timed. Every model has its own seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import toymodels as tm

ACTIVATIONS = {"linear": tm.Linear(), "relu": tm.ReLU(), "gelu": tm.GeLU(), "solu": tm.SoLU()}


@dataclass(frozen=True)
class Workload:
    """``models`` bottlenecks n -> m -> n with a ReLU output and an output bias, trained by Adam at 1e-3.

    With an ``embedding`` d > 0 they are decoders n -> d -> m -> n of binary features, E fixed and each model's own,
    with a hidden bias and a linear output.
    """

    name: str
    models: int
    n: int
    m: int
    batch: int
    activation: str = "linear"
    layer_norm: bool = False
    tied: bool = True
    absolute: bool = False
    embedding: int = 0
    cross_entropy: bool = False
    densities: tuple[float, ...] = (0.3, 0.05)
    """at which it is timed"""

    def __str__(self) -> str:
        sizes = (self.n, self.embedding, self.m) if self.embedding else (self.n, self.m)
        parts = [f"{self.models:,} x {'->'.join(map(str, sizes))}", f"batch {self.batch}"]
        parts += [] if self.tied else ["untied"]
        parts += [] if self.activation == "linear" else [self.activation + ("+LN" if self.layer_norm else "")]
        parts += ["abs(x)"] if self.absolute else []
        parts += ["cross-entropy"] if self.cross_entropy else []
        return f"{self.name}: {', '.join(parts)}"

    def flop(self) -> float:
        """Of one step of one model computed densely: two products with W_in, three with W_out, one with a fixed E."""
        inputs = self.embedding or self.n
        return 2.0 * (2 * inputs * self.m + 3 * self.n * self.m + self.n * self.embedding) * self.batch

    def experiments(self, density: float, steps: int) -> list[tm.Experiment]:
        """The workload for our engines."""
        values = tm.Binary() if self.embedding else tm.UniformValues()
        features = tm.Features(self.n, density, values=values, signed=self.absolute)
        norm = tm.LayerNorm() if self.layer_norm else None
        bottleneck = tm.Bottleneck(self.m, ACTIVATIONS[self.activation], norm, tied=self.tied)
        if self.embedding:
            embedding = tm.Embedding(self.embedding)
            bottleneck = replace(bottleneck, output=tm.Linear(), hidden_bias=True, embedding=embedding)
        loss = tm.CrossEntropy() if self.cross_entropy else tm.Squared()
        target = tm.AbsoluteValue() if self.absolute else tm.Identity()
        training = tm.Training(steps=steps, batch=self.batch, curve_points=2)
        seeds = range(self.models)
        return [tm.Experiment(features, bottleneck, training, target, seed=seed, loss=loss) for seed in seeds]


DECODER = Workload("W9", 64, 64, 64, 256, "solu", True, tied=False, embedding=16, densities=(0.3, 0.04))
WORKLOADS = (
    Workload("W1", 10, 5, 2, 1024),
    Workload("W2", 20, 100, 20, 1024),
    Workload("W3", 20, 200, 20, 1024),
    Workload("W4", 100_000, 2, 1, 64),
    Workload("W5", 7, 100, 40, 1024, "relu", tied=False, absolute=True),
    Workload("W6 relu", 64, 64, 16, 1024, "relu"),
    Workload("W6 gelu", 64, 64, 16, 1024, "gelu"),
    Workload("W6 solu", 64, 64, 16, 1024, "solu"),
    Workload("W6 solu+LN", 64, 64, 16, 1024, "solu", layer_norm=True),
    Workload("W7", 4, 512, 256, 4096, "gelu", tied=False),
    Workload("W8", 1000, 20, 5, 1024),
    DECODER,
    replace(DECODER, name="W10", cross_entropy=True),
)
