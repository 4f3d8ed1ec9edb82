"""Who hears of a run: whatever was asked for, and once what is said once."""

from __future__ import annotations

import pytest

from toymodels.sweeps.execution.executor import Executor
from toymodels.sweeps.execution.reporter import SILENT, Reporter


def test_who_asks_for_nothing_hears_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    SILENT.note("unheard")
    SILENT.trained(1.0)
    SILENT.stored(1.0)
    assert capsys.readouterr() == ("", "")


def test_what_is_noted_once_is_noted_once_to_each() -> None:
    first, second = list[str](), list[str]()
    for notes in (first, second):
        reporter = Reporter(note=notes.append)
        for sentence in ("one", "two", "one"):
            reporter.note_once(sentence)
        reporter.note("one")
    assert first == second == ["one", "two", "one"]


def test_an_executor_without_its_method_cannot_be_made() -> None:
    class Idle(Executor):
        """Does not say how it finishes jobs."""

    with pytest.raises(TypeError, match="finish"):
        Idle()  # pyright: ignore[reportAbstractUsage]
