"""Transformers that somebody else made: a folder is settings and numbers or refused, in one sentence, and at once."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import door
from tests.transformers.stand_in import StandIn
from toymodels.sweeps.errors import DiskFull
from toymodels.sweeps.store import transformer_files
from toymodels.sweeps.store.transformer_files import CONFIG, WEIGHTS, write_transformer

SIZES = {"d_model": 6, "d_head": 3, "n_heads": 2, "n_layers": 1, "n_ctx": 32, "d_vocab": 12, "d_mlp": 8}
SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"seed": "x"}, "seed: expected a whole number"),
    ({"seed": -1}, "seed: expected a whole number"),
    ({"normalization_type": [1]}, "normalization_type: expected one of LN"),
    ({"positional_embedding_type": "shortformer"}, "positional_embedding_type: expected one of standard"),
    ({"act_fn": ["gelu"]}, "act_fn: expected a text"),
    ({"act_fn": "tanh"}, "act_fn: expected gelu"),
    ({"eps": 0}, "eps: expected a number > 0"),
    ({"eps": "1e-5"}, "eps: expected a number"),
    ({"attn_only": "no"}, "attn_only: expected True or False"),
    ({"attn_only": True}, "got a transformer of attention alone"),
    ({"gated_mlp": True}, "expected MLP layers without gates, got gated ones"),
    ({"device": "cuda"}, "'device' is not read"),
    ({"zzz": 1}, "'zzz' is not read"),
    ({"d_model": 2.5}, "d_model: expected a whole number"),
    ({"d_mlp": True}, "d_mlp: expected a whole number"),
    ({"d_model": 2**20}, "does not fit config.json: a model of its sizes has more than"),
    ({"d_vocab": 2**20}, "does not fit config.json: a model of its sizes has more than"),
    ({"n_heads": 2**20, "d_head": 2**20}, "does not fit config.json: a model of its sizes has more than"),
    ({"n_layers": 2**20}, "n_layers: expected a whole number from 1 to 1024"),
    ({"n_layers": 2**10}, "does not fit config.json: a model of its sizes has more than"),
    ({"n_ctx": 2**20, "positional_embedding_type": "rotary"}, "n_ctx: expected attention masks of at most"),
    ({"language": 3}, "language: expected an object"),
    ({"language": {"zzz": 3}}, "language: 'zzz' is not read"),
    ({"language": {"latents": "many"}}, "language: latents: expected a whole number"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder; of what is read from it no model is ever to be built."""
    write_transformer(tmp_path / "m", StandIn({**SIZES, "act_fn": "gelu", "seed": 0}))

    def built(config: object) -> None:
        raise AssertionError(f"a model was built of {config}")

    monkeypatch.setattr(transformer_files, "native", built)
    return tmp_path / "m"


def refused(folder: Path, sentence: str) -> None:
    began = time.monotonic()
    answer = door("measure-transformer", folder)
    assert answer.code == 4, answer.err
    assert sentence in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("changes", "sentence"), SETTINGS, ids=str)
def test_a_hostile_configuration_is_refused(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))
    refused(folder, sentence)


def test_hostile_weights_are_refused(folder: Path) -> None:
    path = folder / WEIGHTS
    tensors = load_file(path)
    text = json.dumps({"unembed.bias": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}).encode()
    (first, *_) = tensors
    cases: list[tuple[dict[str, torch.Tensor] | bytes, str]] = [
        (len(text).to_bytes(8, "little") + text + b"1234", "no safetensors file"),
        ((2**62).to_bytes(8, "little") + b"{}", "no safetensors file"),
        ({**tensors, first: tensors[first].to(torch.float8_e5m2)}, "got float8_e5m2"),
        ({**tensors, first: tensors[first].double() + 1e300}, "expected finite numbers"),
        ({**tensors, first: tensors[first].to(torch.complex64)}, "got complex64"),
        ({"huge": torch.zeros(10**4)}, "blocks.0.mlp.in.weight is not there"),
        ({}, "a model of its sizes has more than"),
    ]
    for content, sentence in cases:
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            save_file(content, path)
        refused(folder, sentence)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2**40)
    refused(folder, "larger than it can be")


@pytest.mark.parametrize("failing", range(3))
def test_a_transformer_written_over_another_never_has_the_others_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Every rename that gives a file its name fails in turn."""
    before, names = {path.name: path.read_bytes() for path in folder.iterdir()}, []
    real = os.replace

    def replace(old: Path, new: Path) -> None:
        if new.name in before:
            names.append(new.name)
        if len(names) == failing:
            raise OSError(errno.ENOSPC, "full")
        real(old, new)

    monkeypatch.setattr("toymodels.sweeps.store.atomic.os.replace", replace)
    with pytest.raises(DiskFull):
        write_transformer(folder, StandIn({**SIZES, "act_fn": "solu_ln", "seed": 1}))
    there = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert there.keys() <= before.keys()
    assert there == before if failing == 0 else WEIGHTS not in there
