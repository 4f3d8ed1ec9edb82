"""Choosing: which engine, device and executor train a plan, of what the options and the run folder say."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import torch

from toymodels.engines import ENGINES, Unsupported, choices, choose
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.execution.devices import automatic
from toymodels.sweeps.execution.executor import Executor
from toymodels.sweeps.execution.local import InProcess
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.store.locks import Shard

DEVICES = ("cpu", "cuda")


def resolve_engine(engine: str, device: str, plan: Plan, recorded: Mapping[str, str], reporter: Reporter) -> str:
    """The engine named; for ``auto`` the run folder's, or the fastest that can train every model of the plan.

    Raises `SpecError` for one that this version lacks, or that cannot train this plan.
    """
    if engine == "auto":
        engine = recorded.get("engine", "auto")
    if engine not in ("auto", *ENGINES):
        raise SpecError(f"--engine: '{engine}' is not in this version (choose {choices()})")
    some = slice(1) if all(each.judges_by_one() for each in ENGINES.values()) else slice(None)
    batches = (plan.experiments(plan.settings(pack.models[some])) for pack in plan.packs)
    try:
        chosen = choose(engine, batches, device)
    except Unsupported as refusal:
        raise SpecError(f"--engine: {refusal}") from None
    if chosen.passed_over:
        name = chosen.engine.name
        reporter.note(f"engine {name}: {chosen.passed_over.removesuffix(f': use engine {name}')}")
    return chosen.engine.name


def resolve_device(device: str, recorded: Mapping[str, str], here: bool = True) -> str:
    """The device named, or for ``auto`` the run folder's or the best there is; raises `SpecError` for none of these.

    One CUDA device of several is named by its number, ``cuda:1``. Where training is not to be ``here``, a CUDA device
    may be named that this machine lacks.
    """
    if device == "auto":
        device = automatic(recorded)
    kind, colon, number = device.partition(":")
    numbered = kind == "cuda" and number.isascii() and number.isdecimal()
    if kind not in DEVICES or (colon and not numbered):
        raise SpecError(
            f"--device: expected auto, {', '.join(DEVICES)} or a numbered one such as cuda:1, got '{device}'"
        )
    if kind == "cuda" and here:
        if not torch.cuda.is_available():
            raise SpecError("--device: this machine has no CUDA device that torch can use (choose auto or cpu)")
        there = torch.cuda.device_count()
        if numbered and int(number) >= there:
            raise SpecError(
                f"--device: this machine has {there} CUDA devices, cuda:0 to cuda:{there - 1}, got '{device}'"
            )
    return f"{kind}:{int(number)}" if numbered else kind


def kind_of(device: str) -> str:
    """``cuda`` of ``cuda:1``: what a run folder records, as the number changes nothing."""
    return device.partition(":")[0]


def choose_executor(
    engine: str, device: str, workers: int | None = None, scheduler: str | None = None, shard: Shard | None = None
) -> Executor:
    """Who trains: this process, so many ``workers`` on this machine, or those of the ``scheduler`` at an address.

    Raises `SpecError` for options that do not go together, and where Dask is not installed.
    """
    given = {"--shard": shard, "--workers": workers, "--scheduler": scheduler}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise SpecError(f"{' and '.join(named)}: choose one of them")
    if workers is None and scheduler is None:
        return InProcess(engine, device)
    if ":" in device:
        raise SpecError(f"--device: {device} is one device, and {named[0]} is for several: choose cuda")
    if workers is not None and workers < 1:
        raise SpecError(f"--workers: expected 1 or more, got {workers}")
    if find_spec("distributed") is None:
        raise SpecError(f"{named[0]}: needs Dask: pip install 'toymodels[cluster]'")
    from toymodels.sweeps.execution.dask import Cluster  # Dask is an optional part, and slow to import

    return Cluster(engine, device, scheduler, workers or 0)
