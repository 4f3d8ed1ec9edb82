"""The figure of the frozen mask draws what the study's tables say, a row a regime, and leaves out what is not told."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from toymodels.figures import frozen_mask as figure
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import document, frozen_mask
from toymodels.sweeps.studies.reply import Reply

LAYERS = ("relu", "solu + LN", "swish")
REGIMES = ("values binary", "values uniform")


def rows(**columns: list[object]) -> pd.DataFrame:
    """A row a regime, layer and entry of the columns, each with a number of its own."""
    found = []
    for regime in REGIMES:
        for layer in LAYERS:
            for entry in zip(*columns.values(), strict=True):
                mean = 0.01 * (1 + len(found))
                of = dict(zip(columns, entry, strict=True)) | {"mean": mean, "low": mean / 2, "high": 2 * mean}
                found.append({"regime": regime, "layer": layer} | of | {"seeds": 8})
    return pd.DataFrame(found)


TABLES = {
    frozen_mask.LAYERS: rows(measure=["loss_fraction"]),
    frozen_mask.DISTANCE: rows(by=["features", "features", "z"], distance=[1.0, 2.0, 0.5]),
    frozen_mask.CROWD: rows(active=[1, 2, 1, 2], measure=["bits", "bits", "active set", "active set"]),
    frozen_mask.MAPS: rows(measure=["kept", "kept", "affine"], maps=[1, 2, 0]),
}


def test_lines_are_the_tables(tmp_path: Any) -> None:
    run: Any = SimpleNamespace(path=tmp_path)
    tables = {title: table.copy() for title, table in TABLES.items()}
    tables[frozen_mask.CROWD].loc[1, ["mean", "low", "high"]] = math.nan
    document.write(run, "frozen_mask", Reply("Is it?", "It is.", tables))
    drawn = figure.draw(run)
    axes = drawn.get_axes()
    assert len(axes) == 3 * len(REGIMES)
    for k, regime in enumerate(REGIMES):
        left, middle, right = axes[3 * k : 3 * k + 3]
        assert left.get_title(loc="left") == regime
        panels = (
            (left, frozen_mask.DISTANCE, {"by": "features"}, "distance"),
            (middle, frozen_mask.CROWD, {"measure": "bits"}, "active"),
            (right, frozen_mask.MAPS, {"measure": "kept"}, "maps"),
        )
        for axis, title, where, x in panels:
            table = tables[title][tables[title]["regime"] == regime]
            for name, value in where.items():
                table = table[table[name] == value]
            lines = axis.get_lines()[: len(LAYERS)]
            for line, layer in zip(lines, LAYERS, strict=True):
                of = table[table["layer"] == layer]
                assert list(line.get_xdata()) == of[x].tolist()  # pyright: ignore[reportArgumentType]
                assert list(line.get_ydata()) == pytest.approx(of["mean"].tolist(), nan_ok=True)  # pyright: ignore[reportArgumentType]
                assert line.get_linestyle() == ("--" if layer.endswith("LN") else "-")
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == list(LAYERS)


def test_before_the_study_was_asked_there_is_nothing_to_draw(tmp_path: Any) -> None:
    with pytest.raises(FolderError, match="toymodels answer frozen_mask"):
        figure.draw(SimpleNamespace(path=tmp_path))  # pyright: ignore[reportArgumentType]
