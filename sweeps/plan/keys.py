"""Keys: what tells many models apart, twelve bytes each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np

from toymodels.sweeps.spec.settings import KEY_BYTES


class Keys(Sequence[str]):
    """The keys of models 0, 1, ..., each a hash of its settings: read as hex, kept as bytes."""

    def __init__(self, digests: bytes | bytearray | np.ndarray) -> None:
        # numpy takes zeros at the end of such a string for padding: all are of one length, so it compares them rightly.
        self._digests = np.frombuffer(digests, f"S{KEY_BYTES}")

    def __len__(self) -> int:
        return len(self._digests)

    @overload
    def __getitem__(self, model: int) -> str: ...
    @overload
    def __getitem__(self, model: slice) -> Keys: ...
    def __getitem__(self, model: int | slice) -> str | Keys:
        if isinstance(model, slice):
            return Keys(self._digests[model].copy())
        return self._digests[[model]].tobytes().hex()

    def __eq__(self, other: object) -> bool:
        return np.array_equal(self._digests, other._digests) if isinstance(other, Keys) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._digests.tobytes())

    def distinct(self) -> int:
        """How many different keys there are among these."""
        return len(np.unique(self._digests))

    def of(self, models: np.ndarray) -> Keys:
        """The keys of the models of these numbers, in this order."""
        return Keys(self._digests[models])

    def find(self, keys: Keys) -> np.ndarray:
        """Which model has each of ``keys``, int64; -1 where none has."""
        order = np.argsort(self._digests)
        places = np.searchsorted(self._digests, keys._digests, sorter=order)
        found = order[np.minimum(places, len(self) - 1)]
        return np.where(self._digests[found] == keys._digests, found, -1)

    def lines(self) -> str:
        """All keys in hexadecimal, one a line: what a plan's hash is taken of."""
        return self._digests.tobytes().hex("\n", KEY_BYTES)
