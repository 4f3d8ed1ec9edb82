"""Figures: one a file, of the stem of the sweep or prediction it shows; each a function of a run, in one style."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toymodels.sweeps.reading import Run

OF_SWEEPS = ("two_tiers", "tms_intro")
OF_PREDICTIONS = (
    "p1_bimodal",
    "p2_rescaled",
    "p3_gated",
    "p4_needs_norm",
    "p6_common_or_important",
    "p7_weak_activity",
    "p9_harder_to_find",
)
NAMES = (*OF_SWEEPS, *OF_PREDICTIONS)
STYLE = Path(__file__).with_name("style.mplstyle")


def draw(name: str, run: Run, out: Path) -> list[Path]:
    """Draw figure ``name`` of ``run`` into ``out`` as SVG and PNG. Raises `SweepError` where that cannot be done."""
    from toymodels.sweeps import atomic
    from toymodels.sweeps.errors import SpecError
    from toymodels.sweeps.rights import unwritable
    from toymodels.sweeps.spec import did_you_mean

    if name not in NAMES:
        raise SpecError(f"no figure is called '{name}'{did_you_mean(name, NAMES)}")
    import io

    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    paths = []
    with plt.style.context(str(STYLE)):
        figure = importlib.import_module(f"toymodels.figures.{name}").draw(run)
        try:
            out.mkdir(parents=True, exist_ok=True)
            for suffix in ("svg", "png"):
                buffer = io.BytesIO()
                metadata = {"Date": None} if suffix == "svg" else {"Software": None}
                figure.savefig(buffer, format=suffix, metadata=metadata)
                atomic.write(out / f"{name}.{suffix}", buffer.getvalue())
                paths.append(out / f"{name}.{suffix}")
        except OSError as error:
            raise unwritable(out, error) from None
        finally:
            plt.close(figure)
    return paths
