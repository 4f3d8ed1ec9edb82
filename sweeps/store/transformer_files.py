"""Transformers in files: a folder with ``config.json``, the settings of TransformerLens, and ``model.safetensors``.

The tensors are the state of a TransformerLens bridge, by its own names (``blocks.0.mlp.in.weight``). Where the model
was trained on a synthetic language (`toymodels.transformers.language`) the configuration has it as ``language``.
Nothing read is executed: published checkpoints are pickles, which whoever has TransformerLens opens there, and writes
here once (docs/TRANSFORMERS.md).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unreadable, unwritable
from toymodels.sweeps.store.transformer_config import CHECKS, LANGUAGE, hold_against, parse_config
from toymodels.transformers.adapter import NotALayer, native
from toymodels.transformers.language import Language

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MOST_BYTES = 2**24
"""of a configuration"""
MOST_WEIGHTS = 2**35
TYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)
"""that tensors can have here"""


@dataclass(frozen=True)
class StoredTransformer:
    """A transformer read back, as a TransformerLens bridge."""

    bridge: Any
    act_fn: str
    seed: int | None
    language: Language | None
    """the synthetic language that it was trained on, if any"""


def write_transformer(folder: Path | str, bridge: Any, language: Language | None = None) -> Path:
    """Write a bridge into a folder, which is made where it is not there; returns the folder.

    Raises `FolderError` where it cannot be written, and then leaves what was there, or no weights.
    """
    folder = Path(folder)
    config: dict[str, Any] = {name: getattr(bridge.cfg, name) for name in CHECKS}
    if language is not None:
        config[LANGUAGE] = dataclasses.asdict(language)
    tensors = {name: each.detach().cpu().clone().contiguous() for name, each in bridge.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(config, indent=1).encode() + b"\n"
        atomic.write_pair(folder / WEIGHTS, save_tensors(tensors), folder / CONFIG, text)
    except OSError as error:
        raise unwritable(folder, error) from None
    return folder


def read_transformer(folder: Path) -> StoredTransformer:
    """Read what `write_transformer` wrote. Needs TransformerLens.

    Raises `FolderError` where a file is not there, damaged, or does not fit the other one, `SpecError` where
    TransformerLens is not installed.
    """
    config, language = parse_config(folder / CONFIG, _read(folder / CONFIG, MOST_BYTES))
    tensors = _tensors(folder / WEIGHTS)
    try:
        hold_against(config, tensors)
    except ValueError as error:
        raise FolderError(f"{folder / WEIGHTS}: does not fit {CONFIG}: {error}") from None
    try:
        bridge = native(config)
    except ModuleNotFoundError as error:
        raise SpecError(
            f"measuring transformers needs TransformerLens ({error.name} is not installed): "
            "pip install 'toymodels[transformers]'"
        ) from None
    except (NotALayer, TypeError, ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise FolderError(f"{folder / CONFIG}: no transformer that can be measured: {error}") from None
    try:
        bridge.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise FolderError(f"{folder / WEIGHTS}: does not fit {CONFIG}: {reason}") from None
    return StoredTransformer(bridge.eval(), config["act_fn"], config["seed"], language)


def read_tensor(path: Path, name: str) -> Tensor:
    """The tensor of this name in a safetensors file. Raises `FolderError` where there is none."""
    tensors = _tensors(path)
    if name not in tensors:
        raise FolderError(f"{path}: expected a tensor '{name}', got {', '.join(sorted(tensors)) or 'none'}")
    return tensors[name]


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_tensors(_read(path, MOST_WEIGHTS))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        raise FolderError(f"{path}: no safetensors file ({type(error).__name__})") from None
    for name, each in tensors.items():
        if each.dtype not in TYPES:
            types = ", ".join(str(kind).removeprefix("torch.") for kind in TYPES)
            raise FolderError(f"{path}: {name:.60}: expected {types}, got {str(each.dtype).removeprefix('torch.')}")
        if not bool(each.float().isfinite().all()):
            raise FolderError(f"{path}: {name:.60}: expected finite numbers of float32, got NaN or infinity")
    return tensors


def _read(path: Path, most: int | None = None) -> bytes:
    try:
        return atomic.read(path, most, through_links=True)
    except FileNotFoundError:
        raise FolderError(f"{path}: not there") from None
    except atomic.Irregular as error:
        raise FolderError(f"{path}: {error.strerror}") from None
    except OSError as error:
        raise unreadable(path, error) from None
