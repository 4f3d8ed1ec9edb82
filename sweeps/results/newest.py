"""The newest losses: what the packs that came last say, while a run is under way and has no tables yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from toymodels.sweeps.results.arms import HIDDEN_LAYER, hidden_layer
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.packing import DIVERGED
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import Mapped

PACKS = 64
"""from which losses are told: more would take long to read, and say less of what is trained now"""
LOSS = "models.loss_fraction"


@dataclass(frozen=True)
class LayerLosses:
    """What models with one hidden layer have learned."""

    layer: str
    models: int
    diverged: int
    median: float | None
    """of the loss fraction, over models that did not diverge; None where there is none"""
    low: float | None
    """its lower quartile"""
    high: float | None
    """its upper quartile"""


class Newest:
    """Follows the packs of a run folder as they come, and reads each once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.measured = 0
        """how many packs have been measured"""
        self.unreadable: list[str] = []
        """the names of the newest packs that could not be read"""
        self._read: dict[str, tuple[list[str], np.ndarray]] = {}
        """by the name of a pack's file, the newest last: hidden layer and loss fraction of its models; infinite of one
        that diverged"""

    def look(self) -> list[LayerLosses]:
        """What is said of the newest packs, by hidden layer; that of the newest pack comes first."""
        measures = {path.name: path for path in _files(self.store.measures)}
        self.measured, self.unreadable = len(measures.keys() & {path.name for path in _files(self.store.packs)}), []
        newest = sorted(measures, key=lambda name: (_written(measures[name]), name))[-PACKS:]
        for name in newest:
            if name in self._read:
                continue
            try:
                self._read[name] = _losses(self.store.packs / name, measures[name])
            except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self.unreadable.append(name)
        self._read = {name: self._read[name] for name in newest if name in self._read}
        by_layer: dict[str, list[float]] = {}
        for layers, losses in reversed(self._read.values()):
            for layer, loss in zip(layers, losses.tolist(), strict=True):
                by_layer.setdefault(layer, []).append(loss)
        return [_summary(layer, np.asarray(losses)) for layer, losses in by_layer.items()]


def _files(folder: Path) -> list[Path]:
    """The files of packs, or of their measures, in a folder."""
    try:
        return [path for path in folder.iterdir() if re.fullmatch(r"\d{8}\.safetensors", path.name)]
    except OSError:
        return []


def _written(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:  # moved aside just now
        return 0.0


def _losses(pack: Path, measures: Path) -> tuple[list[str], np.ndarray]:
    """The hidden layer and the loss fraction of every model of a pack; raises where either file is not what it should
    be."""
    trained, measured = _mapped(pack), _mapped(measures)
    count = trained.shape("status")[0]
    losses = measured.rows(LOSS, 0, count).astype(np.float64)
    losses[trained.rows("status", 0, count) == DIVERGED] = np.inf
    activations, norms = (_said(trained.metadata, name, count) for name in HIDDEN_LAYER)
    return [hidden_layer(str(a), bool(norm)) for a, norm in zip(activations, norms, strict=True)], losses


def _mapped(path: Path) -> Mapped:
    """A file of a store, open for reading parts of it; never a pipe or a device."""
    with atomic.opened(path, through_links=True):
        return Mapped(path)


def _said(metadata: Mapping[str, Any], name: str, count: int) -> list[Any]:
    """A setting of every model of a pack."""
    varying = metadata["varying"].get(name)
    return [metadata["settings"][name]] * count if varying is None else varying


def _summary(layer: str, losses: np.ndarray) -> LayerLosses:
    known = losses[np.isfinite(losses)]
    low, median, high = np.quantile(known, (0.25, 0.5, 0.75)).tolist() if len(known) else (None, None, None)
    return LayerLosses(layer, len(losses), int(np.isposinf(losses).sum()), median, low, high)
