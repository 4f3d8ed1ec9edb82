"""Watching: a run followed from another terminal or machine until it ends; on a terminal live, elsewhere in lines.

It only reads. Killed or interrupted, it leaves nothing behind, and the sweep never knows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from toymodels.sweeps.console.documents import print_document
from toymodels.sweeps.console.door import Terminated
from toymodels.sweeps.console.looking import Look, Watcher, printable
from toymodels.sweeps.console.progress import SECONDS_BETWEEN_LINES
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.newest import PACKS, LayerLosses

MOST_OF_THE_TIME = 0.9
"""that is spent waiting, however long a look takes: a folder on a network is not read without end"""
COLUMNS = ("hidden layer", "models", "diverged", "loss fraction", "quartiles")


def watch(folder: Path, *, every: float, once: bool, as_json: bool) -> None:
    """Show how a run goes on, every so many seconds, until it has ended; ``once`` or ``as_json``, as it is now.

    Raises ``typer.Exit`` with what the sweep's own command ends with, and `FolderError` where the folder is no run
    folder, or there is none yet that could be shown once.
    """
    watcher = Watcher(folder)
    if once or as_json:
        look = watcher.look()
        if look is None:
            raise FolderError(f"{folder}: no such run folder")
        if as_json:
            print_document(look.document())
        else:
            print(*lines(look), sep="\n")
        raise typer.Exit(look.exit_code or 0)
    try:
        console = Console(highlight=False)
        live = console.is_terminal and not console.is_dumb_terminal
        code = (_show_live if live else _show_lines)(_looks(watcher, every), folder)
    except (KeyboardInterrupt, Terminated) as stop:  # nothing was begun, so there is nothing to say
        raise typer.Exit(130 if isinstance(stop, KeyboardInterrupt) else 143) from None
    raise typer.Exit(code)


def lines(look: Look) -> list[str]:
    """A look as lines: how far the run is, who is at work, what failed, and what was learned."""
    rows = [f"loss fraction {median} ({quartiles}) of {layer}" for layer, _, _, median, quartiles in _rows(look.losses)]
    return [look.headline, *look.state, *rows]


def _looks(watcher: Watcher, every: float) -> Iterator[Look | None]:
    """What is seen, again and again, until the run has ended; None while there is none.

    Seen twice, since between its two parts a run may look as if it had.
    """
    ended = False
    while True:
        begun = time.monotonic()
        look = watcher.look()
        last, ended = ended, look is not None and look.exit_code is not None
        yield look
        if last and ended:
            return
        took = time.monotonic() - begun
        time.sleep(max(every, took * MOST_OF_THE_TIME / (1 - MOST_OF_THE_TIME)))


def _show_live(looks: Iterator[Look | None], folder: Path) -> int:
    """On a terminal, in one place; returns the exit code."""
    code = 0
    with Live(auto_refresh=False, console=Console(highlight=False)) as live:
        for look in looks:
            live.update(_screen(look) if look else Text(_waiting(folder)), refresh=True)
            code = (look.exit_code or 0) if look else 0
    return code


def _show_lines(looks: Iterator[Look | None], folder: Path) -> int:
    """Elsewhere: a line now and then, and at once what changes seldom; returns the exit code."""
    shown: list[str] | None = None
    headline, said = "", float("-inf")
    look = None
    for look in looks:
        now = time.monotonic()
        state = look.state if look else [_waiting(folder)]
        new = [line for line in state if line not in (shown or [])]
        shown = state
        if look and look.headline != headline and (new or now - said >= SECONDS_BETWEEN_LINES):
            headline, said = look.headline, now
            new = [headline, *new]
        if new:
            print(*new, sep="\n", flush=True)
    if look is None:
        return 0
    print(*lines(look), sep="\n", flush=True)
    return look.exit_code or 0


def _waiting(folder: Path) -> str:
    return f"{folder}: no run folder yet: waiting for a sweep to begin there"


def _screen(look: Look) -> Group:
    """A look as it fills a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in COLUMNS:
        table.add_column(title, justify="left" if title == COLUMNS[0] else "right")
    for row in _rows(look.losses):
        table.add_row(*(Text(cell) for cell in row))
    bar = Padding(ProgressBar(total=1.0, completed=look.share), 0)  # by itself it ends no line
    note = Text(f"of the newest {PACKS} packs at most", style="dim")
    return Group(
        Text(look.headline, style="bold"), bar, *map(Text, look.state), *([table, note] if look.losses else [])
    )


def _rows(losses: Sequence[LayerLosses]) -> list[tuple[str, str, str, str, str]]:
    """The losses of every hidden layer in words, as `COLUMNS` has them."""
    return [
        (
            printable(each.layer),  # a pack says it
            f"{each.models:,}",
            f"{each.diverged:,}",
            _number(each.median),
            f"{_number(each.low)} to {_number(each.high)}",
        )
        for each in losses
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
