"""Making a figure: the module of its name called in our style, what goes wrong told in a sentence, and its files."""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toymodels.figures.drawing import in_our_style
from toymodels.surroundings import as_in_a_new_process
from toymodels.sweeps import studies
from toymodels.sweeps.errors import FolderError, SweepError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unwritable

if TYPE_CHECKING:  # matplotlib is first imported by `in_our_style`, which reads none of the user's settings
    from matplotlib.figure import Figure

METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
}
"""What would make the same figure other bytes tomorrow, of each format."""


def of_run(name: str, run: Run, dark: bool) -> Figure:
    """The figure that module ``name`` draws of a run. Raises `SweepError` where it cannot be drawn."""
    if not (run.models["status"] == "ok").any():
        raise FolderError(f"{run.path}: every model diverged: there is nothing to draw")
    return _made(name, run, dark, str(run.path))


def of_document(name: str, document: Mapping[str, Any], *, dark: bool) -> Figure:
    """The figure that module ``name`` draws of what a command has said. Raises `SweepError` where it cannot be."""
    return _made(name, document, dark, "this document")


def _made(name: str, of: object, dark: bool, called: str) -> Figure:
    try:
        with in_our_style(dark=dark), as_in_a_new_process():
            figure = importlib.import_module(f"toymodels.figures.{name}").draw(of)
            # Ticks are made when they are first drawn, by the style of that moment.
            figure.draw_without_rendering()
            return figure
    except SweepError:
        raise
    except KeyError as error:
        raise FolderError(_lacking(name, called, str(error.args[0]) if error.args else "")) from error
    except Exception as error:  # the figure is lost, and nothing else: the run is finished
        raise SweepError(f"figure '{name}' cannot be drawn ({type(error).__name__}: {error})") from error


def _lacking(name: str, called: str, key: str) -> str:
    """What to do about a column or a table that ``called`` should have, as pandas names it: ``r2``, or ``['r2'] not in
    index``."""
    columns = ", ".join(re.findall(r"'([^']+)'", key)) or key
    again = f"answer {name}" if name in studies.NAMES else "tables"
    return f"{called}: figure '{name}' needs {columns}, which is not there: 'toymodels {again} {called}' makes it anew"


def write(figure: Figure, stem: str, out: Path, formats: tuple[str, ...]) -> list[Path]:
    """Write ``figure`` into ``out``, a file a format; returns their paths. Raises `SweepError` where that fails."""
    images = {out / f"{stem}.{suffix}": rendered(figure, suffix) for suffix in formats}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, image in images.items():
            atomic.write(path, image)
    except OSError as error:
        raise unwritable(out, error) from None
    return list(images)


def rendered(figure: Figure, suffix: str) -> bytes:
    """A figure as the bytes of a file of this format, one of `METADATA`: the same for the same figure."""
    buffer = io.BytesIO()
    with in_our_style():
        figure.savefig(buffer, format=suffix, metadata=METADATA[suffix])
    return buffer.getvalue()
