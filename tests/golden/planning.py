"""What every shipped sweep plans."""

from __future__ import annotations

import hashlib
from typing import Any

from .door import door
from .inside import planned


def plans() -> dict[str, Any]:
    """Of every sweep that ``list`` names: its models as ``list`` has them, and what `planned` gives."""
    return {
        row["name"]: plan(row["name"]) | {"listed": row["models"]} for row in door("list", "--json").json()["sweeps"]
    }


def plan(name: str) -> dict[str, Any]:
    """Hash, counts and keys of one shipped sweep."""
    of = planned(name)
    return {
        "hash": of.hash,
        "models": len(of.keys),
        "packs": of.packs,
        "keys": hashlib.sha256("\n".join(of.keys).encode()).hexdigest(),
        "first_key": of.keys[0],
        "last_key": of.keys[-1],
    }
