"""Transformers: what ``toymodels measure-transformer`` was asked, and what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from toymodels.sweeps.console import documents, replies
from toymodels.sweeps.console.door import say
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.store.transformer_files import read_tensor, read_transformer
from toymodels.sweeps.studies.document import document
from toymodels.sweeps.studies.transformers import KINDS, OF_FEATURES, answer_transformers

NAME = "measure-transformer"


def measure_transformers(
    folders: Sequence[Path], *, layer: int, features: str, tokens: Path | None, most: int, as_json: bool
) -> None:
    """Read transformers, put one layer of each to the battery, and print what it says.

    Raises `SpecError` and `FolderError` for what cannot be used.
    """
    of = _features(features)
    text = None if tokens is None else _tokens(tokens)
    models = [read_transformer(folder) for folder in folders]
    reply, of_features = answer_transformers(models, of, text, layer=layer, most=most, say=say)
    if not as_json:
        replies.print_reply(reply)
        return
    whole = type(reply)(reply.question, reply.sentence, {**reply.tables, OF_FEATURES: of_features}, reply.notes)
    documents.print_document(document(NAME, whole))


def _features(given: str) -> str | Tensor:
    """One of `KINDS`, or the directions in a file."""
    if given in KINDS:
        return given
    if not given.endswith(".safetensors"):
        raise SpecError(
            f"--features: expected {', '.join(KINDS)} or a file of directions, X.safetensors, got '{given}'"
        )
    return read_tensor(Path(given), "directions").float()


def _tokens(path: Path) -> np.ndarray:
    """int64 [sequence, position], the sequences in an order drawn at random, so that what is fitted on some is judged
    on others like them."""
    tokens = read_tensor(path, "tokens")
    if tokens.dim() != 2 or tokens.is_floating_point() or not tokens.numel():
        raise SpecError(
            f"{path}: tokens: expected whole numbers [sequence, position], got {tokens.dtype} {list(tokens.shape)}"
        )
    return tokens.to(torch.int64).numpy()[np.random.default_rng(0).permutation(len(tokens))]
