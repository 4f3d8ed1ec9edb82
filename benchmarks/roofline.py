"""The roofline of a training step: what it must compute and move, and how fast this device was seen to do either.

A step of a model is counted from its shapes alone. FLOP are those of its dense products. Bytes are of two kinds: the
*state*, weights with two moments, read and written once; and the *batch*, what has a row a sample, each array written
and read once (x, pre, post, out and the gradients of the last three). A kernel that keeps a model on the chip moves
neither; operations that hand arrays from one to the next move both (Williams, Waterman, Patterson 2009, *Roofline*).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks.timing import clock
from benchmarks.workload import Workload

REPEATS = 10
LAUNCHES = 200
FLOAT32 = 4


@dataclass(frozen=True)
class Peaks:
    """What a device was measured to do."""

    flop: float
    """FLOP a second of a large float32 product"""
    flop_tf32: float
    """the same where it may round its factors to tf32; no faster where the device has none"""
    bytes: float
    """bytes a second that a copy reads and writes, of arrays that no cache holds"""
    launch: float
    """seconds of an operation on one number, of many one after the other"""


def measure_peaks(device: str, product: int, copied: int) -> Peaks:
    """The best of `REPEATS`: products of two square matrices of ``product`` rows, copies of ``copied`` numbers."""
    a, b = (torch.rand(product, product, device=device) for _ in range(2))
    source = torch.rand(copied, device=device)
    goal, one = torch.empty_like(source), torch.zeros(1, device=device)
    before = torch.get_float32_matmul_precision()

    def multiplied(precision: str) -> float:
        torch.set_float32_matmul_precision(precision)
        return 2 * product**3 / _best(device, lambda: a @ b)

    def launched() -> Tensor:
        for _ in range(LAUNCHES):
            one.add_(1.0)
        return one

    try:
        return Peaks(
            flop=multiplied("highest"),
            flop_tf32=multiplied("high"),
            bytes=2 * FLOAT32 * copied / _best(device, lambda: goal.copy_(source)),
            launch=_best(device, launched) / LAUNCHES,
        )
    finally:
        torch.set_float32_matmul_precision(before)


def _best(device: str, work: Callable[[], Tensor]) -> float:
    work()
    return min(clock(device, work) for _ in range(REPEATS))


@dataclass(frozen=True)
class Step:
    """What a step of all models of a workload computes and moves."""

    flop: float
    state_bytes: float
    batch_bytes: float

    @staticmethod
    def of(w: Workload) -> Step:
        """Counted from its shapes; see the module."""
        inputs = w.embedding or w.n
        weights = inputs * w.m * (1 if w.tied else 2) + (0 if w.tied else (w.n - inputs) * w.m)
        vectors = w.n + (w.m if w.embedding else 0) + (2 * w.m if w.layer_norm else 0)
        rows = w.n + w.embedding + 2 * (w.m + w.m + w.n)
        return Step(
            flop=w.flop() * w.models,
            state_bytes=6.0 * FLOAT32 * (weights + vectors) * w.models,
            batch_bytes=2.0 * FLOAT32 * rows * w.batch * w.models,
        )

    def bounds(self, peaks: Peaks) -> dict[str, float]:
        """The least seconds of a step, if models stay on the chip and if every array is written and read once."""
        moved = (self.state_bytes + self.batch_bytes) / peaks.bytes
        return {"on chip": self.flop / peaks.flop, "by memory": max(self.flop / peaks.flop, moved)}

    def reached(self, peaks: Peaks, seconds: float) -> dict[str, float]:
        """What a step of so many seconds does: FLOP a second and their share of the peak, and of each bound."""
        shares = {f"of {name}": bound / seconds for name, bound in self.bounds(peaks).items()}
        rate = self.flop / seconds
        return {**asdict(self), "flop_per_s": rate, "of peak": rate / peaks.flop, **shares}
