"""The figure of free lunches: which points it draws and which of them are its front, of a reply made by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from toymodels.figures import free_lunch as figure
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import document
from toymodels.sweeps.studies.free_lunch import ARMS, COUNTS, DEAD_NEURONS, LOSS
from toymodels.sweeps.studies.reply import Reply

LAYERS = ("relu", "relu + LN", "solu", "tanh")
LOSSES = {"relu": 0.5, "relu + LN": 0.52, "solu": 0.55, "tanh": 0.9}
FEATURES = {"relu": 10.0, "relu + LN": 9.0, "solu": 20.0, "tanh": 30.0}


def table() -> pd.DataFrame:
    rows = []
    for layer in LAYERS:
        for kept in (1.0, 0.25):
            named = {"regime": "density 0.1", "arm": f"{layer}, {kept}", "layer": layer, "kept": kept}
            means = {LOSS: LOSSES[layer] + 0.01 * (kept < 1), DEAD_NEURONS: 2 * (kept < 1)}
            for measure, mean in (means | dict.fromkeys(COUNTS, FEATURES[layer])).items():
                rows.append(named | {"measure": measure, "mean": mean, "low": mean - 1, "high": None, "seeds": 4})
    return pd.DataFrame(rows)


@pytest.fixture
def run(tmp_path: Path) -> Any:
    return SimpleNamespace(path=tmp_path)


def test_points_are_means_with_their_ends_and_the_front_is_of_all_arms() -> None:
    points: Any = figure.points(table(), COUNTS[0])
    assert points["front"].to_dict() == {f"{layer}, {kept}": kept == 1 and layer != "relu + LN"
                                         for layer in LAYERS for kept in (1.0, 0.25)}  # fmt: skip
    assert points.loc["solu, 0.25", ["loss", "loss low", "count"]].tolist() == pytest.approx([0.56, -0.44, 20])


def test_every_arm_is_drawn_or_counted(run: Any) -> None:
    document.write(run, "free_lunch", Reply("?", ".", {ARMS: table()}))
    drawn = figure.draw(run)
    clouds = [axis for axis in drawn.axes if axis.get_xlabel() == "loss fraction"]
    assert len(clouds) == 2
    for axis in clouds:
        marks = [c for c in axis.collections if len(c.get_offsets()) == 1 and c.get_facecolor().size]  # pyright: ignore
        assert len(marks) == 6
        assert "2 arms beyond" in [text.get_text() for text in axis.texts]
        assert [text.get_text() for text in axis.texts].count(".25") == 3


def test_without_an_answer_it_says_what_makes_one(run: Any) -> None:
    with pytest.raises(FolderError, match="toymodels answer free_lunch"):
        figure.draw(run)
