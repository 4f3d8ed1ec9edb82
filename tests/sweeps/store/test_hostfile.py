"""The file of a host: read back as it was, the same bytes every time, and refused where it is anything else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import toymodels as tm
from tests.hosts.test_module import ARCHITECTURES, one_model
from tests.hosts.test_streaming import Nested, host
from tests.sweeps.spec.test_stating import Halved
from toymodels.hosts.hosted import HostedModel
from toymodels.hosts.models import Models
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.store.tensorfile import deserialise, serialise


def saved(path: Path, **given: Any) -> HostedModel:
    of = host(**given)
    of.save(path)
    return of


def same(one: HostedModel, other: HostedModel) -> None:
    assert one.tap == other.tap
    assert one.models.first == other.models.first
    for name, tensor in one.models.parameters.present().items():
        assert torch.equal(other.models.parameters.present()[name], tensor), name
        assert other.models.parameters.present()[name].dtype == tensor.dtype
    for each in dataclasses.fields(one.directions):
        mine, theirs = getattr(one.directions, each.name), getattr(other.directions, each.name)
        assert mine.equal(theirs) if isinstance(mine, torch.Tensor) else mine == theirs, each.name
    assert torch.equal(next(one.activations(500)), next(other.activations(500)))
    assert torch.equal(one.sample(50).t, other.sample(50).t)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_host_is_read_back_as_it_was_and_written_the_same(name: str, tmp_path: Path) -> None:
    of = saved(tmp_path / "one.safetensors", name=name, tap="mid")
    back = tm.host(tmp_path / "one.safetensors")
    same(of, back)
    back.save(tmp_path / "two.safetensors")
    of.save(tmp_path / "three.safetensors")
    first, *others = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert others == [first, first]  # and nothing else was left in the folder


def test_it_is_safetensors_with_one_key_and_weights_as_others_have_them(tmp_path: Path) -> None:
    path = tmp_path / "host.safetensors"
    of = saved(path, name="decoder", features=tm.Features(8, 0.3, signed=True))
    with safe_open(path, "pt") as file:
        (key,) = file.metadata()
        said = json.loads(file.metadata()[key])
    assert key == "toymodels"
    assert said["host"]["tap"] == "post"
    assert said["host"]["settings"]["model"]["embedding"] == 4
    tensors = load_file(path)
    assert tensors["W_in"].shape == (6, 4)
    assert tensors["directions.delta"].shape == (16, 6)
    same(of, tm.host(path))


def test_a_file_has_its_own_tap_and_another_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "host"
    of = saved(path, tap="mid")
    assert tm.host(str(path)).tap == "mid"
    other = tm.host(path, 0, "pre")
    torch.testing.assert_close(other.directions.delta, HostedModel(of.models, "pre").directions.delta)
    with pytest.raises(ValueError, match="model: expected a whole number from 0 to 0, got 1"):
        tm.host(path, 1)


def test_what_was_read_is_what_was_computed_when_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "host"
    saved(path)
    file = deserialise(path)
    moved = file.tensors | {"directions.delta": file.tensors["directions.delta"] + 1}
    path.write_bytes(serialise(moved, {"host": file.metadata["host"]}))
    assert torch.equal(tm.host(path).directions.delta, moved["directions.delta"])


def test_double_precision_and_what_a_surgery_spelled_out_are_kept(tmp_path: Path) -> None:
    of = host("tied")
    parameters = dataclasses.replace(of.models.parameters, W_out=2 * of.models.parameters.decoder)
    spelled = HostedModel(of.models.changed(parameters.to("cpu", torch.float64)))
    spelled.save(tmp_path / "host")
    same(spelled, tm.host(tmp_path / "host"))


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, 0.999])
def test_a_damaged_file_is_refused(at: float, tmp_path: Path) -> None:
    path = tmp_path / "host.safetensors"
    saved(path)
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(FolderError, match=r"host\.safetensors: "):
        tm.host(path)


CHANGES: dict[str, Any] = {
    "W_in: expected floating-point numbers of shape [6, 8], got no such tensor": {"W_in": None},
    "W_in: expected floating-point numbers of shape [6, 8], got floating-point numbers of shape [8, 6]": {
        "W_in": torch.ones(8, 6)
    },
    "E: expected no such tensor, got floating-point numbers of shape [4, 8]": {"E": torch.ones(4, 8)},
    "directions.ridge: expected floating-point numbers of shape [8, 6], got no such tensor": {"directions.ridge": None},
    "directions.more: expected no such tensor, got floating": {"directions.more": torch.ones(8, 6)},
    "W_in: expected floating-point numbers of shape [6, 8], got no such": {"W_in": torch.ones(6, 8, dtype=torch.int64)},
    "expected a model whose weights are finite": {"b_in": torch.full((6,), torch.nan)},
    "expected parameters of one precision, got float32, float64": {"b_in": torch.zeros(6, dtype=torch.float64)},
    "mine: expected no such tensor": {"mine": torch.ones(1)},
}


@pytest.mark.parametrize("words, changed", CHANGES.items(), ids=CHANGES)
def test_a_sealed_file_of_other_tensors_is_refused(words: str, changed: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "host.safetensors"
    saved(path)
    file = deserialise(path)
    tensors = {name: tensor for name, tensor in (file.tensors | changed).items() if tensor is not None}
    path.write_bytes(serialise(tensors, {"host": file.metadata["host"]}))
    with pytest.raises(FolderError) as refused:
        tm.host(path)
    assert words in str(refused.value)


def test_a_negative_eps_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "host.safetensors"
    saved(path, name="affine norm")
    file = deserialise(path)
    changed = file.tensors | {"ln_eps": torch.tensor(-1e-3, dtype=torch.float64)}
    path.write_bytes(serialise(changed, {"host": file.metadata["host"]}))
    with pytest.raises(FolderError, match=r"ln_eps: expected a number >= 0, got -0\.001"):
        tm.host(path)


@pytest.mark.parametrize(
    "about",
    [
        None,
        {},
        {"tap": "post"},
        {"tap": "out", "up_to_common": False, "settings": {}},
        {"tap": ["post"], "up_to_common": False, "settings": {}},
        {"tap": "post", "up_to_common": False, "settings": 3},
        {"tap": "post", "up_to_common": False, "settings": {"model": {"hidden": 6}}},
        {
            "tap": "post",
            "up_to_common": False,
            "settings": {"features": {"n": 8, "density": 2}, "model": {"hidden": 6}},
        },
        {
            "tap": "post",
            "up_to_common": False,
            "settings": {"features": {"n": 8, "density": 0.2}, "model": {"hidden": 6, "activation": "os:system"}},
        },
    ],
)
def test_a_sealed_file_that_says_something_else_is_refused(about: Any, tmp_path: Path) -> None:
    path = tmp_path / "host.safetensors"
    saved(path)
    path.write_bytes(serialise(deserialise(path).tensors, {"host": about}))
    with pytest.raises((FolderError, SpecError), match=r"host\.safetensors: "):
        tm.host(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    for content in (b"", b"{}", b"\x80\x04K\x01.", b"PK\x03\x04"):
        other.write_bytes(content)
        with pytest.raises(FolderError, match=r"other\.safetensors: "):
            tm.host(other)
    save_file({"W_dec": torch.ones(3, 2)}, other)
    with pytest.raises(FolderError, match=r"other\.safetensors: a dictionary, not a host: toymodels score RUN"):
        tm.host(other)
    save_file({"weight": torch.ones(3, 2)}, other)
    with pytest.raises(FolderError, match=r"other\.safetensors: not a file of this store"):
        tm.host(other)
    with pytest.raises(FolderError, match=r"absent\.safetensors: not there"):
        tm.host(tmp_path / "absent.safetensors")


def test_what_cannot_be_kept_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    e = tm.Experiment(tm.Features(8, 0.2), tm.Bottleneck(6, Halved()))
    own = HostedModel(Models([e], one_model(e.bottleneck)))
    with pytest.raises(SpecError, match=r"host: model\.activation: expected what a sweep file can name, got Halved"):
        own.save(tmp_path / "host")
    with pytest.raises(SpecError, match="host: features: expected ones of this package, got data of your own"):
        host(features=Nested(8)).save(tmp_path / "host")
    with pytest.raises(FolderError, match=r"cannot be written \(No such file or directory\)"):
        host().save(tmp_path / "absent" / "host")
    with pytest.raises(FolderError, match="cannot be written"):
        host().save(tmp_path)
    assert list(tmp_path.iterdir()) == []
