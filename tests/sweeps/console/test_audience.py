"""The audience: a bar on a terminal, a display that is written over in a notebook, lines elsewhere."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import IPython
import pytest
from IPython.core import display_functions

from toymodels.sweeps.console import audience
from toymodels.sweeps.console.audience import Nobody, Notebook, Standard, here
from toymodels.sweeps.console.progress import Progress


class Display:
    """What a notebook shows below a cell."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def __call__(self, said: dict[str, str], *, raw: bool, display_id: bool) -> Display:
        assert raw
        assert display_id
        self.shown.append(said)
        return self

    def update(self, said: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(said)


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Display:
    shown = Display()
    monkeypatch.setattr(display_functions, "display", shown)
    monkeypatch.setattr("IPython.display.display", shown)
    return shown


def test_a_notebooks_display_is_written_over_and_ends_with_all_models(
    display: Display, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audience, "SECONDS_BETWEEN", 3600.0)
    with Progress(4, "<b>", Notebook()) as progress:
        for _ in range(4):
            progress.advance(1.0)
        progress.note("a sentence")
    first, last = display.shown  # and none of the four in between
    assert first["text/plain"] == "<b>: 0 of 4 models"
    assert last["text/plain"].startswith("<b>: 4 of 4 models, ")
    assert '<progress max="4" value="4.00"></progress> &lt;b&gt;: 4 of 4 models' in last["text/html"]
    assert capsys.readouterr() == ("a sentence\n", "")


def test_the_place_is_a_notebook_where_a_kernel_runs_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    shells: dict[type, Any] = {Notebook: SimpleNamespace(kernel=object()), Standard: SimpleNamespace()}
    for kind, shell in shells.items():
        monkeypatch.setattr(IPython, "get_ipython", lambda shell=shell: shell)
        assert type(here()) is kind
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    assert type(here()) is Standard


def test_a_terminal_has_a_bar_and_a_file_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    for stream, barred in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr("sys.stderr", stream)
        with Progress(3, "", Standard()) as progress:
            progress.advance(3.0)
            progress.note("not a :smile: but [b]text[/b]")
        written = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
        assert ("3/3 models" in written) == barred
        assert "not a :smile: but [b]text[/b]" in written


def test_nobody_hears_anything(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "", Nobody()) as progress:
        progress.advance(1.0)
        progress.note("a sentence")
    assert capfd.readouterr() == ("", "")
