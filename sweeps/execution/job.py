"""A job: one pack on its way through train, measure and write; and what is said of it when it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from toymodels.hosts import Models
from toymodels.metrics import Measures, evaluate, evaluated_loss, measure
from toymodels.metrics.moments import Moments
from toymodels.metrics.own import fingerprints, registered
from toymodels.sweeps.execution import measuring
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.plan.plan import Pack, Plan
from toymodels.sweeps.spec.code import Code
from toymodels.sweeps.spec.settings import Settings
from toymodels.sweeps.store import packing
from toymodels.sweeps.store.manifest import MEASURES
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import Damaged, StoredFile
from toymodels.training.experiment import Experiment
from toymodels.training.trained import Trained


@dataclass(frozen=True)
class Finished:
    """A pack that is stored and measured, in short: all that a run remembers of it."""

    index: int
    models: int
    diverged: int
    digests: str
    """of the pack and of its measures"""
    unmeasured: Mapping[str, str]
    """columns that could not be measured, with the reason"""


class Job:
    """The pack of some models, in a store. Settings and experiments are made when they are first needed."""

    def __init__(
        self, store: Store, pack: Pack, keys: Sequence[str], settings: Callable[[slice], Sequence[Settings]]
    ) -> None:
        """``settings`` gives those of some of the pack's models."""
        self.store, self.pack, self.keys, self._settings = store, pack, keys, settings

    @staticmethod
    def of(store: Store, plan: Plan, pack: Pack) -> Job:
        """The job of a pack of a plan."""
        return Job(
            store, pack, [plan.keys[model] for model in pack.models], lambda some: plan.settings(pack.models[some])
        )

    @cached_property
    def settings(self) -> Sequence[Settings]:
        """The resolved settings of the pack's models, in their order."""
        return self._settings(slice(None))

    @cached_property
    def experiments(self) -> list[Experiment]:
        """The experiments of the pack's models, in their order."""
        return [self._experiment(settings) for settings in self.settings]

    @cached_property
    def like(self) -> Experiment:
        """The experiment of the pack's first model, whose structure all of them have."""
        return self._experiment(self._first)

    @cached_property
    def _first(self) -> Settings:
        return self._settings(slice(1))[0]

    @property
    def _code(self) -> Code:
        return self._first.code

    def _experiment(self, settings: Settings) -> Experiment:
        return settings.experiment(str(self.store.path))

    @property
    def span(self) -> str:
        """The numbers of the pack's first and last model, as a sentence names them."""
        return f"{self.pack.models[0]} to {self.pack.models[-1]}"

    def stored_pack(self, reporter: Reporter) -> StoredFile | None:
        """The pack if it is there and whole; a damaged one is moved aside and said."""
        try:
            return self.store.read_pack(self.pack, self.keys, self.like)
        except Damaged as damage:
            aside = self.store.set_aside(self.store.pack_path(self.pack))
            reporter.note(f"{damage}; kept as {aside.name}, its {len(self.pack.models)} models must be trained again")
            return None

    def finished(self, reporter: Reporter) -> Finished | None:
        """What is said of the pack if it is there and whole; its measures are made again where they are not."""
        stored = self.stored_pack(reporter)
        return None if stored is None else self._finished(stored, self.measured(stored, reporter))

    def measured(self, stored: StoredFile, reporter: Reporter) -> StoredFile:
        """What was measured of the pack as it is stored; measured again, and said, where that is not there."""
        before = self.store.read_measures(self.pack, stored)
        with self._code.measuring():
            if before is not None and fingerprints().items() <= _own(before).items():
                return before
        # A new version measures every pack of a folder anew, of which there may be thousands.
        reporter.note_once(
            f"{self.store.path}: packs whose measures are missing, damaged or another version's are measured anew"
        )
        return self._again(stored, before, reporter)

    def finish(self, trained: Trained, device: str = "cpu") -> Finished:
        """Write the trained pack, measure it and write that; what runs models runs them on the device."""
        samples = self.settings[0]["eval.samples"]

        def evaluated(device: str) -> tuple[list[Moments], Tensor]:
            models = Models(self.experiments, measuring.on(device, trained.parameters))
            moments = evaluate(models, samples)
            return moments, evaluated_loss(models, moments)

        moments, loss = measuring.where_it_fits(device, evaluated)
        stored = self.store.write(
            self.store.pack_path(self.pack),
            packing.pack_tensors(self.like, self.pack.models, trained, loss),
            packing.pack_metadata(self.settings, self.keys, trained),
        )
        # Measured after the pack is safe: what goes wrong here costs no training.
        return self._finished(stored, self._measure(stored, device, moments))

    def measured_anew(self, reporter: Reporter) -> Finished | None:
        """As `finished`, but whatever was measured before is measured again."""
        stored = self.stored_pack(reporter)
        if stored is None:
            return None
        return self._finished(stored, self._again(stored, self.store.read_measures(self.pack, stored), reporter))

    def _again(self, stored: StoredFile, before: StoredFile | None, reporter: Reporter) -> StoredFile:
        """Measure a stored pack again, and say which columns of one's own it had ``before`` and has no more."""
        measured = self._measure(stored, measuring.device_of(self.store.manifest))
        gone = sorted(_own(before).keys() - _own(measured).keys()) if before is not None else []
        if gone:
            reporter.note_once(
                f"{self.store.path}: leaves out {', '.join(gone)}, which neither its sweep nor this process measures: "
                "to have it again, name it in the sweep file or register it, and run the sweep"
            )
        return measured

    def _measure(self, stored: StoredFile, device: str, moments: Sequence[Moments] | None = None) -> StoredFile:
        """Measure a stored pack on a device and write what was measured."""
        parameters, samples = packing.parameters(stored.tensors, self.experiments[0]), self.settings[0]["eval.samples"]

        def measured(device: str) -> Measures:
            return measure(self.experiments, measuring.on(device, parameters), samples, moments)

        with self._code.measuring():
            measures = measuring.where_it_fits(device, measured)
            own = {each.column: each for each in registered()}
        path = self.store.measures_path(self.pack)
        said: dict[str, object] = {"unmeasured": measures.failed} if measures.failed else {}
        if own:
            said["own"] = {column: of.fingerprint for column, of in own.items()}
            said["meanings"] = {column: [of.unit, of.description] for column, of in own.items()}
        said |= {"measures": MEASURES, "pack": stored.metadata["digest"]}
        return self.store.write(path, packing.measure_tensors(measures), said)

    def _finished(self, pack: StoredFile, measured: StoredFile) -> Finished:
        return Finished(
            index=self.pack.index,
            models=len(self.pack.models),
            diverged=int((pack.tensors["status"] == packing.DIVERGED).sum()),
            digests=pack.metadata["digest"] + measured.metadata["digest"],
            unmeasured=measured.metadata.get("unmeasured", {}),
        )


def _own(measured: StoredFile) -> dict[str, str]:
    """The fingerprints of the metrics of one's own by which a pack was measured, by column."""
    return measured.metadata.get("own", {})
