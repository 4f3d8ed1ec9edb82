"""A tensor file: safetensors with one metadata key, verified when read.

The key ``toymodels`` holds canonical JSON: what the writer says of the tensors, the digest of their bytes, and a seal
over all of that. One key, because with several safetensors orders them at random. Nothing depends on time, nothing read
is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from toymodels.sweeps.spec.settings import canonical_json
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unreadable

SCHEMA = 1
METADATA_KEY = "toymodels"


class Damaged(Exception):
    """A file that is not what it should be."""


@dataclass(frozen=True)
class StoredFile:
    """A tensor file read back and verified; tensors in the order of their names."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """The file's bytes: the same for the same tensors and metadata, on every machine and in every process."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return save_tensors(contiguous, metadata={METADATA_KEY: canonical_json(sealed(tensors, metadata))})


def sealed(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """``metadata`` with the schema number, the tensors' digest, and the seal over everything else."""
    said = {"schema": SCHEMA, **metadata, "digest": digest(tensors)}
    return {**said, "seal": _seal(said)}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    hashed = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name].numpy())
        hashed.update(canonical_json([name, str(array.dtype), list(array.shape)]).encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()


def deserialise(path: Path, most_bytes: int | None = None, through_links: bool = False) -> StoredFile:
    """Read back what `serialise` wrote. Raises `Damaged` where it is anything else, or more than ``most_bytes``, or a
    link unless ``through_links``; ``FileNotFoundError`` if absent; `Unreadable` where nobody can say what it is.
    """
    try:
        data = atomic.read(path, most_bytes, through_links)
    except FileNotFoundError:
        raise
    except (atomic.Irregular, MemoryError) as error:
        raise Damaged(f"{path}: {getattr(error, 'strerror', None) or 'does not fit in memory'}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"][METADATA_KEY])
        tensors = dict(sorted(load_tensors(data).items()))  # safetensors gives them in no order
        unsealed = {name: value for name, value in metadata.items() if name != "seal"}
        intact = metadata["digest"] == digest(tensors) and metadata["seal"] == _seal(unsealed)
        schema = metadata["schema"]
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{path}: not a file of this store ({type(error).__name__})") from None
    if not intact or schema != SCHEMA:
        raise Damaged(f"{path}: it does not match its digest")
    return StoredFile(tensors, metadata)


class Mapped:
    """A tensor file open for reading parts of it: nothing is read before it is asked for, and no digest is checked."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, framework="np")
        self.metadata: dict[str, Any] = json.loads(self._file.metadata()[METADATA_KEY])
        self.names: list[str] = sorted(self._file.keys())

    def shape(self, name: str) -> list[int]:
        """The shape of the tensor of this name, without reading the tensor."""
        return self._file.get_slice(name).get_shape()

    def kind(self, name: str) -> str:
        """``F``, ``I``, ``U`` or ``B``: what a tensor holds, whatever its precision."""
        return self._file.get_slice(name).get_dtype()[0]

    def rows(self, name: str, first: int, last: int) -> np.ndarray:
        """Part of a tensor along its first axis."""
        return self._file.get_slice(name)[first:last]


def _seal(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(said).encode()).hexdigest()
