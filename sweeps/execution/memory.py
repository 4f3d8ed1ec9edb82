"""Memory: how much of it one batch of models may take."""

from __future__ import annotations

import psutil

SHARE = 0.7
"""of what is available, for a batch: the rest is for what is measured and written meanwhile"""


def memory_budget(device: str) -> int | None:
    """Bytes that a batch may take on this device; None where the device itself says when it is full."""
    return int(SHARE * psutil.virtual_memory().available) if device == "cpu" else None
