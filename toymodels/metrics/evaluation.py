"""Evaluation: on how much fresh data a model is measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from toymodels.checks import Whole, setting, settle

MAX_SAMPLES = 10**9


@dataclass(frozen=True)
class Evaluation:
    """How trained models are measured."""

    samples: int = field(
        default=50_000, metadata=setting(Whole(1, MAX_SAMPLES), "fresh samples, from a stream of their own")
    )

    def __post_init__(self) -> None:
        settle(self)
