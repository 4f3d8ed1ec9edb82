"""The store: bytes that are the same twice, whole or refused, and a folder that is one sweep's."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from tests.conftest import listing
from toymodels.sweeps.errors import FolderError, Unreadable
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store import atomic, folder
from toymodels.sweeps.store.contents import tensors_of
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tensorfile import Damaged, deserialise, digest, serialise

BODY = "[features]\nn = 6\ndensity = 0.3\n[model]\nhidden = 2\n"
METADATA: dict[str, Any] = {"keys": ["a", "b"], "settings": {"seed": 0, "name": "</script> é"}}
BUILD = """
import sys, torch
from toymodels.sweeps.store.tensorfile import serialise
names = list({"model", "W_in", "W_out", "b_in", "loss", "status"})
metadata = {name: {other: 1 for other in names} for name in names}
tensors = {name: torch.arange(12.0).reshape(3, 4) + len(name) for name in names}
sys.stdout.buffer.write(serialise(tensors, metadata))
"""


def tensors() -> dict[str, Tensor]:
    return {
        "model": torch.arange(3),
        "W": torch.tensor([[0.1, -0.0, float("nan")], [float("inf"), 1e-45, 3.4e38]]),
        "wide": torch.tensor([0.1], dtype=torch.float64),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "status": torch.tensor([0, 1], dtype=torch.uint8),
        "dead": torch.tensor([True, False]),
        "none": torch.zeros(0, 3),
    }


def plan(rest: str = "", top: str = "") -> Plan:
    return make_plan(parse(f"{top}\n{BODY}{rest}", "file", "file.toml"))


def opened(path: Path, made: Plan | None = None, engine: str = "autograd", device: str = "cpu") -> Store:
    return Store.create_or_open(path, made or plan(), engine, device)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "file.safetensors"
    path.write_bytes(serialise(tensors(), METADATA))
    return path


def test_what_was_written_is_read_back_bit_for_bit(stored: Path) -> None:
    back = deserialise(stored)
    assert back.tensors.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert back.tensors[name].dtype == tensor.dtype
        assert back.tensors[name].shape == tensor.shape
        assert back.tensors[name].numpy().tobytes() == tensor.contiguous().numpy().tobytes()
    assert METADATA.items() <= back.metadata.items()
    assert back.metadata["digest"] == digest(tensors())


def test_metadata_is_one_key_of_canonical_json(stored: Path) -> None:
    data = stored.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == ["toymodels"]
    text = header["__metadata__"]["toymodels"]
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert json.loads(text)["schema"] == 1


def test_same_tensors_are_the_same_bytes_in_any_order() -> None:
    turned = dict(reversed(tensors().items()))
    assert serialise(tensors(), METADATA) == serialise(turned, dict(reversed(METADATA.items())))


def test_same_tensors_are_the_same_bytes_in_any_process() -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", BUILD], env={**os.environ, "PYTHONHASHSEED": seed}, stdout=-1)
        for seed in ("1", "2")
    ]
    written = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert written[0] == written[1] != b""


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {**t, "W": t["W"].double()},
        lambda t: {**t, "turned": t["turned"].T},
        lambda t: {**t, "more": torch.zeros(0)},
        lambda t: {name: tensor for name, tensor in t.items() if name != "none"},
        lambda t: {**t, "W": torch.where(t["W"] == 0, 0.0, t["W"])},
        lambda t: {name.replace("wide", "wider"): tensor for name, tensor in t.items()},
    ],
    ids=["type", "shape", "one more", "one less", "sign of zero", "name"],
)
def test_digest_sees_every_change(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    assert digest(change(tensors())) != digest(tensors())


def flip(data: bytes, position: int, bit: int = 0) -> bytes:
    return data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :]


def test_flipped_bit_in_a_tensor_is_damage(stored: Path) -> None:
    data = stored.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    assert len(data) > start
    for position in range(start, len(data)):
        stored.write_bytes(flip(data, position, position % 8))
        with pytest.raises(Damaged):
            deserialise(stored)


def test_flipped_bit_in_the_header_is_damage(stored: Path) -> None:
    data = stored.read_bytes()
    unseen = []
    for position in range(8 + int.from_bytes(data[:8], "little")):
        stored.write_bytes(flip(data, position))
        try:
            deserialise(stored)
        except Damaged:
            continue
        unseen.append(data[max(0, position - 6) : position + 6])
    assert unseen == []


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "seven bytes": lambda data: data[:7],
    "header only": lambda data: data[: 8 + int.from_bytes(data[:8], "little")],
    "last byte lost": lambda data: data[:-1],
    "one byte more": lambda data: data + b"\0",
    "zeros": lambda data: bytes(len(data)),
    "length of the header gone wild": lambda data: b"\xff" * 8 + data[8:],
    "text": lambda data: b"hello\n" * 10,
    "pickle": lambda data: b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
    "foreign": lambda data: save({"W": torch.zeros(2)}),
    "foreign metadata": lambda data: save({"W": torch.zeros(2)}, metadata={"toymodels": "{}"}),
    "metadata is a list": lambda data: save({"W": torch.zeros(2)}, metadata={"toymodels": "[]"}),
    "metadata is deep": lambda data: save({"W": torch.zeros(2)}, metadata={"toymodels": "[" * 10**5}),
    "half floats": lambda data: save({"W": torch.zeros(2).bfloat16()}, metadata={"toymodels": '{"digest": "0"}'}),
    "newer schema": lambda data: data.replace(b'\\"schema\\":1', b'\\"schema\\":2'),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_anything_else_is_damage(stored: Path, name: str) -> None:
    whole = stored.read_bytes()
    damaged = DAMAGE[name](whole)
    assert damaged != whole
    stored.write_bytes(damaged)
    with pytest.raises(Damaged, match=r"file\.safetensors: "):
        deserialise(stored)


def test_link_is_damage_unless_it_may_be_followed(stored: Path) -> None:
    link = stored.with_name("link.safetensors")
    link.symlink_to(stored)
    with pytest.raises(Damaged, match=r"a link$"):
        deserialise(link)
    assert deserialise(link, through_links=True).metadata == deserialise(stored).metadata
    stored.unlink()
    with pytest.raises(Damaged, match=r"a link to nothing$"):
        deserialise(link, through_links=True)


@pytest.mark.parametrize("name", ["EACCES", "EPERM", "EIO", "ESTALE"])
def test_what_cannot_be_read_is_not_damage(stored: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Unreadable, match=re.escape(f"cannot be read ({os.strerror(getattr(errno, name))})")) as caught:
        deserialise(stored)
    assert caught.value.exit_code == 4


def test_folder_is_damage(tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        deserialise(tmp_path)


def test_absent_file_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        deserialise(tmp_path / "nothing")


@pytest.mark.parametrize("call", ["open", "replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failed_write_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    path = tmp_path / "file"
    atomic.write(path, b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            atomic.write(path, b"new")
    assert listing(tmp_path) == {"file": b"old"}
    atomic.write(path, b"new")
    assert listing(tmp_path) == {"file": b"new"}


def test_write_syncs_the_file_before_the_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
    atomic.write(tmp_path / "file", b"data")
    assert calls == ["fsync", "replace", "fsync"]


UNSYNCED = ("EINVAL", "ENOTSUP", "EBADF", "EACCES", "EPERM", "ENOSYS")


@pytest.mark.parametrize("call", ["open", "fsync"])
@pytest.mark.parametrize("name, fails", [*((name, False) for name in UNSYNCED), ("EIO", True), ("ENOSPC", True)])
def test_a_folder_that_cannot_be_synced_is_no_failed_write_but_a_failing_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, name: str, fails: bool
) -> None:
    real, number = getattr(os, call), getattr(errno, name)

    def refuses(what: Any, *rest: Any) -> Any:
        if what == tmp_path or (call == "fsync" and stat.S_ISDIR(os.fstat(what).st_mode)):
            raise OSError(number, os.strerror(number))
        return real(what, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuses)
        if fails:
            with pytest.raises(OSError, match=re.escape(os.strerror(number))):
                atomic.write(tmp_path / "file", b"data")
        else:
            atomic.write(tmp_path / "file", b"data")
    assert listing(tmp_path) == {"file": b"data"}


@pytest.mark.parametrize("umask, mode", [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_a_file_has_the_rights_that_the_umask_leaves_it(tmp_path: Path, umask: int, mode: int) -> None:
    (tmp_path / "there").write_bytes(b"old")
    writes = (
        f"from pathlib import Path; from toymodels.sweeps.store import atomic; place = Path({str(tmp_path)!r})\n"
        "for name in ('new', 'there'): atomic.write(place / name, b'data')"
    )
    subprocess.run([sys.executable, "-c", writes], check=True, umask=umask)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {"new": mode, "there": mode}


def test_temporaries_are_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"{atomic.PREFIX}abc").write_bytes(b"half")
    (tmp_path / "mine.txt").write_bytes(b"keep")
    atomic.sweep_temporaries(tmp_path)
    assert listing(tmp_path) == {"mine.txt": b"keep"}


def test_new_folder_says_what_it_is(tmp_path: Path) -> None:
    made = plan("[grid]\nseed = [0, 1]\n")
    store = opened(tmp_path / "a" / "run", made)
    manifest = store.manifest
    assert manifest.plan == made.hash
    assert (manifest.schema, manifest.models, manifest.packs) == (1, 2, 1)
    assert (manifest.engine, manifest.device) == ("autograd", "cpu")
    assert {"python", "toymodels", "torch", "numpy", "numba", "safetensors"} <= manifest.versions.keys()
    assert make_plan(store.sweep()).hash == made.hash
    store.release()


def test_manifest_is_written_once(tmp_path: Path) -> None:
    opened(tmp_path).release()
    before = listing(tmp_path)
    opened(tmp_path).release()
    assert listing(tmp_path) == before


def test_folder_as_written_is_opened_without_planning_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan("[grid]\nseed = [0, 1]\n")
    opened(tmp_path, made).release()
    with monkeypatch.context() as patch:
        patch.setattr(folder, "make_plan", None)
        opened(tmp_path, made).release()
    (tmp_path / "sweep.toml").write_text("# mine\n" + (tmp_path / "sweep.toml").read_text())
    opened(tmp_path, made).release()


RESOLVED = {
    "one setting": "",
    "grid": '[grid]\nseed = { range = [0, 3] }\n"features.density" = { log = [0.01, 0.4, 3] }\n',
    "law as an axis": '[grid]\n"features.frequency" = ["uniform", { law = "zipf", exponent = 1.2, cap = 0.5 }]\n',
    "inside a law": '[grid]\n"features.importance.law" = ["zipf"]\n"features.importance.exponent" = [1.0, 2]\n',
    "listed law": '[grid]\n"features.importance" = [{ law = "list", values = [1, 2, 3, 4, 5, 6] }, "uniform"]\n',
    "firing as an axis": '[grid]\n"features.firing" = ["independent", { kind = "correlated", groups = 2 }]\n',
    "sets as an axis": (
        '[features.firing]\nkind = "together"\nsets = [[4, 1], [0, 5, 2]]\n'
        '[grid]\n"features.firing.sets" = [[[0, 1]], [[2, 3, 1], [5, 4]]]\n'
    ),
    "eps of both kinds": '[grid]\n"model.layer_norm_eps" = [1e-5, "matched", 1e-12]\n"model.layer_norm" = [true]\n',
    "cases": '[[case]]\n"train.steps" = 5\n"model.tied" = false\n[[case]]\n"train.steps" = 6\n"model.tied" = true\n',
    "cases that set different things": '[[case]]\n"train.steps" = 5\n[[case]]\n"train.batch" = 6\n',
    "a case that keeps the base": (
        '[train]\nlearning_rate = 0.5\nsteps = 7\n[[case]]\n"train.steps" = 5\n[[case]]\n"train.learning_rate" = 0.1\n'
    ),
    "a case that keeps the base's law": (
        '[features.frequency]\nlaw = "zipf"\nexponent = 1.0\n'
        '[[case]]\n"features.frequency" = "uniform"\n[[case]]\n"features.density" = 0.2\n'
    ),
}


@pytest.mark.parametrize("name", RESOLVED)
def test_resolved_sweep_is_the_same_plan(name: str) -> None:
    made = plan(RESOLVED[name])
    again = make_plan(parse(resolved_toml(made.sweep), "file", "sweep.toml"))
    assert again.keys == made.keys


def test_resolved_sweep_over_sizes_with_one_active_feature_is_the_same_plan() -> None:
    text = '[features]\nfiring = "one"\n[model]\nhidden = 2\n[grid]\n"features.n" = [4, 8]\n'
    made = make_plan(parse(text, "file", "file.toml"))
    assert make_plan(parse(resolved_toml(made.sweep), "file", "sweep.toml")).keys == made.keys


@pytest.mark.parametrize("question", ["", "why?", 'quote " \\ and\nline', "</script> \x07 \u2028 é 🙂"])
def test_resolved_sweep_keeps_its_question(question: str) -> None:
    made = plan(top=f"question = {json.dumps(question)}".replace("\\ud83d\\ude42", "🙂"))
    assert made.sweep.question == question
    assert parse(resolved_toml(made.sweep), "file", "sweep.toml").question == question


def test_resolved_sweep_with_options_is_the_same_plan() -> None:
    chosen = plan('[grid]\nseed = [0, 1]\n"model.tied" = [false, true]\n').sweep.with_setting("train.steps", 3)
    made = make_plan(chosen.with_axis("seed", {"range": [2, 5]}))
    assert make_plan(parse(resolved_toml(made.sweep), "file", "sweep.toml")).keys == made.keys


def test_second_holder_is_refused_naming_the_first(tmp_path: Path) -> None:
    holder = opened(tmp_path)
    with pytest.raises(FolderError, match=f"in use by process {os.getpid()}") as caught:
        opened(tmp_path)
    assert caught.value.exit_code == 4
    holder.release()
    opened(tmp_path).release()


@pytest.mark.parametrize(
    "rest, changed",
    [
        ("[grid]\nseed = [0, 1]\n", "seed"),
        ("[train]\nsteps = 31\nlearning_rate = 0.1\n", "train.learning_rate, train.steps"),
        ('[[case]]\n"train.steps" = 4\n[[case]]\n"train.steps" = 5\n', "case, train.steps"),
    ],
)
def test_folder_of_another_sweep_is_refused_naming_what_changed(tmp_path: Path, rest: str, changed: str) -> None:
    opened(tmp_path).release()
    before = listing(tmp_path)
    with pytest.raises(FolderError, match=f"another sweep \\(changed: {changed}\\)") as caught:
        opened(tmp_path, plan(rest))
    assert caught.value.exit_code == 4
    assert listing(tmp_path) == before


def test_refused_sweep_lets_the_folder_go(tmp_path: Path) -> None:
    opened(tmp_path).release()
    with pytest.raises(FolderError, match="another sweep"):
        opened(tmp_path, plan("[grid]\nseed = [0, 1]\n"))
    opened(tmp_path).release()


@pytest.mark.parametrize("engine, device, named", [("fused", "cpu", "engine"), ("autograd", "cuda", "device")])
def test_folder_of_another_engine_or_device_is_refused(tmp_path: Path, engine: str, device: str, named: str) -> None:
    opened(tmp_path).release()
    with pytest.raises(FolderError, match=f"made with {named}"):
        opened(tmp_path, engine=engine, device=device)


MANIFESTS = {
    "empty": b"",
    "no JSON": b"\x80\x04hello",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "no schema": b"{}",
    "only a schema": b'{"schema": 1}',
    "newer": b'{"schema": 99}',
    "deep": b"[" * 10**5,
}


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("door", ["sweep", "read"])
def test_foreign_manifest_is_refused_and_nothing_is_deleted(tmp_path: Path, name: str, door: str) -> None:
    opened(tmp_path).release()
    (tmp_path / "manifest.json").write_bytes(MANIFESTS[name])
    before = listing(tmp_path)
    with pytest.raises(FolderError) as caught:
        opened(tmp_path) if door == "sweep" else Store.open_existing(tmp_path)
    assert caught.value.exit_code == 4
    assert ("newer" in str(caught.value)) == (name == "newer")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("text", ["", "not toml [", "seed = 3\n"])
@pytest.mark.parametrize("door", ["sweep", "changed sweep"])
def test_damaged_sweep_file_is_refused(tmp_path: Path, text: str, door: str) -> None:
    opened(tmp_path).release()
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(FolderError) as caught:
        opened(tmp_path, plan() if door == "sweep" else plan("[grid]\nseed = [0, 1]\n"))
    assert caught.value.exit_code == 4


def test_packs_without_a_manifest_are_refused(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "00000000.safetensors").write_bytes(b"mine")
    with pytest.raises(FolderError, match="no manifest"):
        opened(tmp_path)
    assert listing(tmp_path) == {"packs/00000000.safetensors": b"mine"}


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nothing"])
def test_folder_that_cannot_be_made_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FolderError, match="choose another --out") as caught:
        opened(tmp_path / place)
    assert caught.value.exit_code == 4
    assert listing(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_bytes(b"")])
def test_reading_what_is_no_run_folder_is_refused(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "run")
    with pytest.raises(FolderError, match="run folder"):
        Store.open_existing(tmp_path / "run")


def test_pack_of_other_models_is_damage(tmp_path: Path) -> None:
    made = plan("[grid]\nseed = [0, 1]\n")
    store, pack = opened(tmp_path, made), made.packs[0]
    (like,) = made.experiments(made.settings([0]))
    whole = {name: torch.zeros(of.shape) for name, of in tensors_of(like, 2).items()}
    assert store.read_pack(pack, made.keys, like) is None
    store.write(store.pack_path(pack), whole, {"keys": list(made.keys)})
    assert store.read_pack(pack, made.keys, like) is not None
    with pytest.raises(Damaged, match="other models"):
        store.read_pack(pack, made.keys[::-1], like)
    store.write(store.pack_path(pack), whole | {"W_in": torch.zeros(2, 9, 9)}, {"keys": list(made.keys)})
    with pytest.raises(Damaged, match="its tensors are not those"):
        store.read_pack(pack, made.keys, like)
    store.write(store.pack_path(pack), whole | {"W_in": torch.zeros(2, 1000, 1000)}, {"keys": list(made.keys)})
    with pytest.raises(Damaged, match="larger than it can be"):
        store.read_pack(pack, made.keys, like)
    store.release()


def test_damaged_files_are_kept_under_names_of_their_own(tmp_path: Path) -> None:
    store, path = Store(tmp_path), tmp_path / "pack"
    kept = []
    for data in (b"one", b"two", b"three"):
        path.write_bytes(data)
        kept.append(store.set_aside(path))
    assert [aside.read_bytes() for aside in kept] == [b"one", b"two", b"three"]
    assert not path.exists()


def test_full_disk_is_one_sentence_that_says_what_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FolderError, match=r"No space left on device.*is safe") as caught:
        Store(tmp_path).write_bytes(tmp_path / "file", b"data")
    assert caught.value.exit_code == 1
    assert listing(tmp_path) == {}
