"""Run: from a plan to a finished run folder.

Pack by pack: train, measure, write. A pack that is there and whole is never trained again, so the same command
continues an interrupted sweep and returns at once from a finished one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

from sweeps import packing, tables
from sweeps.errors import FolderError, InUse, SpecError
from sweeps.locks import Shard
from sweeps.plan import Pack, Plan
from sweeps.spec import Settings
from sweeps.store import Store
from sweeps.tensorfile import Damaged, StoredFile
from toymodels.kernels import compiled
from toymodels.metrics import evaluate, evaluated_loss, measure
from toymodels.metrics.moments import Moments
from toymodels.training import ENGINES, fused, train_each, why_not_fused
from toymodels.training.experiment import Experiment
from toymodels.training.memory import OutOfMemory
from toymodels.training.trained import Trained

DEVICES = ("cpu", "cuda")
MEMORY_SHARE = 0.7
ATTEMPTS = 2
"""runs in which a pack may fail before it is left out"""

OnProgress = Callable[[float], None]
"""Called with how many models' worth of training was done since the last call."""
OnNote = Callable[[str], None]
"""Called with one sentence the user should see."""
Part = tuple[Sequence[int], StoredFile, StoredFile]
"""The models of a finished pack, the pack, and what was measured of it."""


@dataclass
class Outcome:
    """How a run ended: model counts, and the packs that could not be trained, with the reason."""

    models: int
    trained: int = 0
    diverged: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    missing: int = 0
    """packs of other shards that are not there yet"""


def resolve_engine(engine: str, device: str, plan: Plan, recorded: Mapping[str, str], on_note: OnNote) -> str:
    """The engine named; for ``auto`` the run folder's, or fused where it can train every model of the plan.

    Raises `SpecError` for one that this version lacks, or that cannot train this plan.
    """
    if engine == "auto":
        engine = recorded.get("engine", "auto")
    if engine not in ("auto", *ENGINES):
        raise SpecError(f"--engine: '{engine}' is not in this version (choose auto, {' or '.join(ENGINES)})")
    if engine == "autograd":
        return engine
    firsts = (plan.experiments(plan.settings(pack.models[:1])) for pack in plan.packs)
    reason = next((reason for first in firsts if (reason := why_not_fused(first, device))), None)
    if reason is None:
        return "fused"
    if engine == "fused":
        raise SpecError(f"--engine: {reason}")
    if device == "cpu":
        on_note(f"engine autograd: {reason}")
    return "autograd"


def prepare(engine: str, on_note: OnNote) -> None:
    """Compile what the engine needs, once a machine and version, and say so."""
    if engine == "fused":
        if not (fused.prepared() or compiled.compiled()):
            on_note("compiling the fused engine for this processor, once: about 20 seconds")
        fused.prepare()


def resolve_device(device: str, recorded: Mapping[str, str]) -> str:
    """The device named, or for ``auto`` the run folder's or the best there is; raises `SpecError` for none of these."""
    if device == "auto":
        device = recorded.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    if device not in DEVICES:
        raise SpecError(f"--device: expected auto, {' or '.join(DEVICES)}, got '{device}'")
    if device == "cuda" and not torch.cuda.is_available():
        raise SpecError("--device: this machine has no CUDA device that torch can use (choose auto or cpu)")
    return device


def memory_budget(device: str) -> int | None:
    """Bytes that a batch may take on this device; None where the device itself says when it is full."""
    return int(MEMORY_SHARE * psutil.virtual_memory().available) if device == "cpu" else None


def run(
    plan: Plan,
    folder: Path,
    engine: str,
    device: str,
    on_progress: OnProgress,
    on_note: OnNote,
    on_stored: OnProgress = lambda _: None,
    shard: Shard | None = None,
    retry_failed: bool = False,
) -> Outcome:
    """Train, measure and store every model of ``plan`` that ``folder`` does not hold yet, and derive the tables.

    A pack that could not be trained in `ATTEMPTS` runs is left out of later ones, unless ``retry_failed``. With a
    ``shard``, only its packs; the tables are derived by the last shard, once all packs are there. ``engine`` and
    ``device`` are resolved ones; ``on_stored`` counts models that were there already. Raises `FolderError` where the
    folder is refused.
    """
    store = Store.create_or_open(folder, plan, engine, device, shard)
    packs = own_packs(plan, shard)
    try:
        for sentence in store.version_changes():
            on_note(sentence)
        outcome, parts = Outcome(models=models_of(packs)), _Parts()
        waiting: deque[_Job] = deque()

        def batches() -> Iterator[Sequence[Experiment]]:
            """The experiments of every pack that is not stored; what is stored joins ``parts`` on the way."""
            for pack in packs:
                job = _Job.of(store, plan, pack)
                stored = job.stored_pack(on_note)
                if stored is not None:
                    on_stored(len(pack.models))
                    parts.add(job, stored, job.stored_measures(stored))
                    continue
                if retry_failed:
                    store.forget_failure(pack)
                failure = store.failure(pack)
                if failure is not None and failure.attempts >= ATTEMPTS:
                    outcome.failed[pack.index] = failure.reason
                    on_note(f"pack {pack.index} (models {job.span}) failed {failure.attempts} times and is left out")
                    continue
                prepare(engine, on_note)
                waiting.append(job)
                yield job.experiments

        for trained in train_each(batches(), engine, device, on_progress, lambda: memory_budget(device)):
            job = waiting.popleft()
            if isinstance(trained, OutOfMemory):
                outcome.failed[job.pack.index] = str(trained)
                store.record_failure(job.pack, str(trained))
                on_note(f"pack {job.pack.index} (models {job.span}) failed: {trained}")
            else:
                outcome.trained += len(trained)
                parts.add(job, *job.keep(trained))
                store.forget_failure(job.pack)
        outcome.diverged = parts.diverged
        say_unmeasured(parts.in_order(), on_note)
        if shard is None:
            derive(store, plan, parts.in_order())
    finally:
        store.release()
    if shard is not None:
        outcome.missing = len(plan.packs) - store.packs_done()
        if not outcome.missing:
            _derive_as_last(plan, folder, engine, device, on_note)
    return outcome


def own_packs(plan: Plan, shard: Shard | None) -> list[Pack]:
    """The packs of a shard; all of them without one."""
    return [pack for pack in plan.packs if shard is None or shard.has(pack.index)]


def models_of(packs: Sequence[Pack]) -> int:
    """How many models are in these packs."""
    return sum(len(pack.models) for pack in packs)


def _derive_as_last(plan: Plan, folder: Path, engine: str, device: str, on_note: OnNote) -> None:
    """Derive the tables of a folder whose packs are all there; a shard that is still at work will, when it ends."""
    try:
        run(plan, folder, engine, device, lambda _: None, on_note)
    except FolderError as error:
        if not isinstance(error, InUse):
            raise


class _Parts:
    """The finished packs of a run, as they come."""

    def __init__(self) -> None:
        self._found: dict[int, Part] = {}
        self.diverged = 0

    def add(self, job: _Job, stored: StoredFile, measured: StoredFile) -> None:
        """One more."""
        self._found[job.pack.index] = (job.pack.models, stored, measured)
        self.diverged += int((stored.tensors["status"] == packing.DIVERGED).sum())

    def in_order(self) -> list[Part]:
        """All of them, in the order of the plan."""
        return [self._found[index] for index in sorted(self._found)]


def say_unmeasured(parts: Sequence[Part], on_note: OnNote) -> None:
    """A sentence for every column that could not be measured in some pack."""
    reasons: dict[str, list[str]] = {}
    for _, _, measured in parts:
        for column, reason in measured.metadata.get("unmeasured", {}).items():
            reasons.setdefault(column, []).append(reason)
    for column, of_packs in sorted(reasons.items()):
        on_note(
            f"{column} could not be measured in {len(of_packs)} packs ({of_packs[0]}): it is empty there; "
            "'toymodels tables' tries again"
        )


def derive(store: Store, plan: Plan, parts: Sequence[Part]) -> None:
    """Build the tables unless they already say what these packs say."""
    fingerprint = "\n".join(pack.metadata["digest"] + derived.metadata["digest"] for _, pack, derived in parts).encode()
    marker = store.tables_digest
    there = all((store.path / f"{name}.parquet").exists() for name in tables.TABLES)
    if parts and not (there and marker.exists() and marker.read_bytes() == fingerprint):
        marker.unlink(missing_ok=True)
        tables.build(store, plan, parts)
        store.write_bytes(marker, fingerprint)


def rebuild(store: Store, on_note: OnNote) -> int:
    """Measure every stored pack anew and build the tables from scratch; returns how many packs there were."""
    plan, parts = store.plan(), []
    for pack in plan.packs:
        job = _Job.of(store, plan, pack)
        stored = job.stored_pack(on_note)
        if stored is not None:
            parts.append((pack.models, stored, job.measure(stored)))
    if not parts:
        raise FolderError(f"{store.path}: none of its {len(plan.packs)} packs is there and whole: run the sweep again")
    say_unmeasured(parts, on_note)
    store.tables_digest.unlink(missing_ok=True)
    derive(store, plan, parts)
    return len(parts)


@dataclass(frozen=True)
class _Job:
    """One pack on its way through train, measure and write."""

    store: Store
    plan: Plan
    pack: Pack
    settings: Sequence[Settings]
    experiments: Sequence[Experiment]

    @staticmethod
    def of(store: Store, plan: Plan, pack: Pack) -> _Job:
        """The job of a pack."""
        settings = plan.settings(pack.models)
        return _Job(store, plan, pack, settings, plan.experiments(settings))

    @property
    def keys(self) -> list[str]:
        return [self.plan.keys[model] for model in self.pack.models]

    def stored_pack(self, on_note: OnNote) -> StoredFile | None:
        """The pack if it is there and whole; a damaged one is moved aside and said."""
        try:
            return self.store.read_pack(self.pack, self.keys)
        except Damaged as damage:
            aside = self.store.set_aside(self.store.pack_path(self.pack))
            on_note(f"{damage}; kept as {aside.name}, its {len(self.pack.models)} models must be trained again")
            return None

    @property
    def span(self) -> str:
        """Its models, for a sentence."""
        return f"{self.pack.models[0]} to {self.pack.models[-1]}"

    def keep(self, trained: Trained) -> tuple[StoredFile, StoredFile]:
        """Measure the trained pack and write both files; returns the pack and what was measured of it."""
        moments = evaluate(self.experiments, trained.parameters, self.settings[0].eval.samples)
        stored = self.store.write(
            self.store.pack_path(self.pack),
            packing.pack_tensors(self.pack.models, trained, evaluated_loss(self.experiments, moments)),
            packing.pack_metadata(self.settings, self.keys, trained),
        )
        # Measured after the pack is safe: what goes wrong here costs no training.
        return stored, self.measure(stored, moments)

    def stored_measures(self, stored: StoredFile) -> StoredFile:
        """The measures of a stored pack, made again where they are missing or of another pack."""
        return self.store.read_measures(self.pack, stored.metadata["digest"]) or self.measure(stored)

    def measure(self, stored: StoredFile, moments: Sequence[Moments] | None = None) -> StoredFile:
        """Measure a stored pack and write what was measured."""
        parameters = packing.parameters(stored.tensors, self.experiments[0])
        measures = measure(self.experiments, parameters, self.settings[0].eval.samples, moments)
        path = self.store.measures_path(self.pack)
        said = {"unmeasured": measures.failed} if measures.failed else {}
        return self.store.write(path, packing.measure_tensors(measures), {"pack": stored.metadata["digest"], **said})
