"""Reading: a run folder as tables and models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.plan.choice import at_ends
from toymodels.sweeps.plan.plan import Pack, Plan
from toymodels.sweeps.results.arms import SEED_ALONE, Replicates, grouped, varying
from toymodels.sweeps.results.described import read_back
from toymodels.sweeps.results.loaded import LoadedModel
from toymodels.sweeps.results.parquet import read_rows, read_schema, read_table
from toymodels.sweeps.results.tables import TABLES, TARGETS
from toymodels.sweeps.results.verdicts import read_verdicts
from toymodels.sweeps.spec.code import Code, own_code
from toymodels.sweeps.spec.names import overlap
from toymodels.sweeps.store import packing
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import Damaged, StoredFile
from toymodels.training.experiment import Experiment, check_one_structure

if TYPE_CHECKING:
    import xarray as xr

    from toymodels.sweeps.results.comparison import Comparison
    from toymodels.sweeps.store.manifest import Manifest

PACKS_KEPT = 8
"""How many packs a run keeps in memory, the last ones that were read."""


class Run:
    """A run folder: ``models``, ``features``, ``neurons``, ``targets`` and ``curves`` as DataFrames, any model back as
    tensors."""

    def __init__(self, folder: str | Path, *, code: Code | None = None) -> None:
        """``code`` imports code of one's own that its sweep names; without it none is imported."""
        self.path = Path(folder)
        self._store = Store.open_existing(self.path)
        self._store.code = code
        self._recent: dict[int, StoredFile] = {}

    @cached_property
    def models(self) -> pd.DataFrame:
        """A row a model: every setting by its dotted name, how its training ended, and its measures."""
        return self._table("models")

    @cached_property
    def setting_columns(self) -> tuple[str, ...]:
        """The columns of `models` that are settings, by their dotted names, ``seed`` among them."""
        names = self._store.sweep().settings(0).flat()  # the same in every cell; a plan may take a minute
        return tuple(name for name in names if name in self.models.columns)

    @cached_property
    def tuned(self) -> tuple[str, ...]:
        """The settings that the sweep tunes, by dotted name, each arm's its own; none of a sweep that is not tuned."""
        tuning = self._store.sweep().tuning
        columns = self.setting_columns if tuning is not None else ()
        return tuple(name for name in columns if tuning and any(overlap(name, each) for each in tuning.axes))

    @property
    def tuned_at_ends(self) -> list[str]:
        """A sentence for each tuned setting of which many arms chose an end, so that its best may lie beyond."""
        tuning = self._store.sweep().tuning
        return [] if tuning is None else at_ends(tuning)

    def arms(self, models: pd.DataFrame | None = None, *, over: Sequence[str] = SEED_ALONE) -> list[Replicates]:
        """The run's models, or some rows of `models`, grouped by the settings that vary in them, in plan order; those
        ``over`` which one averages, the seed, aside."""
        return grouped(self.models if models is None else models, self.setting_columns, over=over)

    def varying(self, models: pd.DataFrame | None = None, *, over: Sequence[str] = SEED_ALONE) -> list[str]:
        """The settings, those averaged ``over`` aside, in which the run's models, or some rows of `models`, differ."""
        return varying(self.models if models is None else models, self.setting_columns, over=over)

    def require_named(self, models: pd.DataFrame, by: Sequence[str], asking: str, *, over: Sequence[str] = ()) -> None:
        """Raise `FolderError` where models that agree in the settings ``by``, which are all that the study ``asking``
        tells its arms apart by, differ in another one; seeds, tuned settings and those ``over`` aside."""
        aside = (*SEED_ALONE, *self.tuned, *over)
        alike = grouped(models, by, over=aside)
        others = dict.fromkeys(name for arm in alike for name in self.varying(arm.models, over=aside))
        if others:
            raise FolderError(
                f"{self.path}: {asking} tells models apart by {', '.join(by)} alone; here some also differ in "
                f"{', '.join(others)}"
            )

    @cached_property
    def features(self) -> pd.DataFrame:
        """A row a model x feature: where the feature lives, and how well it is recovered."""
        return self._table("features")

    @cached_property
    def neurons(self) -> pd.DataFrame:
        """A row a model x neuron: which feature moves the neuron most, and by how much."""
        return self._table("neurons")

    @cached_property
    def targets(self) -> pd.DataFrame:
        """A row a model x target, where targets are not features: the pair that a target is of, and how well it is
        recovered. Raises `FolderError` where every target is of a feature: then `features` says it."""
        if not (self.path / f"{TARGETS}.parquet").exists() and (self.path / "features.parquet").exists():
            raise FolderError(f"{self.path}: every target is of a feature: the table of features has them")
        return self._table(TARGETS)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row a model x step: the batch loss at that step, before its update."""
        return self._table("curves")

    @cached_property
    def columns(self) -> pd.DataFrame:
        """What the columns of the tables are: a row a table and column, with its ``unit`` and ``meaning``."""
        tables = [name for name in (*TABLES, TARGETS, "curves") if (self.path / f"{name}.parquet").exists()]
        found = {(name, c): of for name in tables for c, of in read_back(name, self.schema(name)).items()}
        index = pd.MultiIndex.from_tuples(found, names=["table", "column"])
        return pd.DataFrame([(of.unit, of.says) for of in found.values()], index, ["unit", "meaning"])

    def schema(self, name: str) -> pa.Schema:
        """The Arrow schema of a table's file, with what the file says of itself and of its columns."""
        return read_schema(self.path / f"{name}.parquet", self._by_sweep)

    def compare(self, other: Run | str | Path) -> Comparison:
        """What differs between this run and another one, or that in a folder, and what became of the models that they
        share: see `Comparison`. Raises `FolderError` where models cannot be paired."""
        from toymodels.sweeps.results.comparison import compare

        return compare(self._itself, (other if isinstance(other, Run) else load(other))._itself)

    def to_xarray(self, table: str = "models") -> xr.Dataset:
        """A table as an xarray ``Dataset``, with an axis for every axis of the sweep's grid, by its dotted name, and of
        another table than ``models`` one more (``feature``, ``neuron``, ``target``, ``step``). Raises `SweepError`
        where xarray is not installed."""
        from toymodels.sweeps.results.cube import to_xarray

        return to_xarray(self._itself, table)

    @property
    def _itself(self) -> Any:
        """This run, for modules that name its class: a type checker has this file under two names, through the link."""
        return self

    def __repr__(self) -> str:
        from toymodels.sweeps.results.glimpse import as_line

        return as_line(self._itself)

    def _repr_html_(self) -> str:
        from toymodels.sweeps.results.glimpse import as_html

        return as_html(self._itself)

    def evidence(self, name: str = "evidence") -> pd.DataFrame:
        """What the verdict rests on: ``evidence`` by feature, ``evidence_neurons`` by neuron,
        ``evidence_dictionaries`` by dictionary. Raises `FolderError` before ``toymodels verdict`` ran."""
        return self._table(name, self._by_verdict)

    @cached_property
    def verdicts(self) -> dict[str, Any]:
        """What ``verdicts.json`` holds. Raises `FolderError` before ``toymodels verdict`` ran, or where another version
        of it did."""
        return read_verdicts(self.path, self._by_verdict)

    @property
    def _by_verdict(self) -> str:
        return f"'toymodels verdict {self.path}' makes it"

    def _by_sweep(self) -> str:
        """What to do for a table of the sweep's that is not there."""
        done, planned = len(self._store.packs_there()), self._store.manifest.packs
        unfinished = f"{done} of {planned} packs are finished: run the sweep again to continue it"
        return unfinished if done < planned else f"'toymodels tables {self.path}' builds it"

    @cached_property
    def plan(self) -> Plan:
        """The plan that made this folder."""
        return self._store.plan()

    @property
    def manifest(self) -> Manifest:
        """What the folder is of: plan, engine, device, versions."""
        return self._store.manifest

    @property
    def question(self) -> str:
        """The question that the sweep asks; empty where its file has none."""
        return self._store.sweep().question

    @property
    def sweep_text(self) -> str:
        """The sweep file of this run, as resolved."""
        return self._store.sweep_text()

    @property
    def missing(self) -> str:
        """What a partial run lacks, as a sentence; empty where the tables hold every planned model."""
        planned = self._store.manifest.models
        there = len(self.models) if (self.path / "models.parquet").exists() else 0
        return (
            "" if there == planned else f"partial: {there:,} of {planned:,} models; run the sweep again to continue it"
        )

    def rows(self, table: str, models: Sequence[int], columns: Sequence[str]) -> pd.DataFrame:
        """Those rows of the table ``features``, ``neurons`` or ``targets`` that are of ``models``, with ``model`` and
        whichever of ``columns`` it has; for a table that is larger than memory. Raises `FolderError` as those do."""
        return read_rows(self.path / f"{table}.parquet", self._by_sweep, models, columns)

    def model(self, model: int) -> LoadedModel:
        """The model of this number. Raises `FolderError` if its pack is missing or damaged."""
        pack = self.plan.packs[self._pack_of(model)]
        stored = self._stored(pack)
        place = pack.models.index(model)
        (experiment,) = self.plan.experiments(self.plan.settings([model]))
        return LoadedModel(
            experiment=experiment,
            parameters=packing.parameters(stored.tensors, experiment)[place : place + 1],
            curve_step=stored.tensors["curve_step"],
            curve=stored.tensors["curve"][place],
            diverged=bool(stored.tensors["status"][place] == packing.DIVERGED),
            snapshot_step=packing.snapshot_steps(stored.tensors),
            snapshots=packing.snapshots(stored.tensors, experiment, place),
        )

    def batch(self, models: Sequence[int]) -> tuple[list[Experiment], Parameters]:
        """Models of one structure, as one batch in the order given: what `toymodels.forward` and `measure` take.

        Raises ``ValueError`` for models of several structures, `FolderError` where a pack is missing or damaged.
        """
        experiments = self.plan.experiments(self.plan.settings(models))
        check_one_structure(experiments)
        parts: list[dict[str, Tensor]] = [{} for _ in models]
        wanted: dict[int, list[int]] = {}
        for place, model in enumerate(models):
            wanted.setdefault(self._pack_of(model), []).append(place)
        for index, places in wanted.items():
            pack = self.plan.packs[index]
            parameters = packing.parameters(self._stored(pack).tensors, experiments[0])
            rows = {model: row for row, model in enumerate(pack.models)}
            for place in places:
                row = rows[models[place]]
                parts[place] = {name: t[row].clone() for name, t in parameters.present().items()}
        return experiments, Parameters(**{name: torch.stack([part[name] for part in parts]) for name in parts[0]})

    def _pack_of(self, model: int) -> int:
        if not 0 <= model < len(self.plan):
            raise FolderError(f"{self.path}: expected a model from 0 to {len(self.plan) - 1}, got {model}")
        return int(self._packs_of_models[model])

    @cached_property
    def _packs_of_models(self) -> np.ndarray:
        packs = np.empty(len(self.plan), np.uint32)
        for pack in self.plan.packs:
            packs[list(pack.models)] = pack.index
        return packs

    def _stored(self, pack: Pack) -> StoredFile:
        """What is stored in a pack; the last few are kept. Raises `FolderError` if it is missing or damaged."""
        if pack.index not in self._recent:
            try:
                (like,) = self.plan.experiments(self.plan.settings(pack.models[:1]))
                stored = self._store.read_pack(pack, [self.plan.keys[m] for m in pack.models], like)
            except Damaged as damage:
                raise FolderError(f"{damage}: run the sweep again to train it anew") from None
            if stored is None:
                raise FolderError(f"{self._store.pack_path(pack)}: not there yet: run the sweep again to continue it")
            while len(self._recent) >= PACKS_KEPT:
                del self._recent[next(iter(self._recent))]
            self._recent[pack.index] = stored
        return self._recent[pack.index]

    def _table(self, name: str, remedy: str = "") -> pd.DataFrame:
        return read_table(self.path / f"{name}.parquet", lambda: remedy or self._by_sweep())


def load(folder: str | Path, *, allow_code: bool = False) -> Run:
    """The run in ``folder``. Raises `FolderError` if there is none.

    Tables and weights of a run that names code of one's own are there without it; with ``allow_code`` that is imported,
    from the current folder or an installed package, so that its models can run.
    """
    return Run(folder, code=own_code() if allow_code else None)
