"""The configuration of a transformer in a folder: every setting is known by name, and held against what it may be.

Somebody else wrote it, so nothing is believed: a setting that is not read here is refused, and sizes are held against
the tensors that are there before a model of these sizes is built.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from toymodels.checks import SEED, Check, Flag, Number, OrNone, Whole
from toymodels.sweeps.errors import FolderError
from toymodels.transformers.adapter import NotALayer, architecture_of
from toymodels.transformers.language import Language

LANGUAGE = "language"
SIZES = ("d_model", "d_head", "n_heads", "n_layers", "n_ctx", "d_vocab", "d_mlp")
MOST_SIZE, MOST_LAYERS = 2**20, 2**10
MOST_MASKED = 2**31
"""numbers of the attention masks of all layers, n_ctx x n_ctx each"""


@dataclass(frozen=True)
class TextSetting(Check):
    """One of ``words``, of which None is null; or any text, where another says what it may be."""

    words: tuple[str | None, ...] = ()

    def __call__(self, name: str, value: Any) -> str | None:
        """The word. Raises ``TypeError`` for another kind, ``ValueError`` for another word."""
        if not (isinstance(value, str) or (value is None and None in self.words)):
            raise TypeError(f"{name}: expected {self._expected}, got {value!r:.60}")
        if self.words and value not in self.words:
            raise ValueError(f"{name}: expected {self._expected}, got {value!r:.60}")
        return value

    @property
    def _expected(self) -> str:
        choices = ", ".join("null" if word is None else word for word in self.words)
        return f"one of {choices}" if choices else "a text"


CHECKS: Mapping[str, Check] = {
    **dict.fromkeys(SIZES, Whole(1, MOST_SIZE)),
    "n_layers": Whole(1, MOST_LAYERS),
    "act_fn": TextSetting(),
    "eps": Number(above=0, most=1),
    "normalization_type": TextSetting(("LN", "LNPre", "RMS", "RMSPre", None)),
    "positional_embedding_type": TextSetting(("standard", "rotary")),
    "attn_only": Flag(),
    "gated_mlp": Flag(),
    "final_rms": Flag(),
    "seed": OrNone(SEED),
}
"""the settings that say what a model computes, and what each may be"""
OTHERWISE: Mapping[str, Any] = {
    "eps": 1e-5,
    "normalization_type": "LN",
    "positional_embedding_type": "standard",
    "attn_only": False,
    "gated_mlp": False,
    "final_rms": False,
    "seed": None,
}
"""what TransformerLens takes where a setting is not there"""


def parse_config(path: Path, text: bytes) -> tuple[dict[str, Any], Language | None]:
    """All settings of a configuration, and the language that it names.

    Raises `FolderError`, which names the file and the setting, for anything else.
    """
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        raise FolderError(f"{path}: no JSON") from None
    if not isinstance(held, Mapping):
        raise FolderError(f"{path}: expected an object of settings, got {type(held).__name__}")
    missing = [name for name in (*SIZES, "act_fn") if held.get(name) is None]
    if missing:
        raise FolderError(f"{path}: lacks {', '.join(missing)}")
    try:
        _known("", held, (*CHECKS, LANGUAGE))
        config = {name: check(name, held.get(name, OTHERWISE.get(name))) for name, check in CHECKS.items()}
        masked = config["n_layers"] * config["n_ctx"] ** 2
        if masked > MOST_MASKED:
            raise ValueError(f"n_ctx: expected attention masks of at most {MOST_MASKED} numbers, got {masked}")
        architecture_of(SimpleNamespace(cfg=SimpleNamespace(**config)))
        return config, _language(held.get(LANGUAGE))
    except NotALayer as error:
        raise FolderError(f"{path}: no transformer that can be measured: {error}") from None
    except (TypeError, ValueError) as error:
        raise FolderError(f"{path}: {error}") from None


def hold_against(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` where a model of these settings needs more numbers than there are, or has other layers."""
    layers, d_model = config["n_layers"], config["d_model"]
    of_attention = 4 * d_model * config["n_heads"] * config["d_head"]
    of_text = 2 * d_model * config["d_vocab"]
    if config["positional_embedding_type"] == "standard":
        of_text += d_model * config["n_ctx"]
    needed = of_text + layers * (of_attention + 2 * d_model * config["d_mlp"])
    there = sum(math.prod(each.shape) for each in tensors.values())
    if needed > there:
        raise ValueError(f"a model of its sizes has more than {needed} weights, and there are {there} numbers")
    last = f"blocks.{layers - 1}.mlp.in.weight"
    if last not in tensors:
        raise ValueError(f"{last} is not there")


def _language(given: Any) -> Language | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise TypeError(f"{LANGUAGE}: expected an object of settings, got {type(given).__name__}")
    _known(f"{LANGUAGE}: ", given, tuple(each.name for each in fields(Language)))
    try:
        return Language(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{LANGUAGE}: {error}") from None


def _known(where: str, given: Mapping[str, Any], names: tuple[str, ...]) -> None:
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"{where}'{unknown[0]:.40}' is not read; known are {', '.join(names)}")
