"""The file of a host: one model at one tap, with the directions of its features.

A tensor file (`toymodels.sweeps.store.tensorfile`), the same bytes whenever the same host is written: the parameters by
their names, without an axis ``model``, and ``directions.delta``, ``directions.ridge``, ``directions.ridge_bias`` and
``directions.ridge_r2``, a feature a row. Its one metadata key has the tap and the settings, as the tables of a sweep
file. The directions are those that were computed when it was written, wherever it is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.engines.moment_table import TAPS
from toymodels.hosts.directions import Directions
from toymodels.hosts.hosted import HostedModel
from toymodels.hosts.models import Models
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.spec.settings import validate
from toymodels.sweeps.spec.stating import settings_of
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unwritable
from toymodels.sweeps.store.tensorfile import Damaged, StoredFile, deserialise, serialise
from toymodels.training.experiment import Experiment

KIND = "host"
DIRECTIONS = "directions."


def write_host(hosted: HostedModel, path: Path) -> None:
    """Write a host to a file, whole or not at all. Raises `FolderError` or `DiskFull` where that fails, and `SpecError`
    for a host that is made of what no file can say."""
    settings = settings_of(hosted.models.first, str(path))
    found = hosted.directions
    tensors = {name: tensor[0] for name, tensor in hosted.models.parameters.present().items()}
    tensors |= {
        f"{DIRECTIONS}{each.name}": value
        for each in dataclasses.fields(found)
        if isinstance(value := getattr(found, each.name), Tensor)
    }
    about = {"tap": hosted.tap, "up_to_common": found.up_to_common, "settings": settings.document()}
    data = serialise({name: tensor.cpu() for name, tensor in tensors.items()}, {KIND: about})
    try:
        atomic.write(path, data)
    except OSError as error:
        raise unwritable(path, error) from None


def read_host(path: Path) -> HostedModel:
    """The host in a file that `write_host` wrote. Raises `FolderError` for anything else, `Unreadable` where nobody can
    say what it is."""
    try:
        return _of_file(deserialise(path, through_links=True), str(path))
    except FileNotFoundError:
        raise FolderError(f"{path}: not there") from None
    except Damaged as damage:
        if _is_dictionary(path):
            raise FolderError(f"{path}: a dictionary, not a host: toymodels score RUN --dictionary reads it") from None
        raise FolderError(str(damage)) from None


def _is_dictionary(path: Path) -> bool:
    """Whether a file has the directions of a sparse autoencoder."""
    try:
        if not path.is_file():  # of anything else the opening may never end
            return False
        with safe_open(path, framework="np") as file:
            return "W_dec" in set(file.keys())
    except (OSError, SafetensorError):
        return False


def _of_file(file: StoredFile, where: str) -> HostedModel:
    about: Any = file.metadata.get(KIND)
    if not isinstance(about, dict) or about.keys() != {"tap", "up_to_common", "settings"} or about["tap"] not in TAPS:
        raise FolderError(f"{where}: expected the file of a host (tm.host(...).save), got another one")
    e = validate(about["settings"], where).experiment(where)
    expected, tensors = _expected(e, file.tensors), file.tensors
    for name in sorted({*expected, *tensors}):
        got = list(tensors[name].shape) if name in tensors and tensors[name].is_floating_point() else None
        if got != expected.get(name):
            raise FolderError(f"{where}: {name}: expected {_shape(expected.get(name))}, got {_shape(got)}")
    weights = [tensor for name, tensor in tensors.items() if not name.startswith(DIRECTIONS) and name != "ln_eps"]
    kinds = sorted({str(tensor.dtype).split(".")[-1] for tensor in weights})
    if len(kinds) > 1:
        raise FolderError(f"{where}: expected parameters of one precision, got {', '.join(kinds)}")
    eps = tensors.get("ln_eps")
    if eps is not None and not (eps >= 0).all():
        raise FolderError(f"{where}: ln_eps: expected a number >= 0, got {eps.min().item():g}")
    known = {name.removeprefix(DIRECTIONS): t for name, t in tensors.items() if name.startswith(DIRECTIONS)}
    parameters = {name: tensor[None] for name, tensor in tensors.items() if not name.startswith(DIRECTIONS)}
    found = Directions(tap=about["tap"], up_to_common=about["up_to_common"] is True, **known)
    try:
        return HostedModel(Models([e], Parameters(**parameters)), about["tap"], found)
    except ValueError as error:
        raise FolderError(f"{where}: {error}") from None


def _expected(e: Experiment, there: Collection[str]) -> dict[str, list[int]]:
    """The tensors of the file of a model like ``e``, each with its shape; a tied W_out may be spelled out, as surgery
    does, or not."""
    sizes, layer = asdict(e.sizes), e.bottleneck
    axes = {**layer.axes, **layer.fixed} | ({"W_out": ("target", "hidden")} if "W_out" in there else {})
    features = e.features.n * (1 + e.features.signed)
    wide, one = [features, layer.hidden], [features]
    directions = {"delta": wide, "ridge": wide, "ridge_bias": one, "ridge_r2": one}
    parameters = {name: [sizes[axis] for axis in of] for name, of in axes.items()}
    return parameters | {f"{DIRECTIONS}{name}": shape for name, shape in directions.items()}


def _shape(shape: list[int] | None) -> str:
    return "no such tensor" if shape is None else f"floating-point numbers of shape {shape}"
