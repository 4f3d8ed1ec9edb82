"""The audience: who watches a sweep, and how it tells them how far it is.

A terminal has a bar by Rich on stderr. So has a notebook, where Rich would need ipywidgets: here it is a display that
is written over. Anywhere else a heartbeat line now and then has to do.
"""

from __future__ import annotations

import html
import sys
import time
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

SECONDS_BETWEEN = 0.2
"""after which a notebook's display is written over: each time is a message to the browser"""


class Bar(ABC):
    """Shows how many models are done, while it is there."""

    @abstractmethod
    def show(self, done: float, rate: float) -> None:
        """So many models are done, at so many a second; 0 where that is not known yet."""

    @abstractmethod
    def stop(self) -> None:
        """Leave it as it is."""


class Audience(ABC):
    """Whoever watches a sweep."""

    @abstractmethod
    def say(self, sentence: str) -> None:
        """Tell them a sentence."""

    def bar(self, total: int, part: str) -> Bar | None:
        """A bar for so many models, begun, which says of which part of a sweep they are; None where there is none."""
        return None


class Standard(Audience):
    """Whoever reads the standard error of this process: with a bar where that is a terminal."""

    @cached_property
    def _console(self) -> Any:
        from rich.console import Console

        return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def say(self, sentence: str) -> None:
        """Print it on a line of its own, above the bar."""
        self._console.print(sentence)

    def bar(self, total: int, part: str) -> Bar | None:
        """A bar by Rich on a terminal."""
        return _OnTerminal(self._console, total, part) if self._console.is_terminal else None


class _OnTerminal(Bar):
    def __init__(self, console: Any, total: int, part: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        models = TextColumn(part + "{task.completed:,.0f}/{task.total:,.0f} models, {task.fields[rate]}")
        self._progress = Progress(BarColumn(), models, TimeRemainingColumn(), console=console)
        self._task = self._progress.add_task("", total=total, rate="")
        self._progress.start()

    def show(self, done: float, rate: float) -> None:
        self._progress.update(self._task, completed=done, rate=f"{rate:,.2f} models/s" if rate else "")

    def stop(self) -> None:
        self._progress.stop()


class Notebook(Audience):
    """Whoever runs a cell of a notebook."""

    def say(self, sentence: str) -> None:
        """Print it below the cell, and not in the colour of a warning."""
        print(sentence)

    def bar(self, total: int, part: str) -> Bar:
        """A display below the cell."""
        return _InNotebook(total, part)


class _InNotebook(Bar):
    """One display, which is written over: ``<progress>`` in a browser, a line of text where there is none."""

    def __init__(self, total: int, part: str) -> None:
        from IPython.display import display

        self._total, self._part = total, part
        self._said, self._last = self._output(0.0, 0.0), time.monotonic()
        self._display = display(self._said, raw=True, display_id=True)

    def show(self, done: float, rate: float) -> None:
        self._said = self._output(done, rate)
        if time.monotonic() - self._last > SECONDS_BETWEEN:
            self._write()

    def stop(self) -> None:
        self._write()

    def _write(self) -> None:
        self._last = time.monotonic()
        if self._display is not None:
            self._display.update(self._said, raw=True)

    def _output(self, done: float, rate: float) -> dict[str, str]:
        left = (self._total - done) / rate if rate else 0.0
        speed = f", {rate:,.2f} models/s" + (f", about {left:,.0f} s left" if left >= 1 else "") if rate else ""
        line = f"{self._part}{done:,.0f} of {self._total:,} models{speed}"
        bar = f'<progress max="{self._total}" value="{done:.2f}"></progress>'
        return {"text/plain": line, "text/html": f"{bar} {html.escape(line)}"}


class Nobody(Audience):
    """Nobody watches."""

    def say(self, sentence: str) -> None:
        """Nothing is said."""


def here() -> Audience:
    """Who watches this process: whoever runs the notebook's cell that called, else who reads its standard error."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    return Notebook() if shell is not None and hasattr(shell, "kernel") else Standard()
