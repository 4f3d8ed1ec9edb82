"""Hosting: one trained model of a run, of a file or of the frozen set, for those who look for its features.

A name that a frozen host has means that host; a path without a ``/`` is looked for where there is none.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from toymodels.checks import Whole
from toymodels.features import Features
from toymodels.firing import Independent
from toymodels.hosts.hosted import HostedModel, hosted
from toymodels.hosts.models import Models
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.results.loaded import LoadedModel
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.frozen import frozen, is_name
from toymodels.sweeps.spec.wording import did_you_mean
from toymodels.sweeps.store.hostfile import read_host, write_host
from toymodels.training.experiment import Experiment


def host(of: Run | LoadedModel | str | Path | Any, model: int | None, tap: str | None) -> HostedModel:
    """What `tm.host` returns for a run, one of its models, a path, or a frozen host's name. Raises ``ValueError`` where
    no model is named and there are several, `SpecError` for a name that no frozen host has, `FolderError` for a path
    that is neither a run folder nor the file of a host."""
    if isinstance(of, str | os.PathLike):
        path = path_of(of)
        if is_host_file(path):
            return _of_file(path, model, tap)
        of = load(path)
    if isinstance(of, LoadedModel):
        return hosted(Models([of.experiment], of.parameters), model, tap)
    if not isinstance(of, Run):
        raise TypeError(f"host: expected a run, trained models or a path, got {type(of).__name__}")
    if model is None and len(of.plan) > 1:
        raise ValueError(f"model: expected a number from 0 to {len(of.plan) - 1}, got none")
    return host(of.model(0 if model is None else Whole(0, len(of.plan) - 1)("model", model)), None, tap)


def path_of(of: str | os.PathLike[str]) -> Path:
    """The path that is meant: of a frozen host, where ``of`` is the name of one. Raises `SpecError` for what can only
    be a name, and is nobody's."""
    names = frozen()
    if str(of) in names:
        return names[str(of)]
    path = Path(of)
    if isinstance(of, str) and is_name(of) and not path.exists():
        raise SpecError(f"no frozen host is called '{of}', and there is no such folder{did_you_mean(of, names)}")
    return path


def run_or_host(of: str, *, allow_code: bool = False) -> Run | HostedModel:
    """The run in a folder, or the host of a file or of a frozen host's name. Raises as `host` does."""
    path = path_of(of)
    return read_host(path) if is_host_file(path) else load(path, allow_code=allow_code)


def is_host_file(path: Path) -> bool:
    """Whether this can only be the file of a host, there or not."""
    return path.is_file() or path.suffix == ".safetensors"


def name_of(e: Experiment) -> str:
    """What a model of the sweep ``hosts`` is called: ``relu_uniform``, ``solu_ln_binary``, ``gelu_tree``."""
    layer = e.bottleneck.activation.name + ("_ln" if e.bottleneck.layer_norm is not None else "")
    features = e.features
    if not isinstance(features, Features):
        return layer
    return f"{layer}_{features.values.name if isinstance(features.firing, Independent) else features.firing.name}"


def freeze(run: Run, folder: Path) -> list[Path]:
    """Write every model of a run as the file of a host, at post, by its name. Raises `SpecError` where two would have
    one name."""
    found: dict[str, int] = {}
    for model in run.models["model"]:
        name = name_of(run.model(model).experiment)
        if name in found:
            raise SpecError(f"{run.path}: models {found[name]} and {model} are both called '{name}'")
        found[name] = int(model)
    paths = {model: folder / f"{name}.safetensors" for name, model in found.items()}
    for model, path in paths.items():
        write_host(host(run, model, "post"), path)
    return [*paths.values()]


def _of_file(path: Path, model: int | None, tap: str | None) -> HostedModel:
    kept = read_host(path)
    Whole(0, 0)("model", 0 if model is None else model)
    return kept if tap in (None, kept.tap) else dataclasses.replace(kept, tap=tap, known=None)


if __name__ == "__main__":
    for written in freeze(load(sys.argv[1]), Path(sys.argv[2])):
        print(written)
