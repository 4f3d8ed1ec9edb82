"""Dictionaries that somebody else made: a file is numbers or refused, in one sentence, at once, and nothing is run."""

from __future__ import annotations

import json
import os
import pickle
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import TINIER, door
from tests.faults.test_hostile import Payload, header_of

HIDDEN = 2


def with_header(text: bytes, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + data


def lying() -> bytes:
    entry = {"dtype": "F32", "shape": [2**40, HIDDEN], "data_offsets": [0, 4]}
    return with_header(json.dumps({"W_dec": entry}).encode(), b"1234")


def of_type(name: str, length: int) -> bytes:
    entry = {"dtype": name, "shape": [4, HIDDEN], "data_offsets": [0, length]}
    return with_header(json.dumps({"W_dec": entry}).encode(), bytes(length))


def tensors(**named: torch.Tensor) -> Callable[[Path], None]:
    return lambda path: save_file(named, path)


def data(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


def huge_after_a_header(path: Path) -> None:
    save_file({"W_dec": torch.ones(3, HIDDEN)}, path)
    with path.open("r+b") as file:
        file.truncate(2**40)


def truncated(path: Path) -> None:
    save_file({"W_dec": torch.ones(3, HIDDEN)}, path)
    path.write_bytes(path.read_bytes()[:-1])


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle": (lambda path: path.write_bytes(pickle.dumps(Payload(path.with_name("loot")))), "not a safetensors file"),
    "torch.save": (lambda path: torch.save(Payload(path.with_name("loot")), path), "not a safetensors file"),
    "million entries": (data(header_of(10**6)), "not a safetensors file"),
    "endless header": (data((2**62).to_bytes(8, "little") + b"{"), "not a safetensors file"),
    "deep header": (data(with_header(b"[" * 100_000)), "not a safetensors file"),
    "no object": (data(with_header(b"[]")), "not a safetensors file"),
    "empty": (data(b""), "not a safetensors file"),
    "no tensor": (data(with_header(b'{"W_dec":5}')), "not a whole safetensors file"),
    "lying header": (data(lying()), "not a whole safetensors file"),
    "truncated": (truncated, "not a whole safetensors file"),
    "four bits": (data(of_type("F4", 4)), "not a whole safetensors file"),
    "six bits": (data(of_type("F6_E2M3", 6)), "not a whole safetensors file"),
    "eight bits": (tensors(W_dec=torch.ones(4, HIDDEN).to(torch.float8_e4m3fn)), "expected floating-point numbers"),
    "eight bits of scale": (data(of_type("F8_E8M0", 8)), ": "),
    "no type": (data(of_type("F5", 5)), "not a whole safetensors file"),
    "pipe": (os.mkfifo, "not a regular file"),
    "terabyte": (huge, "not a safetensors file"),
    "terabyte after a header": (huge_after_a_header, "more than a dictionary can have"),
    "link to a device": (link_to("/dev/zero"), "not a regular file"),
    "link to itself": (link_to("sae.safetensors"), "it is a link"),
    "link to nothing": (link_to("nowhere"), "a link to nothing"),
    "whole numbers": (tensors(W_dec=torch.ones(3, HIDDEN, dtype=torch.int64)), "expected floating-point numbers"),
    "complex numbers": (tensors(W_dec=torch.ones(3, HIDDEN, dtype=torch.complex64)), "expected floating-point"),
    "NaN": (tensors(W_dec=torch.full((3, HIDDEN), torch.nan)), "expected finite numbers"),
    "infinity in float32": (tensors(W_dec=torch.full((3, HIDDEN), 1e300, dtype=torch.float64)), "expected finite"),
    "another hidden size": (tensors(W_dec=torch.ones(3, 5)), "W_dec: expected shape"),
    "one axis": (tensors(W_dec=torch.ones(3)), "W_dec: expected shape"),
    "no latents": (tensors(W_dec=torch.ones(0, HIDDEN)), "W_dec: expected shape"),
    "too many latents": (tensors(W_dec=torch.ones(2**15 + 1, HIDDEN)), "W_dec: expected shape"),
    "encoder as decoder": (
        tensors(W_dec=torch.ones(3, HIDDEN), W_enc=torch.ones(3, HIDDEN)),
        "W_enc: expected shape [hidden, latent] = [2, 3], got [3, 2]",
    ),
    "a number": (
        tensors(W_dec=torch.ones(3, HIDDEN), W_enc=torch.ones(HIDDEN, 3), topk_threshold=torch.ones(2)),
        "topk_threshold: expected shape [], got [2]",
    ),
    "other tensors": (tensors(W_dec=torch.ones(3, HIDDEN), W_skip=torch.ones(1)), "holds 'W_skip', which is not read"),
    "no decoder": (tensors(W_enc=torch.ones(HIDDEN, 3)), "has no W_dec"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    (place / "tiny.toml").write_text(TINIER)
    assert door("sweep", place / "tiny.toml", "--out", place / "run", "--engine", "autograd").code == 0
    return place / "run"


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_dictionary_is_refused_in_a_sentence_and_not_run(run: Path, tmp_path: Path, how: str) -> None:
    make, said = HOSTILE[how]
    path = tmp_path / "sae.safetensors"
    make(path)
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = door("score", run, 0, "--dictionary", path)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"toymodels: {path}: ")
    assert answer.err.count("\n") == 1
    assert said in answer.err
    assert time.monotonic() - begin < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20
    assert not (tmp_path / "loot").exists()


@pytest.mark.parametrize("how", ["pipe", "huge", "link to a device", "list", "nonsense", "deep", "no text"])
def test_a_hostile_configuration_is_refused_in_a_sentence(run: Path, tmp_path: Path, how: str) -> None:
    save_file({"W_dec": torch.ones(3, HIDDEN), "W_enc": torch.ones(HIDDEN, 3)}, tmp_path / "sae_weights.safetensors")
    path = tmp_path / "cfg.json"
    match how:
        case "pipe":
            os.mkfifo(path)
        case "huge":
            huge(path)
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "list":
            path.write_text("[]")
        case "nonsense":
            path.write_text("architecture = 'standard'")
        case "deep":
            path.write_text("[" * 100_000)
        case _:
            path.write_bytes(b"\xff\xfe\xff")
    answer = door("score", run, 0, "--dictionary", tmp_path)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert answer.err.startswith(f"toymodels: {path}: ")


def test_a_link_to_a_whole_file_is_read_as_a_model_hub_leaves_them(run: Path, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    save_file({"W_dec": torch.eye(2), "W_enc": torch.eye(2)}, tmp_path / "blobs" / "a")
    (tmp_path / "blobs" / "b").write_text('{"architecture": "standard"}')
    (tmp_path / "sae_weights.safetensors").symlink_to("blobs/a")
    (tmp_path / "cfg.json").symlink_to("blobs/b")
    answer = door("score", run, 0, "--dictionary", tmp_path, "--samples", 64, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json()["models"][0]["architecture"] == "standard"


def test_a_file_that_may_not_be_read_is_said(run: Path, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    answer = door("score", run, 0, "--dictionary", path)
    assert (answer.code, answer.err.count("\n")) == (4, 1)
    assert "cannot be read" in answer.err
