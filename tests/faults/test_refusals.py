"""Names, rights and disks of the user's: each is one sentence that names the file, with its exit code, and no bug."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BODY, door
from toymodels.sweeps.console import doctor
from toymodels.sweeps.store import atomic

LONG = "x" * 300
READ_A_RUN = ("show", "status", "tables", "report", "verdict")


def refused(*arguments: object) -> tuple[int, str]:
    """The exit code of a command, and what it said on stderr."""
    code, _, err = door(*arguments)
    return code, err


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("refusals")
    (place / "tiny.toml").write_text(BODY)
    (place / "file").write_text("mine")
    code, said = refused("sweep", place / "tiny.toml", "--out", place / "run", "--engine", "autograd")
    assert code == 0, said
    return place


@pytest.fixture
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    yield place
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    "command, code, sentence",
    [
        (("sweep", "./tiny.toml", "--out", LONG), 4, f"{LONG}: cannot be opened (File name too long)"),
        (("sweep", "./tiny.toml", "--out", "file/run"), 4, "file/run: a file stands where the run folder should be"),
        (("sweep", "./tiny.toml", "--out", "file"), 4, "file: a file stands where the run folder should be"),
        (("sweep", f"./{LONG}.toml"), 2, f"{LONG}.toml: cannot be read (File name too long)"),
        (("sweep", "file/tiny.toml"), 2, "file/tiny.toml: cannot be read (Not a directory)"),
        *(((name, LONG), 4, f"{LONG}: cannot be opened (File name too long)") for name in READ_A_RUN),
        *(((name, "file/run"), 4, "file/run: no such run folder") for name in READ_A_RUN),
        (("figure", "tms_intro", "run", "--out", LONG), 4, f"{LONG}: cannot be written (File name too long)"),
        (("figure", "tms_intro", "run", "--out", "file"), 4, "file: cannot be written (File exists)"),
    ],
)
@pytest.mark.usefixtures("inside")
def test_a_name_that_cannot_be_is_one_sentence(command: tuple[str, ...], code: int, sentence: str) -> None:
    got, said = refused(*command)
    assert got == code
    assert sentence in said
    assert len([line for line in said.splitlines() if line.startswith("toymodels: ")]) == 1


@pytest.mark.parametrize("reason, code", [("ENOSPC", 1), ("EDQUOT", 1), ("EIO", 1), ("EACCES", 4), ("EROFS", 4)])
@pytest.mark.parametrize(
    "command, name", [(("report", "run"), "run/report.html"), (("figure", "tms_intro", "run"), "run")]
)
def test_what_cannot_be_written_is_named_and_a_full_disk_is_no_refusal(
    inside: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], name: str, reason: str, code: int
) -> None:
    number, real = getattr(errno, reason), os.open

    def refuse(path: os.PathLike[str] | str, *rest: int, **named: int) -> int:
        if atomic.PREFIX in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "open", refuse)
        assert refused(*command) == (code, f"toymodels: {name}: cannot be written ({os.strerror(number)})\n")


@pytest.mark.parametrize("path, named", [("/there", "/there"), (None, "the output")])
def test_a_failure_of_the_system_that_nobody_expects_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, path: str | None, named: str
) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(doctor, "examine", fail)
    assert refused("doctor") == (1, f"toymodels: {named}: Input/output error; what is finished is safe\n")


def test_a_bug_is_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("ours")

    monkeypatch.setattr(doctor, "examine", fail)
    code, said = refused("doctor")
    assert (code, "unexpected ValueError: ours. This is a bug" in said) == (1, True)
