"""Figures in a notebook: shown as the last thing of a cell, whatever was imported before, and written by savefig."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import toymodels as tm
from tests.conftest import BODY

CELL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.user_ns["folder"] = {folder!r}
cell = shell.run_cell("import toymodels as tm; tm.draw(folder, 'tms_intro')", store_history=False)
data, metadata = shell.display_formatter.format(cell.result)
assert data["image/png"][:4] == b"\\x89PNG", data
assert "matplotlib.pyplot" not in sys.modules
import matplotlib.pyplot
data, metadata = shell.display_formatter.format(cell.result)
assert data["image/png"][1:4] == b"PNG", data
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tm.Run:
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "planes.toml").write_text(BODY + '[grid]\n"features.density" = [0.1, 0.5]\n')
    return tm.sweep(folder / "planes.toml", out=folder / "run", progress=False)


def test_a_cell_that_ends_with_a_figure_shows_it_where_pyplot_was_never_imported(run: tm.Run) -> None:
    subprocess.run([sys.executable, "-c", CELL.format(folder=str(run.path))], check=True, timeout=120)


@pytest.mark.parametrize("dark", [False, True])
def test_what_is_shown_is_the_figure_in_its_size(run: tm.Run, dark: bool) -> None:
    figure = tm.draw(run, "tms_intro", dark=dark)
    image, size = figure._repr_png_()  # pyright: ignore[reportAttributeAccessIssue]
    pixels = imread(io.BytesIO(image))
    assert pixels.shape[:2] == pytest.approx((2 * size["height"], 2 * size["width"]), abs=2)
    assert size["width"] == pytest.approx(figure.get_size_inches()[0] * figure.dpi, abs=1)
    assert (pixels[0, 0, :3].mean() < 0.5) == dark
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=2 * figure.dpi)
    theirs = imread(io.BytesIO(written.getvalue()))
    assert theirs.shape == pixels.shape
    assert np.abs(theirs - pixels).mean() < 0.05  # the layout may settle by a pixel when it is drawn again


def test_a_figure_is_pickled_with_its_looks(run: tm.Run) -> None:
    again = pickle.loads(pickle.dumps(tm.draw(str(run.path), "tms_intro")))
    assert again._repr_png_()[0][:4] == b"\x89PNG"


def test_what_cannot_be_drawn_is_a_sentence(run: tm.Run, tmp_path: Path) -> None:
    with pytest.raises(tm.SweepError, match=r"no figure is called 'tms_intr' \(did you mean 'tms_intro'\?\)"):
        tm.draw(run, "tms_intr")
    with pytest.raises(tm.SweepError, match="no such run folder"):
        tm.draw(tmp_path / "none", "tms_intro")
