"""Drawing on a device that is no CPU: x from the stream, by one kernel or by many operations.

On a GPU where Triton is, one kernel draws every word and writes x. Elsewhere torch operations do, some 130 kernels that
hand whole arrays to one another: the readable reference of both that kernel and `toymodels.kernels.draw`, which draws
on a CPU. All three give the same bits. Values are 1 or uniform; what a value law makes of them is `toymodels.values`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toymodels import random
from toymodels.firing import SCALE
from toymodels.kernels.draw import BINARY, Source
from toymodels.kernels.on_gpu.availability import lacking
from toymodels.random import Domain


def read_by_kernels(source: Source) -> tuple[np.ndarray, ...]:
    """What kernels in Triton read of a source, in types that torch has: seeds [model]; low, high and divisor [model,
    feature]; the group of each feature [feature], or one number where there are none."""
    member = source.member.astype(np.int32) if len(source.member) else np.zeros(1, np.int32)
    edges = source.low.view(np.int32), source.high.view(np.int32), source.divisor
    return source.seeds.view(np.int64), *edges, member


class Drawing:
    """What x of some models is drawn from, copied to a device once.

    Each way to draw takes a ``step``, a number or an int64 tensor of one number on the device, which is not waited for;
    how many ``samples`` from ``first_sample`` on, a multiple of 4; and the domains of the words. It returns x, float32
    [model, feature, samples]. Raises ``ValueError`` outside the ranges of a 32-bit counter.
    """

    def __init__(self, source: Source, device: torch.device) -> None:
        self.source, self.device, self.n = source, device, source.low.shape[1]
        self.has_kernel = lacking(str(device)) is None

    def draw(self, step: int | Tensor, samples: int, first_sample: int, data: Domain, firing: Domain) -> Tensor:
        """x by the kernel, where it can run."""
        how = self.by_kernel if self.has_kernel else self.in_torch
        return how(step, samples, first_sample, data, firing)

    def by_kernel(self, step: int | Tensor, samples: int, first_sample: int, data: Domain, firing: Domain) -> Tensor:
        """x by one kernel."""
        from toymodels.kernels.on_gpu import fill  # Triton is not everywhere, and slow to import

        random.check_range(self.n, samples, step if isinstance(step, int) else 0, first_sample)
        now = torch.full((), step, device=self.device) if isinstance(step, int) else step
        out = torch.empty(len(self.source.seeds), self.n, samples, device=self.device)
        with torch.cuda.device(self.device if self.device.type == "cuda" else -1):
            fill.launch(self._block, self._edges, now, out, first_sample, int(data), int(firing))
        return out

    def in_torch(self, step: int | Tensor, samples: int, first_sample: int, data: Domain, firing: Domain) -> Tensor:
        """x by torch operations."""
        words = random.words_torch(self._keys, self.n, samples, step, data, first_sample)
        if not self._groups:
            active = words <= self._columns["high"]
            r = words.double() / self._columns["divisor"]
        else:
            group = random.words_torch(self._keys, self._groups, samples, step, firing, first_sample)
            group = group.index_select(1, self._member)
            active = (self._columns["low"] <= group) & (group <= self._columns["high"])
            r = words.double() / SCALE
        value = 2 * r - 1 if self.source.signed else r
        if self.source.values == BINARY:
            value = torch.where(value >= 0, 1.0, -1.0)
        return torch.where(active, value, 0.0).float()

    @cached_property
    def _groups(self) -> int:
        """How many words a sample has that say which groups fire; 0 where every feature decides for itself."""
        return int(self.source.member.max()) + 1 if len(self.source.member) else 0

    @cached_property
    def _member(self) -> Tensor:
        return torch.from_numpy(self.source.member).to(self.device)

    @cached_property
    def _keys(self) -> random.RoundKeys:
        return random.seed_keys(self._seeds)

    @cached_property
    def _seeds(self) -> Tensor:
        return torch.from_numpy(self.source.seeds.view(np.int64)).to(self.device)

    @cached_property
    def _columns(self) -> dict[str, Tensor]:
        """Of each feature, as it broadcasts over samples: [model, feature, 1]."""

        def column(edges: np.ndarray, dtype: type) -> Tensor:
            return torch.from_numpy(edges.astype(dtype)).to(self.device)[:, :, None]

        source = self.source
        return {
            "low": column(source.low, np.int64),
            "high": column(source.high, np.int64),
            "divisor": column(source.divisor, np.float64),
        }

    @cached_property
    def _edges(self) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(each).to(self.device) for each in read_by_kernels(self.source))

    @cached_property
    def _block(self) -> Any:
        """What the kernel is compiled for."""
        from toymodels.kernels.on_gpu import fill

        return fill.block_of(self.n, bool(self._groups), self.source.values == BINARY, self.source.signed)
