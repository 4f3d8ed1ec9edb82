"""The files of a sparse autoencoder as SAELens lays them out: tensors, and a text that says how they are used.

    FOLDER/sae_weights.safetensors    W_dec [latent, hidden], W_enc [hidden, latent], b_enc [latent], b_dec [hidden] ...
    FOLDER/cfg.json                   architecture, and what is done to the activations first

Somebody else made them, so nothing is believed: neither file is more than data, sizes and names are looked at before
tensors are read, and every number must be finite. A link is followed, as a model hub's folder is full of them, to a
regular file and to nothing else. What the tensors mean is `toymodels.sweeps.results.dictionaries`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unreadable, unwritable

WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"
SHAPES: Mapping[str, tuple[str, ...]] = {
    "W_dec": ("latent", "hidden"),
    "W_enc": ("hidden", "latent"),
    "b_enc": ("latent",),
    "b_dec": ("hidden",),
    "threshold": ("latent",),
    "topk_threshold": (),
    "b_gate": ("latent",),
    "b_mag": ("latent",),
    "r_mag": ("latent",),
}
"""The tensors that are known, by name, with their axes."""
TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MOST_HEADER = 2**20
"""bytes of a header: a file of nine tensors has a thousand, a hostile one a million entries"""
MOST_BYTES, MOST_LATENTS = 2**31, 2**15
"""of the tensors, and how many latents are encoded beside one another without filling the memory"""
MOST_CONFIG = 2**20


def is_folder(path: Path) -> bool:
    """Whether there is a folder; not where the name cannot be one."""
    try:
        return path.is_dir()
    except OSError:
        return False


def weights_in(path: Path) -> Path:
    """The file of tensors that ``path`` is, or that the folder ``path`` has, as SAELens names it."""
    return path / WEIGHTS if is_folder(path) else path


def read_config(weights: Path) -> dict[str, Any] | None:
    """What the configuration beside a file of tensors says; None where there is none. Raises as `read_tensors`."""
    path = weights.with_name(CONFIG)
    try:
        config = json.loads(atomic.read(path, MOST_CONFIG, through_links=True))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except atomic.Irregular as error:
        raise SpecError(f"{path}: cannot be a configuration: it is {error.strerror}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, RecursionError):
        raise SpecError(f"{path}: not JSON") from None
    if not isinstance(config, dict):
        raise SpecError(f"{path}: expected an object, got {type(config).__name__}")
    return config


def read_tensors(path: Path, hidden: int) -> dict[str, Tensor]:
    """The tensors of a file, float32, by the names of `SHAPES`, of an SAE for ``hidden`` neurons; ``W_dec`` is there.

    Raises `SpecError`, which names file and tensor, where it is anything else; `FolderError` where it cannot be read.
    """
    try:
        with atomic.opened(path, through_links=True) as file:
            size = os.fstat(file.fileno()).st_size
            names = _names(path, file.read(8 + MOST_HEADER))
            if size > MOST_BYTES:
                raise SpecError(f"{path}: {size:,} bytes are more than a dictionary can have here ({MOST_BYTES:,})")
            file.seek(0)
            found = load_tensors(file.read())
    except (FileNotFoundError, NotADirectoryError):
        raise SpecError(f"{path}: there is no such file") from None
    except (SafetensorError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise SpecError(f"{path}: not a whole safetensors file ({type(error).__name__})") from None
    except atomic.Irregular as error:
        raise SpecError(f"{path}: cannot be a dictionary: it is {error.strerror}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    return {name: _checked(path, name, found, hidden) for name in sorted(names)}


def write(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Path:
    """Both files into ``folder``, which is made: what SAELens 6 loads. Returns the path of the tensors.

    Raises `FolderError` where they cannot be written, and then leaves what was there, or no weights (`write_pair`).
    """
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    data, text = save_tensors(own), (json.dumps(config, indent=2) + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_pair(folder / WEIGHTS, data, folder / CONFIG, text)
    except OSError as error:
        raise unwritable(folder, error) from None
    return folder / WEIGHTS


def _names(path: Path, beginning: bytes) -> set[str]:
    """The names of the tensors, of the bytes that a file begins with."""
    length = int.from_bytes(beginning[:8], "little")
    try:
        header = json.loads(beginning[8 : 8 + length]) if length <= len(beginning) - 8 else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise SpecError(f"{path}: not a safetensors file of a dictionary")
    names = set(header) - {"__metadata__"}
    unknown = sorted(names - SHAPES.keys())
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise SpecError(f"{path}: holds '{unknown[0]:.40}'{more}, which is not read; known are {', '.join(SHAPES)}")
    if "W_dec" not in names:
        raise SpecError(f"{path}: has no W_dec [latent, hidden], so it is no dictionary")
    return names


def _checked(path: Path, name: str, found: Mapping[str, Tensor], hidden: int) -> Tensor:
    """A tensor as float32. Raises `SpecError` where its type, its shape or a number in it is wrong."""
    tensor, decoder = found[name], found["W_dec"]
    latents = decoder.shape[0] if decoder.dim() == 2 else 0
    if tensor.dtype not in TYPES:
        raise SpecError(f"{path}: {name}: expected floating-point numbers, got {str(tensor.dtype).split('.')[-1]}")
    sizes = {"latent": latents, "hidden": hidden}
    expected = [sizes[axis] for axis in SHAPES[name]]
    if list(tensor.shape) != expected or not 0 < latents <= MOST_LATENTS:
        wanted = [f"1 to {MOST_LATENTS}", hidden] if name == "W_dec" else expected
        axes = f"[{', '.join(SHAPES[name])}] = " if SHAPES[name] else ""
        raise SpecError(
            f"{path}: {name}: expected shape {axes}[{', '.join(map(str, wanted))}], got {list(tensor.shape)}"
        )
    single = tensor.float()
    if not bool(single.isfinite().all()):
        raise SpecError(f"{path}: {name}: expected finite numbers, got NaN or infinity")
    return single
