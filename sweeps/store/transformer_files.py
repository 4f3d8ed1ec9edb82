"""Transformers in files: a folder with ``config.json``, the settings of TransformerLens, and ``model.safetensors``.

The tensors are the state of a TransformerLens bridge, by its own names (``blocks.0.mlp.in.weight``). Where the model
was trained on a synthetic language (`toymodels.transformers.language`) the configuration has it as ``language``.
Nothing read is executed: published checkpoints are pickles, which whoever has TransformerLens opens there, and writes
here once (docs/TRANSFORMERS.md).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from toymodels.checks import Whole
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unreadable, unwritable
from toymodels.transformers.adapter import NotALayer, architecture_of, native
from toymodels.transformers.language import Language

CONFIG, WEIGHTS, LANGUAGE = "config.json", "model.safetensors", "language"
MOST_BYTES = 2**24
"""of a configuration"""
MOST_SIZE = 2**20
SIZES = ("d_model", "d_head", "n_heads", "n_layers", "n_ctx", "d_vocab", "d_mlp")
WRITTEN = (
    *SIZES,
    "act_fn",
    "eps",
    "normalization_type",
    "positional_embedding_type",
    "attn_only",
    "gated_mlp",
    "final_rms",
    "seed",
)
"""the settings that say what a model computes"""


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

    Raises `FolderError` where it cannot be written.
    """
    folder = Path(folder)
    config: dict[str, Any] = {name: getattr(bridge.cfg, name) for name in WRITTEN}
    if language is not None:
        config[LANGUAGE] = dataclasses.asdict(language)
    tensors = {name: each.detach().cpu().clone().contiguous() for name, each in bridge.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write(folder / WEIGHTS, save_tensors(tensors))
        atomic.write(folder / CONFIG, json.dumps(config, indent=1).encode() + b"\n")
    except OSError as error:
        raise unwritable(folder, error) from None
    return folder


def read_transformer(folder: Path) -> StoredTransformer:
    """Read what `write_transformer` wrote. Needs TransformerLens.

    Raises `FolderError` where a file is not there, damaged, or does not fit the other one, `SpecError` where
    TransformerLens is not installed.
    """
    config = _config(folder / CONFIG)
    given = config.pop(LANGUAGE, None)
    try:
        language = None if given is None else Language(**given)
        bridge = native(config)
        architecture_of(bridge)
    except ModuleNotFoundError as error:
        raise SpecError(
            f"measuring transformers needs TransformerLens ({error.name} is not installed): "
            "pip install 'toymodels[transformers]'"
        ) from None
    except (NotALayer, TypeError, ValueError, KeyError, NotImplementedError) as error:
        raise FolderError(f"{folder / CONFIG}: no transformer that can be measured: {error}") from None
    try:
        bridge.load_state_dict(_tensors(folder / WEIGHTS), strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise FolderError(f"{folder / WEIGHTS}: does not fit {CONFIG}: {reason}") from None
    return StoredTransformer(bridge.eval(), config["act_fn"], config.get("seed"), language)


def read_tensor(path: Path, name: str) -> Tensor:
    """The tensor of this name in a safetensors file. Raises `FolderError` where there is none."""
    tensors = _tensors(path)
    if name not in tensors:
        raise FolderError(f"{path}: expected a tensor '{name}', got {', '.join(sorted(tensors)) or 'none'}")
    return tensors[name]


def _config(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(_read(path, MOST_BYTES))
    except (ValueError, RecursionError):
        raise FolderError(f"{path}: no JSON") from None
    if not isinstance(held, Mapping):
        raise FolderError(f"{path}: expected an object of settings, got {type(held).__name__}")
    missing = [name for name in (*SIZES, "act_fn") if held.get(name) is None]
    if missing:
        raise FolderError(f"{path}: lacks {', '.join(missing)}")
    try:
        return {**held, **{name: Whole(1, MOST_SIZE)(name, held[name]) for name in SIZES}}
    except (TypeError, ValueError) as error:
        raise FolderError(f"{path}: {error}") from None


def _tensors(path: Path) -> dict[str, Tensor]:
    data = _read(path)
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise FolderError(f"{path}: no safetensors file ({type(error).__name__})") from None
    for name, each in tensors.items():
        if not bool(each.isfinite().all()):
            raise FolderError(f"{path}: {name}: expected finite numbers, got NaN or infinity")
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
