"""Figures: one a file, of the stem of the sweep or prediction it shows; each a function of a run, in one style.

A file with a function ``draw(run)`` is a figure by that alone: nothing else names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toymodels.sweeps import studies

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from toymodels.sweeps.results.reading import Run


def _number(stem: str) -> int:
    """The 10 of ``p10_shorter``."""
    return int(stem.partition("_")[0][1:])


_HERE = Path(__file__).parent
_OF_RUNS = sorted(path.stem for path in _HERE.glob("*.py") if "\ndef draw(run: Run)" in path.read_text("utf-8"))
"""Read off the files, so that naming them takes neither matplotlib nor PyTorch."""
_SHIPPED = {path.stem for path in Path(studies.__file__).parents[1].glob("*.toml")}

OF_PREDICTIONS = tuple(sorted((stem for stem in _OF_RUNS if stem[0] == "p" and stem[1].isdigit()), key=_number))
"""Of every prediction the one that it names."""
OF_STUDIES = tuple(stem for stem in _OF_RUNS if stem in studies.NAMES)
"""Drawn from what ``toymodels answer`` has written."""
OF_SWEEPS = tuple(stem for stem in _OF_RUNS if stem in _SHIPPED and stem not in studies.NAMES)
"""Of shipped sweeps, which draw them at their end."""
OF_ANY = tuple(stem for stem in _OF_RUNS if stem not in (*OF_PREDICTIONS, *OF_STUDIES, *OF_SWEEPS))
"""Of any run that has what they show."""
NAMES = (*OF_SWEEPS, *OF_STUDIES, *OF_ANY, *OF_PREDICTIONS)
FORMATS = ("svg", "png", "pdf")
AS_USUAL = ("svg", "png")
"""The formats in which figures are written where nothing else is asked for."""


def figure_of(name: str, run: Run, *, dark: bool = False) -> Figure:
    """Figure ``name`` of ``run`` in our style, for a light or a dark page, not written anywhere.

    Raises `SpecError` for a name that no figure has, `FolderError` where this run cannot have it.
    """
    from toymodels.figures import making
    from toymodels.sweeps.errors import SpecError
    from toymodels.sweeps.spec.wording import did_you_mean

    if name not in NAMES:
        raise SpecError(f"no figure is called '{name}'{did_you_mean(name, NAMES)}")
    return making.of_run(name, run, dark)


def draw(name: str, run: Run, out: Path, *, formats: tuple[str, ...] = AS_USUAL, dark: bool = False) -> list[Path]:
    """Draw figure ``name`` of ``run`` into ``out``, a file a format: ``name.svg``, of a dark one ``name.dark.svg``.

    Raises `SweepError` where that cannot be done.
    """
    from toymodels.figures import making

    return making.write(figure_of(name, run, dark=dark), name + ".dark" * dark, out, check_formats(formats))


def draw_all(
    run: Run,
    out: Path,
    say: Callable[[str], None],
    *,
    formats: tuple[str, ...] = AS_USUAL,
    dark: bool = False,
) -> list[Path]:
    """Draw every figure that ``run`` can have, as `draw` does one; ``say`` is told of each other one why not.

    Raises `FolderError` where the run can have none.
    """
    from toymodels.sweeps.errors import FolderError, SweepError

    drawn, unanswered = [], []
    for name in NAMES:
        if name in OF_STUDIES and not (run.path / f"{name}.json").exists():
            unanswered.append(name)
            continue
        try:
            drawn += draw(name, run, out, formats=check_formats(formats), dark=dark)
        except SweepError as error:
            say(f"no {name}: {error}")
    if unanswered:
        say(f"no {', '.join(unanswered)}: drawn of what 'toymodels answer' says, where this run can answer them")
    if not drawn:
        raise FolderError(f"{run.path}: no figure can be drawn of this run")
    return drawn


def draw_if_possible(name: str, run: Run, say: Callable[[str], None]) -> list[Path]:
    """The files of figure ``name`` in the run's folder; none, and ``say`` is told why, where it cannot be drawn."""
    from toymodels.sweeps.errors import SweepError

    try:
        return draw(name, run, run.path)
    except SweepError as error:
        say(f"no figure: {error}")
        return []


def draw_power(table: Mapping[str, Any], out: Path) -> list[Path]:
    """Draw the power table of ``toymodels verdict --controls --json`` into ``out``, as `draw` does a run."""
    from toymodels.figures import making

    return making.write(making.of_document("power", table, dark=False), "power", out, AS_USUAL)


def check_formats(formats: tuple[str, ...]) -> tuple[str, ...]:
    """The same formats. Raises `SpecError` for one in which no figure can be written."""
    from toymodels.sweeps.errors import SpecError
    from toymodels.sweeps.spec.wording import did_you_mean

    for each in formats:
        if each not in FORMATS:
            raise SpecError(f"no figure is written as '{each}'{did_you_mean(each, FORMATS)}")
    return formats
