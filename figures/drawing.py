"""Drawing as matplotlib comes, in one style: whatever the user's matplotlibrc, style or backend, the same figure."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STYLE, DARK = (Path(__file__).with_name(f"{name}.mplstyle") for name in ("style", "dark"))
WIDTH, COLUMN = 7.2, 3.5
"""inches: a page of a paper, which no figure is wider than, and one of its two columns"""
READ_WHEN_IMPORTED = {"MATPLOTLIBRC": str(STYLE), "MPLBACKEND": ""}
"""What matplotlib reads when it is first imported, and fails over: here a file that it can read, and no backend."""


@contextmanager
def in_our_style(*, dark: bool = False) -> Iterator[None]:
    """Matplotlib's defaults and our style meanwhile, for a light or a dark page, then the user's settings again. No
    window system is asked for: figures are made as `matplotlib.figure.Figure`, not by pyplot.
    """
    _import_matplotlib()
    import matplotlib as mpl
    import matplotlib.style

    with mpl.rc_context():
        mpl.rcdefaults()
        matplotlib.style.use([str(STYLE), *[str(DARK)] * dark])
        yield


def _import_matplotlib() -> None:
    """Import it, also where what the user has set for it cannot be read; what can be read holds afterwards."""
    if "matplotlib" in sys.modules:
        return
    theirs = {name: os.environ.get(name) for name in READ_WHEN_IMPORTED}
    os.environ.update(READ_WHEN_IMPORTED)
    try:
        import matplotlib as mpl
    finally:
        for name, value in theirs.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    with suppress(Exception):
        for name, value in mpl.rc_params().items():
            # A backend that nobody has named is looked for, by pyplot and among window systems, once it is asked for.
            if name != "backend" or isinstance(value, str):
                mpl.rcParams[name] = value
    with suppress(ValueError):
        if theirs["MPLBACKEND"]:
            mpl.rcParams["backend"] = theirs["MPLBACKEND"]
