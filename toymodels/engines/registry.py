"""The registry of engines: a name is resolved into an engine here, once, at the edge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from toymodels.engines.autograd import AutogradEngine
from toymodels.engines.devices import DEVICES
from toymodels.engines.engine import Engine, Unsupported
from toymodels.engines.fused import FusedEngine
from toymodels.engines.gpu import GpuEngine, SplitEngine, Tf32Engine
from toymodels.training.experiment import Experiment

REFERENCE = AutogradEngine()
"""It refuses nothing."""
NAMED = (REFERENCE, Tf32Engine(), SplitEngine(), GpuEngine(), FusedEngine())
ENGINES: dict[str, Engine] = {engine.name: engine for engine in NAMED}
"""By name; of those that can train something on a device of theirs, "auto" takes the last."""


def choices() -> str:
    """What may stand for an engine, in words."""
    *names, last = "auto", *ENGINES
    return f"{', '.join(names)} or {last}"


def kinds_of(name: str) -> tuple[str, ...]:
    """The kinds of device that the engine of this name trains on; of "auto", and of what is no engine, all."""
    return ENGINES[name].devices if name in ENGINES else DEVICES


@dataclass(frozen=True)
class EngineChoice:
    """The engine that `choose` found to train a plan, and why it passed over another."""

    engine: Engine
    passed_over: str | None = None
    """why another one that is preferred on this device does not, in a sentence"""


def choose(
    name: str,
    batches: Iterable[Sequence[Experiment]],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    lacks: Callable[[Engine], str | None] | None = None,
) -> EngineChoice:
    """The engine of this name; for "auto" the last of those for this kind of device that can train all of the batches.

    It can where its machine has what it takes and it refuses none of them. ``lacks`` says what the machine lacks that
    will train, where that is not this one (`Engine.lacks`). Raises ``ValueError`` for a name that is none,
    `Unsupported` where the engine named cannot. No more batches are asked for than it takes to know.
    """
    if name not in ("auto", *ENGINES):
        raise ValueError(f"engine: expected {choices()}, got '{name}'")
    kind = device.partition(":")[0]
    fit = [engine for engine in ENGINES.values() if engine is REFERENCE or kind in engine.devices]
    left = fit if name == "auto" else [ENGINES[name]]
    machine = lacks or (lambda engine: engine.lacks(device))
    refusals = (lambda engine, some=some: engine.refuses(some, device, dtype) for some in batches)
    passed_over, asked = None, chain([machine], refusals)
    while left != [REFERENCE] and (why_not := next(asked, None)) is not None:
        for engine in reversed([*left]):
            reason = why_not(engine)
            if reason and left == [engine]:
                raise Unsupported(reason)
            if reason:
                left.remove(engine)
                passed_over = passed_over or reason
    return EngineChoice(left[-1], passed_over)
