"""Figures: one a file, of the same stem as the sweep it reads; each a function of a run, drawn in one style."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.reading import Run

NAMES = ("two_tiers", "tms_intro")
STYLE = Path(__file__).with_name("style.mplstyle")


def draw(name: str, run: Run, out: Path) -> list[Path]:
    """Draw figure ``name`` of ``run`` into ``out`` as SVG and PNG. Raises `SweepError` where that cannot be done."""
    from sweeps import atomic
    from sweeps.errors import FolderError, SpecError
    from sweeps.spec import did_you_mean

    if name not in NAMES:
        raise SpecError(f"no figure is called '{name}'{did_you_mean(name, NAMES)}")
    import io

    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    paths = []
    with plt.style.context(str(STYLE)):
        figure = importlib.import_module(f"figures.{name}").draw(run)
        try:
            out.mkdir(parents=True, exist_ok=True)
            for suffix in ("svg", "png"):
                buffer = io.BytesIO()
                metadata = {"Date": None} if suffix == "svg" else {"Software": None}
                figure.savefig(buffer, format=suffix, metadata=metadata)
                atomic.write(out / f"{name}.{suffix}", buffer.getvalue())
                paths.append(out / f"{name}.{suffix}")
        except OSError as error:
            raise FolderError(f"{out}: cannot be written ({error.strerror})") from None
        finally:
            plt.close(figure)
    return paths
