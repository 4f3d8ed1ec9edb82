"""Drawing: what ``toymodels figure`` was asked to draw, of which run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toymodels.sweeps.errors import SpecError


def figure_asked(words: Sequence[str], every: bool) -> tuple[str | None, Path]:
    """The figure, None for ``every``, and the run folder that the words after ``toymodels figure`` name.

    Raises `SpecError` for too few words, or too many.
    """
    if len(words) != (1 if every else 2):
        given = " ".join(words)
        raise SpecError(f"expected a figure and a run, NAME RUN, or --all and a run, --all RUN; got '{given}'")
    return None if every else words[0], Path(words[-1])
