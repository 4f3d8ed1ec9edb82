"""Workloads: the tasks on which engines and peers are timed. Every model has its own seed."""

from __future__ import annotations

from dataclasses import dataclass

import toymodels as tm

ACTIVATIONS = {"linear": tm.Linear(), "relu": tm.ReLU(), "gelu": tm.GeLU(), "solu": tm.SoLU()}


@dataclass(frozen=True)
class Workload:
    """``models`` bottlenecks n -> m -> n with a ReLU output and an output bias, trained by Adam at 1e-3."""

    name: str
    models: int
    n: int
    m: int
    batch: int
    activation: str = "linear"
    layer_norm: bool = False
    tied: bool = True
    absolute: bool = False

    def __str__(self) -> str:
        parts = [f"{self.models:,} x {self.n}->{self.m}", f"batch {self.batch}"]
        parts += [] if self.tied else ["untied"]
        parts += [] if self.activation == "linear" else [self.activation + ("+LN" if self.layer_norm else "")]
        parts += ["abs(x)"] if self.absolute else []
        return f"{self.name}: {', '.join(parts)}"

    def flop(self) -> float:
        """Of one step of one model computed densely: five products of 2 n m batch."""
        return 10.0 * self.n * self.m * self.batch

    def experiments(self, density: float, steps: int) -> list[tm.Experiment]:
        """The workload for our engines."""
        features = tm.Features(self.n, density, signed=self.absolute)
        norm = tm.LayerNorm() if self.layer_norm else None
        bottleneck = tm.Bottleneck(self.m, ACTIVATIONS[self.activation], norm, tied=self.tied)
        target = tm.AbsoluteValue() if self.absolute else tm.Identity()
        training = tm.Training(steps=steps, batch=self.batch, curve_points=2)
        return [tm.Experiment(features, bottleneck, training, target, seed=seed) for seed in range(self.models)]


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
)
