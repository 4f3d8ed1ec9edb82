"""The report: one HTML file that works offline, of what a run was asked and answered, how it was made, its figures and
an explorer of its models.
"""

from __future__ import annotations

from pathlib import Path

from toymodels.figures.report.page import render
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unwritable


def write_report(run: Run) -> Path:
    """Write ``report.html`` into the run folder, with whatever answers and figures are there; returns its path.

    The same folder gives the same bytes. Raises `FolderError` where it cannot be written.
    """
    path = run.path / "report.html"
    page = render(run).encode(errors="replace")  # a folder may have a name that is no text
    try:
        atomic.write(path, page)
    except OSError as error:
        raise unwritable(path, error) from None
    return path
