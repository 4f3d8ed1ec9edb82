"""Printing: results as the terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toymodels.sweeps.console import documents
from toymodels.sweeps.console.door import say
from toymodels.sweeps.console.standing import Standing
from toymodels.sweeps.execution.estimate import Estimate, time_of
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.summary import MEASURED, ArmSummary, as_text, legend, notes, summarise

MAX_ROWS = 60
WIDE = 160
"""Columns of a table: a narrower terminal breaks lines, never cells."""


class Out(Console):
    """A console that leaves a closed pipe to `Door`."""

    def on_broken_pipe(self) -> None:
        """Whoever read us has had enough."""
        raise BrokenPipeError


stdout = Out(width=WIDE)


def say_summary(run: Run, folder: Path, as_json: bool) -> None:
    """Print the summary table of a run, and what should be known of it; ``folder`` is how it was named."""
    arms = summarise(run)
    said = [*notes(arms), *run.tuned_at_ends]
    if as_json:
        documents.print_document(documents.of_summary(folder, run.question, arms, said))
        return
    print_summary(run.question or folder.name, arms, said)
    if run.missing:
        say(run.missing)


def say_standing(standing: Standing, as_json: bool) -> None:
    """Print how a run stands."""
    if as_json:
        documents.print_document(documents.of_standing(standing))
    else:
        standing.print()


def print_summary(question: str, arms: list[ArmSummary], notes: Sequence[str]) -> None:
    """Print the question of a sweep, its summary table, what the columns mean, and notes on what should be known."""
    stdout.print(f"[bold]{escape(question)}[/bold]", highlight=False)
    stdout.print(arm_table(arms))
    if len(arms) > MAX_ROWS:
        print(f"the first {MAX_ROWS} of {len(arms)} arms; all are in models.parquet")
    stdout.print(f"[dim]{legend(arms)}[/dim]", highlight=False)
    for sentence in notes:
        stdout.print(escape(sentence), highlight=False)


def arm_table(arms: list[ArmSummary]) -> Table:
    """The summary as a table for the terminal."""
    titles, rows = as_text(arms)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title in MEASURED else "left")
    for row in rows[:MAX_ROWS]:
        table.add_row(*row)
    return table


def print_estimate(sweep: str, as_json: bool, estimate: Estimate, tuning: Estimate | None = None) -> None:
    """Print what a sweep will take: models, memory, disk and time; where it is tuned first, what that takes too."""
    if as_json:
        documents.print_document(documents.of_estimate(sweep, estimate, tuning))
        return
    if tuning is not None:
        _print_part(f"{sweep}, tuning", tuning)
    _print_part(f"{sweep}, sweep" if tuning is not None else sweep, estimate)
    if tuning is not None:
        parts = (tuning, estimate)
        print(f"together: {sum(part.models for part in parts):,} models")
        print(f"time: {time_of(*parts)}")


def _print_part(name: str, estimate: Estimate) -> None:
    (_, models), *others = estimate.rows().items()
    for title, said in ((name, models), *others):
        print(f"{title}: {said}")
