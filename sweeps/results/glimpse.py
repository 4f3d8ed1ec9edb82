"""A glimpse of a run: what a prompt or a notebook shows of it, in a line or as a table of its arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toymodels.glance import MOST_ROWS, html_page, html_table
from toymodels.sweeps.errors import FolderError

if TYPE_CHECKING:
    from toymodels.sweeps.results.reading import Run

MOST_NAMED = 5
"""settings that vary, named in the line"""


def as_line(run: Run) -> str:
    """Where the run is, of how many models, arms and seeds, and how it was trained."""
    return f"Run {run.path}: {_what(run)}"


def as_html(run: Run) -> str:
    """The same, its question, and the first of its arms with what came of them."""
    table = ""
    try:
        from toymodels.sweeps.results.summary import as_text, summarise_some

        arms, more = summarise_some(run, MOST_ROWS)
        titles, rows = as_text(arms)
        table = html_table(titles, rows, more)
    except FolderError:
        pass  # no tables yet: said in the line
    return html_page(run.question or run.path.name, [as_line(run), run.missing], table)


def _what(run: Run) -> str:
    manifest = run.manifest
    trained = f"engine {manifest.engine}, {manifest.device}"
    try:
        models = run.models
        seeds = models["seed"].nunique()
        diverged = int((models["status"] == "diverged").sum())
        counts = [f"{len(models):,} models", f"{seeds:,} seeds", *([f"{diverged:,} diverged"] if diverged else [])]
        varying = run.varying()
        more = f" and {len(varying) - MOST_NAMED} others" if len(varying) > MOST_NAMED else ""
        said = f", by {', '.join(varying[:MOST_NAMED])}{more}" if varying else ""
        return f"{', '.join(counts)}{said}; {trained}" + (f"; {run.missing}" if run.missing else "")
    except FolderError as error:
        return f"{manifest.models:,} models planned; {trained}; {error}"
