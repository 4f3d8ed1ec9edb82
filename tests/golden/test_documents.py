"""Every command prints the documents, lines and refusals that it printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from . import refusing, saying
from .door import files_of
from .text import differences, read

REFUSALS = read("refusals.json")


@pytest.fixture(scope="session")
def said(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every command says now, after ``runs``, which compile what is not compiled yet and say so."""
    return saying.say_all(tmp_path_factory.mktemp("said"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to be refused in."""
    folder = tmp_path_factory.mktemp("refused")
    refusing.prepare(folder)
    return folder


@pytest.mark.parametrize("name", saying.COMMANDS)
def test_a_command_prints_the_same_document(said: dict[str, Any], exact: bool, name: str) -> None:
    assert differences(read(f"said/{name}.json")["json"], said[name]["json"], exact) == []


@pytest.mark.parametrize("name", saying.COMMANDS)
def test_a_command_prints_the_same_lines(said: dict[str, Any], exact: bool, name: str) -> None:
    assert differences(read(f"said/{name}.json")["plain"], said[name]["plain"], exact) == []


def test_commands_leave_the_same_files(said: dict[str, Any]) -> None:
    assert said["files"] == read("said/files.json")


def test_evidence_has_the_same_columns(said: dict[str, Any]) -> None:
    assert differences(read("said/evidence.json"), said["evidence"], exact=True) == []


def test_help_is_the_same(said: dict[str, Any]) -> None:
    recorded, found = read("said/help.json"), said["help"]
    assert found.keys() == recorded.keys()
    if found["typer"] == recorded["typer"]:
        assert differences(recorded, found, exact=True) == []
    assert {name: _options(text) for name, text in found.items()} == {
        name: _options(text) for name, text in recorded.items()
    }


def _options(text: str | list[str]) -> list[str]:
    return sorted(set(re.findall(r"(?<!\S)--?[a-z][\w-]*", "\n".join(text))))


def test_every_refusal_is_recorded() -> None:
    assert REFUSALS.keys() == refusing.REFUSED.keys()


@pytest.mark.parametrize("name", refusing.REFUSED)
def test_a_refusal_is_the_same_sentence(prepared: Path, name: str) -> None:
    before = [(path, path.read_bytes()) for path in files_of(prepared)]
    assert refusing.refuse(name, prepared) == REFUSALS[name]
    assert [(path, path.read_bytes()) for path in files_of(prepared)] == before
