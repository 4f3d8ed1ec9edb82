"""Moments: one pass over fresh data, from which every data-based measure is computed.

The sums run over evaluation samples: within a chunk of fixed size in the precision of the model, over chunks in
float64. Nothing of size (model x samples) is kept, so memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters, forward
from toymodels.metrics import fused_moments
from toymodels.training import why_not_fused
from toymodels.training.experiment import Experiment, sampler

CHUNK = 1024
TAPS = ("pre", "mid", "post")


@dataclass(frozen=True)
class Moments:
    """Means over samples, float64 unless said otherwise. t is the target, y the output, a tap one of `TAPS`."""

    samples: int
    active: Tensor
    """[model, feature], int64: in how many samples the feature is active"""
    t: Tensor
    """E t, [model, feature]"""
    tt: Tensor
    """E t^2, [model, feature]"""
    y: Tensor
    """E y, [model, feature]"""
    yy: Tensor
    """E y^2, [model, feature]"""
    squared_error: Tensor
    """E (t - y)^2, [model, feature]"""
    tap: dict[str, Tensor]
    """E tap, [model, hidden]"""
    tap_squared: dict[str, Tensor]
    """E tap^2, [model, hidden]"""
    tap_target: dict[str, Tensor]
    """E tap t, [model, hidden, feature]"""
    pre_pre: Tensor
    """E z z', [model, hidden, hidden]"""
    mid_pre: Tensor
    """E act(z) z', [model, hidden, hidden]"""

    @property
    def target_variance(self) -> Tensor:
        """Var t on these samples, [model, feature]."""
        return self.tt - self.t.square()

    def tap_variance(self, tap: str) -> Tensor:
        """Var tap on these samples, [model, hidden]; rounding below 0 is cut."""
        return (self.tap_squared[tap] - self.tap[tap].square()).clamp(min=0)


def collect(experiments: Sequence[Experiment], parameters: Parameters, samples: int) -> Moments:
    """Run the models on ``samples`` fresh samples of their own stream and collect the moments.

    In fused kernels where there are some for these models; in torch operations, the reference, elsewhere.
    """
    if why_not_fused(experiments, parameters.W_in.device.type, parameters.W_in.dtype):
        return _moments(torch_sums(experiments, parameters, samples), samples)
    named = fused_moments.sums(experiments, parameters, samples)
    return _moments({name: torch.from_numpy(value) for name, value in named.items()}, samples)


def torch_sums(experiments: Sequence[Experiment], parameters: Parameters, samples: int) -> dict[str, Tensor]:
    """What `Moments` holds, as sums over samples, float64."""
    first, data = experiments[0], sampler(experiments)
    dtype = parameters.W_in.dtype
    sums: dict[str, Tensor] = {}

    def add(name: str, value: Tensor) -> None:
        sums[name] = sums[name] + value.double() if name in sums else value.double()

    for start in range(0, samples, CHUNK):
        x = data.evaluation(start, min(CHUNK, samples - start)).to(dtype)
        t = first.target(x)
        taps = forward(first.bottleneck, parameters, x)
        add("active", (x != 0).sum(2))
        add("t", t.sum(2))
        add("tt", t.square().sum(2))
        add("y", taps.out.sum(2))
        add("yy", taps.out.square().sum(2))
        add("squared_error", (t - taps.out).square().sum(2))
        for name in TAPS:
            tap = getattr(taps, name)
            add(f"tap {name}", tap.sum(2))
            add(f"tap_squared {name}", tap.square().sum(2))
            add(f"tap_target {name}", tap @ t.transpose(1, 2))
        add("pre_pre", taps.pre @ taps.pre.transpose(1, 2))
        add("mid_pre", taps.mid @ taps.pre.transpose(1, 2))

    return sums


def _moments(sums: dict[str, Tensor], samples: int) -> Moments:
    def mean(name: str) -> Tensor:
        return sums[name] / samples

    def by_tap(name: str) -> dict[str, Tensor]:
        return {tap: mean(f"{name} {tap}") for tap in TAPS}

    single = ("t", "tt", "y", "yy", "squared_error", "pre_pre", "mid_pre")
    return Moments(
        samples=samples,
        active=sums["active"].long(),
        tap=by_tap("tap"),
        tap_squared=by_tap("tap_squared"),
        tap_target=by_tap("tap_target"),
        **{name: mean(name) for name in single},
    )
