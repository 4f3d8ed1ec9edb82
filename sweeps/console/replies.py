"""Replies: what a study says of a run, as the terminal shows it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from toymodels.sweeps.console.printing import MAX_ROWS, stdout
from toymodels.sweeps.results.arms import as_python, value_text
from toymodels.sweeps.studies.reply import ESTIMATE, Reply

INTERVAL = "mean (95 %)"
LEGEND = (
    f"{INTERVAL}: over seeds, the interval by the bootstrap, studentised where nothing else is said, and Student's t "
    "below eight seeds; -: undefined, or a single seed."
)


def print_reply(reply: Reply) -> None:
    """Print the question of a study, its answer, its tables, and what should be known before it is believed."""
    stdout.print(f"[bold]{escape(reply.question)}[/bold]", highlight=False)
    stdout.print(escape(reply.sentence), highlight=False)
    print_tables(reply.tables)
    for sentence in reply.notes:
        stdout.print(escape(sentence), highlight=False)


def print_tables(tables: Mapping[str, pd.DataFrame], all_in: str = "the file") -> None:
    """Print tables by their titles, and what the columns of estimates mean; ``all_in`` is where a long one is whole."""
    for title, rows in tables.items():
        stdout.print(f"\n[dim]{escape(title)}[/dim]", highlight=False)
        stdout.print(table_of(rows.head(MAX_ROWS)))
        if len(rows) > MAX_ROWS:
            stdout.print(f"the first {MAX_ROWS} of {len(rows)} rows; all are in {all_in}", highlight=False)
    if any(has_estimates(rows) for rows in tables.values()):
        stdout.print(f"[dim]{LEGEND}[/dim]", highlight=False)


def has_estimates(rows: pd.DataFrame) -> bool:
    """Whether a table has the columns of an estimate over seeds."""
    return set(ESTIMATE) <= set(rows.columns)


def table_of(rows: pd.DataFrame) -> Table:
    """A table for the terminal: an estimate in one column, and words that a row shares with the one above it, from
    the left on, left out."""
    hidden = ESTIMATE[1:3] if has_estimates(rows) else ()
    columns = [column for column in rows.columns if column not in hidden]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(escape(INTERVAL if column == ESTIMATE[0] and has_estimates(rows) else str(column)))
    above: list[str] = []
    for row in rows.to_dict("records"):
        cells = [_cell(row, column, has_estimates(rows)) for column in columns]
        words = [isinstance(row[column], str) for column in columns]
        same = 0
        while above and same < len(cells) - 1 and words[same] and cells[same] == above[same]:
            same += 1
        table.add_row(*[""] * same, *cells[same:])
        above = cells
    return table


def _cell(row: Mapping[Hashable, Any], column: str, estimates: bool) -> str:
    if estimates and column == ESTIMATE[0]:
        mean, low, high = (value_text(as_python(row[name])) or "-" for name in ESTIMATE[:3])
        return mean if low == high == "-" else f"{mean} ({low} to {high})"
    return escape(value_text(as_python(row[column])))
