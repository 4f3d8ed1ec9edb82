"""Replies: what a study says of a run, as the terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from rich.markup import escape
from rich.table import Table

from toymodels.sweeps.console.printing import MAX_ROWS, stdout
from toymodels.sweeps.results.arms import as_python, value_text
from toymodels.sweeps.studies.reply import ESTIMATE, Reply

LEGEND = "mean, low, high: over seeds, with the 95 % interval of the studentised bootstrap; empty: undefined."


def print_reply(reply: Reply) -> None:
    """Print the question of a study, its answer, its tables, and what should be known before it is believed."""
    stdout.print(f"[bold]{escape(reply.question)}[/bold]", highlight=False)
    stdout.print(escape(reply.sentence), highlight=False)
    print_tables(reply.tables)
    for sentence in reply.notes:
        stdout.print(escape(sentence), highlight=False)


def print_tables(tables: Mapping[str, pd.DataFrame]) -> None:
    """Print tables by their titles, and what the columns of estimates mean."""
    for title, rows in tables.items():
        table = Table(box=None, pad_edge=False, header_style="bold", title=escape(title), title_justify="left")
        for column in rows.columns:
            table.add_column(escape(str(column)))
        for row in rows.head(MAX_ROWS).itertuples(index=False, name=None):
            table.add_row(*(escape(value_text(as_python(value))) for value in row))
        stdout.print(table)
        if len(rows) > MAX_ROWS:
            stdout.print(f"the first {MAX_ROWS} of {len(rows)} rows; all are in the file", highlight=False)
    if any(set(ESTIMATE) <= set(map(str, rows.columns)) for rows in tables.values()):
        stdout.print(f"[dim]{LEGEND}[/dim]", highlight=False)
