"""Run folders that somebody else made: nothing in them is executed, followed out of the folder, or believed."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import toymodels
from tests.conftest import TINIER, door, listing
from toymodels.sweeps.store.tensorfile import serialise

TINY = TINIER.replace("tiny?", "</script><script>alert(1)</script> tiny?")


LINKS = [f"link to {what}" for what in ("another pack", "a text", "a pipe", "a device", "itself", "nothing")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    (place / "tiny.toml").write_text(TINY)
    assert door("sweep", place / "tiny.toml", "--out", place / "run", "--engine", "autograd")[0] == 0
    return place / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def again(run: Path) -> tuple[int, str, str]:
    return door("sweep", run / "sweep.toml", "--out", run)


class Payload:
    """What a pickle would do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def header_of(entries: int) -> bytes:
    """A safetensors header of so many empty tensors."""
    named = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(entries)}
    text = json.dumps(named).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize("how", ["pickle", "torch.save", "million entries", "endless header", "pipe", "huge", *LINKS])
@pytest.mark.parametrize("folder", ["packs", "measures"])
def test_a_hostile_file_is_neither_run_nor_followed_nor_believed(
    run: Path, whole: Path, tmp_path: Path, how: str, folder: str
) -> None:
    path, loot = run / folder / "00000000.safetensors", tmp_path / "loot"
    elsewhere = Path(shutil.copy(path, tmp_path / "elsewhere.safetensors"))
    good = path.read_bytes()
    path.unlink()
    match how:
        case "pickle":
            path.write_bytes(pickle.dumps(Payload(loot)))
        case "torch.save":
            torch.save(Payload(loot), path)
        case "million entries":
            path.write_bytes(header_of(10**6))
        case "endless header":
            path.write_bytes((2**62).to_bytes(8, "little") + b"{")
        case "pipe":
            os.mkfifo(path)
        case "huge":
            with path.open("wb") as file:
                file.truncate(2**40)  # a terabyte of nothing, which takes no room
        case "link to another pack":
            path.symlink_to(elsewhere)
            elsewhere.write_bytes((run / folder / "00000001.safetensors").read_bytes())
        case "link to a text":
            path.symlink_to(elsewhere)
            elsewhere.write_text("not yours")
        case "link to a pipe":
            elsewhere.unlink()
            os.mkfifo(elsewhere)
            path.symlink_to(elsewhere)
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "link to itself":
            path.symlink_to(path)
        case _:
            path.symlink_to(tmp_path / "nothing")
    outside = elsewhere.read_bytes() if elsewhere.is_file() else None
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, _, err = again(run)
    assert code == 0
    assert time.monotonic() - begin < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20
    assert not loot.exists()
    assert outside is None or elsewhere.read_bytes() == outside
    assert not (tmp_path / "nothing").exists()
    assert path.read_bytes() == good
    assert not path.is_symlink()
    if folder == "packs":
        assert "00000000.safetensors.damaged-0" in err
        aside = run / "packs" / "00000000.safetensors.damaged-0"
        assert os.path.lexists(aside)
        assert aside.is_symlink() == (how in LINKS)
    assert (run / "models.parquet").read_bytes() == (whole / "models.parquet").read_bytes()


@pytest.mark.parametrize("folder", ["packs", "measures"])
def test_a_link_to_a_whole_file_is_read_and_kept_and_never_written_through(
    run: Path, whole: Path, tmp_path: Path, folder: str
) -> None:
    """As git-annex leaves them: relative, to a file that nobody may write."""
    (tmp_path / "annex").mkdir()
    for path in (run / folder).glob("*.safetensors"):
        kept = Path(shutil.move(path, tmp_path / "annex" / path.name))
        kept.chmod(0o444)
        path.symlink_to(Path("../../annex") / path.name)
    code, out, err = door("sweep", run / "sweep.toml", "--out", run, "--json")
    assert (code, json.loads(out)["trained"], "damaged" in err) == (0, 0, False), err
    assert all(path.is_symlink() for path in (run / folder).glob("*.safetensors"))
    original, linked = toymodels.load(whole).model(3), toymodels.load(run).model(3)
    assert torch.equal(original.parameters.W_in, linked.parameters.W_in)
    assert door("tables", run)[0] == 0
    assert listing(run) == listing(whole)
    for path in (tmp_path / "annex").iterdir():
        assert path.read_bytes() == (whole / folder / path.name).read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert all(path.is_symlink() == (folder == "packs") for path in (run / folder).glob("*.safetensors"))


def test_a_linked_pack_that_is_damaged_has_its_link_moved_aside(run: Path, whole: Path, tmp_path: Path) -> None:
    path = run / "packs" / "00000000.safetensors"
    target = Path(shutil.move(path, tmp_path / "target"))
    target.write_bytes(target.read_bytes()[:-1])
    path.symlink_to(target)
    before = target.read_bytes()
    code, _, err = again(run)
    assert (code, "kept as 00000000.safetensors.damaged-0" in err) == (0, True)
    assert (run / "packs" / "00000000.safetensors.damaged-0").readlink() == target
    assert target.read_bytes() == before
    assert path.read_bytes() == (whole / "packs" / path.name).read_bytes()


@pytest.mark.parametrize("how", ["link", "pipe", "huge"])
@pytest.mark.parametrize("name", ["manifest.json", "sweep.toml"])
def test_what_says_what_a_folder_is_is_a_file(run: Path, tmp_path: Path, name: str, how: str) -> None:
    path = run / name
    elsewhere = Path(shutil.move(path, tmp_path / "elsewhere"))
    match how:
        case "link":
            path.symlink_to(elsewhere)
        case "pipe":
            os.mkfifo(path)
        case "huge":
            with path.open("wb") as file:
                file.truncate(2**40)
    for command in ("tables", "report"):
        code, _, err = door(command, run)
        assert (code, name in err) == (4, True), err


@pytest.mark.parametrize("engine", ["autograd", "fused"])
@pytest.mark.parametrize("how", ["link", "pipe", "huge", "foreign"])
def test_a_hostile_checkpoint_is_moved_aside_and_the_pack_begins_again(
    run: Path, whole: Path, tmp_path: Path, how: str, engine: str
) -> None:
    if engine == "fused":
        shutil.rmtree(run)
        sweep = ("sweep", whole.parent / "tiny.toml", "--out", run, "--engine", engine)
        assert door(*sweep)[0] == 0
    good = {path.name: path.read_bytes() for path in (run / "packs").iterdir()}
    (run / "packs" / "00000000.safetensors").unlink()
    (run / "unfinished").mkdir()
    path = run / "unfinished" / "00000000-0-2.safetensors"
    match how:
        case "link":
            path.symlink_to(run / "packs" / "00000001.safetensors")
        case "pipe":
            os.mkfifo(path)
        case "huge":
            with path.open("wb") as file:
                file.truncate(2**40)
        case "foreign":
            shutil.copy(run / "packs" / "00000001.safetensors", path)
    code, _, err = again(run)
    assert (code, "kept as 00000000-0-2.safetensors.damaged-0" in err) == (0, True), err
    assert {path.name: path.read_bytes() for path in (run / "packs").iterdir()} == good


@pytest.mark.parametrize("folder", ["packs", "measures"])
def test_a_folder_that_is_a_link_is_refused(run: Path, tmp_path: Path, folder: str) -> None:
    outside = shutil.move(run / folder, tmp_path / "outside")
    before = sorted(Path(outside).iterdir())
    (run / folder).symlink_to(outside)
    for command in (again(run), door("show", run), door("tables", run), door("status", run)):
        assert (command[0], f"{folder}: is a link" in command[2]) == (4, True)
    assert sorted(Path(outside).iterdir()) == before


@pytest.mark.parametrize("name", ["../../evil.x", "evil.column", "models", "models.loss", "features.norm"])
def test_measures_of_other_columns_or_sizes_are_made_again(run: Path, whole: Path, name: str) -> None:
    """With a digest that is right: whoever writes a file can write that."""
    path = run / "measures" / "00000000.safetensors"
    pack = json.loads((run / "packs" / path.name).read_bytes()[8:].split(b'"toymodels":')[1].split(b"}}")[0] + b'"')
    digest = pack.split('"digest":"')[1][:64]
    path.write_bytes(serialise({name: torch.zeros(3)}, {"numerics": 3, "pack": digest}))
    assert again(run)[0] == 0
    assert path.read_bytes() == (whole / "measures" / path.name).read_bytes()


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"engine": "../../evil"}, 2),
        ({"device": "/dev/sda"}, 2),
        ({"plan": "../../evil"}, 4),
        ({"schema": float("inf")}, 4),
        ({"models": 10**30}, 0),
        ({"packs": -1}, 0),
    ],
)
def test_a_manifest_that_lies_is_refused_or_shown_as_it_is(run: Path, change: dict[str, Any], expected: int) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | change))
    before = sorted(run.rglob("*"))
    code, _, err = again(run)
    assert code == expected, err
    assert door("status", run)[0] == (4 if expected == 4 and "schema" in change else 0)
    assert {path for path in before if path.is_file()} <= set(run.rglob("*"))


def test_words_in_a_report_are_text(run: Path) -> None:
    assert door("report", run)[0] == 0
    report = (run / "report.html").read_text()
    assert "<script>alert" not in report
    assert "&lt;script&gt;alert" in report


def test_a_damaged_folder_still_has_its_report_and_figures(run: Path) -> None:
    path = run / "packs" / "00000000.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert door("report", run)[0] == 0
    code, _, err = door("tables", run)
    assert (code, str(path) in err) == (0, True)
    assert door("report", run)[0] == 0
    assert "partial: 2 of 4 models" in (run / "report.html").read_text()
