"""Hosting: one trained model of a run, or of a file, for those who look for its features."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from toymodels.checks import Whole
from toymodels.hosts.hosted import HostedModel, hosted
from toymodels.hosts.models import Models
from toymodels.sweeps.results.loaded import LoadedModel
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.store.hostfile import read_host


def host(of: Run | LoadedModel | str | Path | Any, model: int | None, tap: str | None) -> HostedModel:
    """What `tm.host` returns for a run, one of its models, or a path. Raises ``ValueError`` where no model is named
    and there are several, `FolderError` for a path that is neither a run folder nor the file of a host."""
    if isinstance(of, str | os.PathLike):
        path = Path(of)
        if path.is_file() or path.suffix == ".safetensors":
            return _of_file(path, model, tap)
        of = load(path)
    if isinstance(of, LoadedModel):
        return hosted(Models([of.experiment], of.parameters), model, tap)
    if not isinstance(of, Run):
        raise TypeError(f"host: expected a run, trained models or a path, got {type(of).__name__}")
    if model is None and len(of.plan) > 1:
        raise ValueError(f"model: expected a number from 0 to {len(of.plan) - 1}, got none")
    return host(of.model(0 if model is None else Whole(0, len(of.plan) - 1)("model", model)), None, tap)


def _of_file(path: Path, model: int | None, tap: str | None) -> HostedModel:
    kept = read_host(path)
    Whole(0, 0)("model", 0 if model is None else model)
    return kept if tap in (None, kept.tap) else dataclasses.replace(kept, tap=tap, known=None)
