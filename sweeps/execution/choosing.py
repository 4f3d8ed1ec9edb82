"""Choosing: which engine, device and executor train a plan, of what the options and the run folder say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from toymodels.engines import ENGINES, Engine, Unsupported, choices, choose
from toymodels.engines.devices import misnamed
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.execution.devices import automatic
from toymodels.sweeps.execution.executor import Executor
from toymodels.sweeps.execution.local import InProcess
from toymodels.sweeps.execution.machines import Machine
from toymodels.sweeps.execution.reporter import SILENT, Reporter
from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.store.locks import Shard


def check_options(engine: str, device: str, workers: int | None, scheduler: str | None, shard: Shard | None) -> None:
    """Raise `SpecError` for options that say who trains by what: for names that nobody could follow, options that do
    not go together, and where Dask is not installed. Nobody is asked."""
    _check_engine(engine)
    if device != "auto":
        _check_device(device)
    given = {"--shard": shard, "--workers": workers, "--scheduler": scheduler}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise SpecError(f"{' and '.join(named)}: choose one of them")
    if workers is None and scheduler is None:
        return
    if device.startswith("cuda:"):
        raise SpecError(f"--device: {device} is one device, and {named[0]} is for several: choose cuda")
    if workers is not None and workers < 1:
        raise SpecError(f"--workers: expected 1 or more, got {workers}")
    if find_spec("distributed") is None:
        raise SpecError(f"{named[0]}: needs Dask: pip install 'toymodels[cluster]'")


def _check_engine(engine: str) -> None:
    """Raise `SpecError` for what is neither ``auto`` nor an engine of this version."""
    if engine not in ("auto", *ENGINES):
        raise SpecError(f"--engine: '{engine}' is not in this version (choose {choices()})")


def _check_device(device: str) -> None:
    """Raise `SpecError` for what is neither a kind of device nor a numbered one of CUDA."""
    if reason := misnamed(device):
        raise SpecError(f"--device: {reason}")


def machines_to_ask(
    scheduler: str | None, recorded: Mapping[str, str], reporter: Reporter, *, finished: bool = False
) -> Sequence[Machine]:
    """Those that will train, where an engine and a device are to be chosen for them: this machine, or every worker of
    the scheduler.

    Nobody where a run is ``finished``: then nothing is trained, and it does not matter what a machine lacks. Nobody
    either where workers go on with a run folder: they are asked when they are to train.
    """
    if scheduler is None:
        return [] if finished else [Machine.here()]
    if recorded:
        return []
    from toymodels.sweeps.execution.dask import workers_of  # Dask is an optional part, and slow to import

    return workers_of(scheduler, reporter)


def resolve_engine(
    engine: str,
    device: str,
    plan: Plan,
    recorded: Mapping[str, str],
    reporter: Reporter,
    machines: Sequence[Machine] | None = None,
) -> str:
    """The engine named; for ``auto`` the run folder's, or the fastest that can train every model of the plan.

    On each of the ``machines``, this one if others are not given; there are none where nothing is to be trained. Raises
    `SpecError` for one that this version lacks, or that cannot train this plan.
    """
    those = [Machine.here()] if machines is None else machines

    def lacks(engine: Engine) -> str | None:
        return next((reason for machine in those if (reason := machine.without_engine(engine.name, device))), None)

    if engine == "auto":
        engine = recorded.get("engine", "auto")
    _check_engine(engine)
    some = slice(1) if all(each.judges_by_one() for each in ENGINES.values()) else slice(None)
    batches = (plan.experiments(plan.settings(pack.models[some])) for pack in plan.packs)
    try:
        chosen = choose(engine, batches, device, lacks=lacks)
    except Unsupported as refusal:
        raise SpecError(f"--engine: {refusal}") from None
    if chosen.passed_over:
        name = chosen.engine.name
        reporter.note(f"engine {name}: {chosen.passed_over.removesuffix(f': use engine {name}')}")
    return chosen.engine.name


def resolve_device(
    device: str,
    recorded: Mapping[str, str],
    reporter: Reporter = SILENT,
    machines: Sequence[Machine] | None = None,
    engine: str = "auto",
) -> str:
    """The device named, or for ``auto`` the run folder's or the best there is for the engine, said where it is news.

    One CUDA device of several is named by its number, ``cuda:1``. Raises `SpecError` for none of these, and for one
    that any of the ``machines`` lacks, this one if others are not given.
    """
    those = [Machine.here()] if machines is None else machines
    if device == "auto":
        chosen = automatic(recorded, those, engine)
        if not chosen.expected:
            reporter.note(str(chosen))
        device = chosen.device
    _check_device(device)
    for machine in those:
        if reason := machine.without_device(device):
            raise SpecError(f"--device: {reason} (choose auto or cpu)")
    kind, _, number = device.partition(":")
    return f"{kind}:{int(number)}" if number else kind


def choose_executor(engine: str, device: str, workers: int | None = None, scheduler: str | None = None) -> Executor:
    """Who trains: this process, so many ``workers`` on this machine, or those of the ``scheduler`` at an address."""
    if workers is None and scheduler is None:
        return InProcess(engine, device)
    from toymodels.sweeps.execution.dask import Cluster  # Dask is an optional part, and slow to import

    return Cluster(engine, device, scheduler, workers or 0)
