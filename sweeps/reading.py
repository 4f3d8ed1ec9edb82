"""Reading: a run folder as tables and models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from sweeps import packing
from sweeps.errors import FolderError
from sweeps.plan import Plan
from sweeps.store import Store
from sweeps.tensorfile import Damaged
from toymodels.bottleneck import Parameters, Taps, forward
from toymodels.training.experiment import Experiment


@dataclass(frozen=True)
class LoadedModel:
    """One trained model: what it was asked to do, its tensors (leading ``model`` axis of size 1) and its loss curve."""

    experiment: Experiment
    parameters: Parameters
    curve_step: Tensor
    curve: Tensor
    diverged: bool

    def __call__(self, x: Tensor) -> Taps:
        """Run the model on x ``[feature, batch]`` or ``[model = 1, feature, batch]``."""
        return forward(self.experiment.bottleneck, self.parameters, x if x.dim() == 3 else x[None])


class Run:
    """A run folder: ``models``, ``features`` and ``neurons`` as DataFrames, any model back as tensors."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        self._store = Store.open_existing(self.path)

    @cached_property
    def models(self) -> pd.DataFrame:
        """A row a model."""
        return self._table("models")

    @cached_property
    def features(self) -> pd.DataFrame:
        """A row a model x feature."""
        return self._table("features")

    @cached_property
    def neurons(self) -> pd.DataFrame:
        """A row a model x neuron."""
        return self._table("neurons")

    @cached_property
    def plan(self) -> Plan:
        """The plan that made this folder."""
        return self._store.plan()

    @property
    def question(self) -> str:
        """What the sweep asks."""
        return self._store.sweep().question

    @property
    def sweep_text(self) -> str:
        """The sweep file of this run, as resolved."""
        return (self.path / "sweep.toml").read_text(encoding="utf-8")

    @property
    def missing(self) -> str:
        """What a partial run lacks, as a sentence; empty where the tables hold every planned model."""
        planned = self._store.manifest()["models"]
        there = len(self.models)
        return (
            "" if there == planned else f"partial: {there:,} of {planned:,} models; run the sweep again to continue it"
        )

    def model(self, model: int) -> LoadedModel:
        """The model of this number. Raises `FolderError` if its pack is missing or damaged."""
        pack = next((p for p in self.plan.packs if model in p.models), None)
        if pack is None:
            raise FolderError(f"{self.path}: expected a model from 0 to {len(self.plan) - 1}, got {model}")
        try:
            stored = self._store.read_pack(pack, [self.plan.keys[m] for m in pack.models])
        except Damaged as damage:
            raise FolderError(f"{damage}: run the sweep again to train it anew") from None
        if stored is None:
            raise FolderError(f"{self._store.pack_path(pack)}: not there yet: run the sweep again to continue it")
        place = pack.models.index(model)
        (experiment,) = self.plan.experiments(self.plan.settings([model]))
        return LoadedModel(
            experiment=experiment,
            parameters=packing.parameters(stored.tensors, experiment)[place : place + 1],
            curve_step=stored.tensors["curve_step"],
            curve=stored.tensors["curve"][place],
            diverged=bool(stored.tensors["status"][place] == packing.DIVERGED),
        )

    def _table(self, name: str) -> pd.DataFrame:
        path = self.path / f"{name}.parquet"
        try:
            return pq.read_table(path).to_pandas()
        except FileNotFoundError:
            raise FolderError(f"{path}: not there yet: run the sweep to its end, or 'toymodels tables RUN'") from None
        except (OSError, pa.ArrowInvalid):
            raise FolderError(f"{path}: damaged: 'toymodels tables {self.path}' builds it again") from None


def load(folder: str | Path) -> Run:
    """The run in ``folder``. Raises `FolderError` if there is none."""
    return Run(folder)
