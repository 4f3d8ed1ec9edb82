"""The figure of effective widths: the fit, an arrow to it for every SoLU arm in range, a dot for every arm in range."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Annotation

from toymodels.figures import effective_width
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import document
from toymodels.sweeps.studies.effective_width import AT_A_WIDTH, FIT
from toymodels.sweeps.studies.reply import Reply


def answered(path: Path, regimes: int = 1) -> Any:
    """A run folder with the document alone: relu, solu and solu + LN at two eps, one arm out of range."""
    arms = [
        ("relu", 8, 10.0),
        ("solu", 4, np.nan),
        ("solu", 8, 50.0),
        ("solu + LN, eps 1", 8, -25.0),
        ("solu + LN, eps 2", 8, 0.0),
    ]
    rows = [
        {"regime": f"density {k}", "layer": layer, "width": width, "loss": 0.5, "mean": x, "low": x - 5, "high": x + 5}
        for k in range(regimes)
        for layer, width, x in arms
    ]
    fit = [
        {
            "regime": f"density {k}",
            "width": width,
            "fitted": 2 / width,
            "mean": 2 / width,
            "low": 1 / width,
            "high": 3 / width,
        }
        for k in range(regimes)
        for width in (2, 4, 8, 16)
    ]
    run: Any = SimpleNamespace(path=path)
    tables = {AT_A_WIDTH: pd.DataFrame(rows), FIT: pd.DataFrame(fit)}
    document.write(run, "effective_width", Reply("Is it?", "It is.", tables))
    return run


def test_an_arrow_leads_from_every_solu_arm_in_range_to_the_width_that_is_as_good(tmp_path: Path) -> None:
    figure = effective_width.draw(answered(tmp_path, 2))
    left, right = figure.axes[:2]
    arrows = [(text.xyann[0], text.xy[0]) for text in left.texts if isinstance(text, Annotation)]
    assert arrows == [(8, 4), (8, 10), (8, 8)]
    assert left.get_yscale() == left.get_xscale() == "log"
    lines = [each.lines[0] for each in right.containers if isinstance(each, ErrorbarContainer)]
    assert [list(np.asarray(line.get_ydata())) for line in lines] == [
        [10],
        [pytest.approx(np.nan, nan_ok=True), 50],
        [-25],
        [0],
    ]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "-", "--"]
    assert [axis.get_title(loc="left") for axis in figure.axes[::2]] == ["density 0", "density 1"]


def test_too_many_regimes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="13 regimes"):
        effective_width.draw(answered(tmp_path, 13))
