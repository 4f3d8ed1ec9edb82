"""What the command line does not say: the only place here that knows where something stands inside the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Planned:
    """A plan: its hash, how many packs it has, and the key of every model in order."""

    hash: str
    packs: int
    keys: Sequence[str]


def planned(name: str) -> Planned:
    """The plan of a shipped sweep."""
    from toymodels.sweeps.plan.plan import make_plan
    from toymodels.sweeps.spec.sweep import find, read

    plan = make_plan(read(find(name)))
    return Planned(plan.hash, len(plan.packs), [plan.keys[model] for model in range(len(plan))])
