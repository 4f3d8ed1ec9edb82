"""Figures: one a file, of the stem of the sweep or prediction it shows; each a function of a run, in one style."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toymodels.sweeps import studies

if TYPE_CHECKING:
    from toymodels.sweeps.results.reading import Run


def _number(stem: str) -> int:
    """The 10 of ``p10_shorter``."""
    return int(stem.partition("_")[0][1:])


OF_SWEEPS = ("solu_neurons", "two_tiers", "two_tiers_full", "tms_intro")
OF_PREDICTIONS = tuple(sorted((path.stem for path in Path(__file__).parent.glob("p[0-9]*_*.py")), key=_number))
"""Of every prediction the one that it names; read off the files, so that naming them takes no PyTorch."""
OF_STUDIES = tuple(name for name in studies.NAMES if (Path(__file__).parent / f"{name}.py").exists())
"""Drawn from what ``toymodels answer`` has written."""
NAMES = (*OF_SWEEPS, *OF_STUDIES, *OF_PREDICTIONS)


def draw(name: str, run: Run, out: Path) -> list[Path]:
    """Draw figure ``name`` of ``run`` into ``out`` as SVG and PNG. Raises `SweepError` where that cannot be done."""
    from toymodels.sweeps.errors import SpecError
    from toymodels.sweeps.spec.wording import did_you_mean

    if name not in NAMES:
        raise SpecError(f"no figure is called '{name}'{did_you_mean(name, NAMES)}")
    return _drawn(name, run, out)


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
    return _drawn("power", table, out)


def _drawn(name: str, of: object, out: Path) -> list[Path]:
    from toymodels.figures.drawing import in_our_style
    from toymodels.surroundings import as_in_a_new_process
    from toymodels.sweeps.errors import SweepError
    from toymodels.sweeps.store import atomic
    from toymodels.sweeps.store.rights import unwritable

    images = {}
    try:
        with in_our_style(), as_in_a_new_process():
            figure = importlib.import_module(f"toymodels.figures.{name}").draw(of)
            for suffix in ("svg", "png"):
                buffer = io.BytesIO()
                metadata = {"Date": None} if suffix == "svg" else {"Software": None}
                figure.savefig(buffer, format=suffix, metadata=metadata)
                images[out / f"{name}.{suffix}"] = buffer.getvalue()
    except SweepError:
        raise
    except Exception as error:  # the figure is lost, and nothing else: the run is finished
        raise SweepError(f"figure '{name}' cannot be drawn ({type(error).__name__}: {error})") from error
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, image in images.items():
            atomic.write(path, image)
    except OSError as error:
        raise unwritable(out, error) from None
    return list(images)
