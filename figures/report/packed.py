"""Arrays in a page: the bytes of all of them one after the other, gzipped, in base64; a place and a type for each.

    place = {"type": "f8" | "f4" | "f2" | "i4" | "u2" | "u1", "at": bytes, "count": numbers}

Numbers are little-endian, each array begins at a multiple of eight bytes, and what is undefined is NaN. ``f2`` is half
precision: three digits, up to 65,504; ``unpack.js`` reads all this back.
"""

from __future__ import annotations

import base64
import gzip
from typing import Any

import numpy as np

ALIGNED = 8
LEVEL = 6
"""of gzip: 9 took twice as long for a hundredth less (measured on weights)"""


class Packed:
    """Arrays that are put into a page together."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, array: np.ndarray, kind: str) -> dict[str, Any]:
        """Put an array behind the others, flat and of type ``kind``; returns its place."""
        if kind.startswith("f"):  # what is larger than the type goes is its largest, not infinite
            most = float(np.finfo(kind).max)
            array = np.clip(np.asarray(array, np.float64), -most, most)
        data = np.ascontiguousarray(array).astype(f"<{kind}").tobytes()
        place = {"type": kind, "at": self._size, "count": int(np.size(array))}
        padded = data + bytes(-len(data) % ALIGNED)
        self._parts.append(padded)
        self._size += len(padded)
        return place

    def text(self) -> str:
        """All arrays as the page holds them: the same text for the same arrays."""
        return in_base64(gzip.compress(b"".join(self._parts), LEVEL, mtime=0))


def in_base64(data: bytes) -> str:
    """Bytes as text without ``<``, quotes or line ends."""
    return base64.b64encode(data).decode("ascii")
