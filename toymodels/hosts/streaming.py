"""The stream of a model's activations: as many as a dictionary is trained on, each at a position of its own.

    position p    the model's evaluation sample 2^33 + (p mod 2^33)

Measures are taken on evaluation samples from 0 on, and never on so many (`toymodels.metrics.evaluation.MAX_SAMPLES`, of
which the verdict takes a few times as many), so that what is streamed is no sample that anything is measured on. It is
no training data either, which models have from another domain of `toymodels.random`. After 2^33 positions, some eight
billion, the stream begins again.

An activation depends on its position alone, not on the size of batches or on where one began: the layer is run on
blocks of so many positions that begin at multiples of their number.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from toymodels.bottleneck import hidden
from toymodels.checks import Whole
from toymodels.hosts.models import Models
from toymodels.surroundings import undisturbed

BEGINS = LENGTH = 2**33
"""The first evaluation sample that is streamed, and how many are: with them the 2^34 of the stream are used up."""
BLOCK = 2048
"""Positions at which a layer is run at once. A block stays in cache: with 16 neurons or 64, of 64 features, larger ones
took up to twice as long."""
START = Whole(0, 2**63 - 1)
BATCH = Whole(1, 2**31 - 1)


class ActivationStream(Iterator[Tensor]):
    """Batches of activations, float32 ``[batch, hidden]`` on the CPU, one after the other without end.

    A batch is the reader's own, and may be changed. ``position`` is that of the next sample:
    ``start=`` it, and another stream goes on from there.
    """

    def __init__(self, host: Models, tap: str, batch: int, start: int) -> None:
        self.host, self.tap, self.batch = host, tap, BATCH("batch", batch)
        self.position = START("start", start)
        self._index, self._rows = -1, torch.empty(0)

    @undisturbed
    def __next__(self) -> Tensor:
        parts, position, end = [], self.position, self.position + self.batch
        while position < end:
            rows = self._block(position // BLOCK)[position % BLOCK :][: end - position]
            parts.append(rows)
            position += len(rows)
        self.position = end
        return torch.cat(parts)

    def _block(self, index: int) -> Tensor:
        """The activations of a block, [sample, hidden]; the last one is kept."""
        if index != self._index:
            first = BEGINS + index * BLOCK % LENGTH
            with torch.no_grad():
                layer = hidden(self.host.bottleneck, self.host.parameters, self.host.examples(first, BLOCK).x)
            self._index, self._rows = index, rows_of(getattr(layer, self.tap))
        return self._rows

    def __repr__(self) -> str:
        return f"ActivationStream: {self.tap}, batches of {self.batch:,}, at position {self.position:,}"


def rows_of(columns: Tensor) -> Tensor:
    """float32 [batch, axis] of what one model has as [model = 1, axis, batch]."""
    return columns[0].T.float().contiguous().cpu()
