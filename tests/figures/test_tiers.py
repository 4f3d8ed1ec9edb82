"""tiers: classes of equal count, shares of tiers in each cell, which regime is shown, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from tests.figures.tabled import Tabled, models, written
from toymodels.figures import figure_of, tiers
from toymodels.figures.colours import tier_colour
from toymodels.sweeps.errors import FolderError

DENSITY, IMPORTANCE = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 1.0, 0.5, 0.5])
TIERS = ["neuron", "hidden", "lost", "neuron"]


@pytest.fixture
def run() -> Tabled:
    axes = {"features.frequency.law": ("uniform", "zipf"), "model.layer_norm": (False, True), "seed": (0, 1)}
    table = models(axes, features_recovered=3)
    parts = []
    for model, law in zip(table["model"], table["features.frequency.law"], strict=True):
        of = {"density": DENSITY, "importance": IMPORTANCE} if law == "zipf" else {"density": 0.1, "importance": 1.0}
        parts.append(pd.DataFrame({"model": model, "feature": range(4), "tier": TIERS} | of))
    return Tabled(table, features=pd.concat(parts, ignore_index=True))


def test_classes_are_of_equal_count_and_one_a_value_where_there_are_few() -> None:
    values = pd.Series(np.arange(100.0))
    found = tiers.classes(values, tiers.edges(values))
    assert np.bincount(found).tolist() == [20] * 5
    for few, expected in (([0.3] * 7, [0] * 7), ([0.5, 1, 1, 0.5, 1], [0, 1, 1, 0, 1])):
        assert tiers.classes(pd.Series(few), tiers.edges(pd.Series(few))).tolist() == expected


def test_shares_of_a_cell_sum_to_one_and_count_its_features_alone() -> None:
    features = pd.DataFrame({"density": [1.0, 1, 1, 1, 9], "importance": 1.0, "tier": [*TIERS, "lost"]})
    at = {"density": np.array([0.0, 5, 10]), "importance": np.array([1.0, 1.0])}
    found = tiers.shares(features, at).to_dict("index")
    assert found[0, 0] == {"neuron": 0.5, "hidden": 0.25, "lost": 0.25}
    assert found[1, 0] == {"neuron": 0, "hidden": 0, "lost": 1}


def test_the_first_regime_in_which_features_differ_is_shown_a_panel_a_layer(run: Tabled) -> None:
    figure = tiers.draw(run)
    first, second = figure.axes
    assert [first.get_title(), second.get_title()] == ["solu", "solu + LN"]
    assert any(text.startswith("exploratory: frequency zipf; pooled over 2 seeds") for text in written(figure))
    bars = [patch for patch in first.patches if isinstance(patch, Rectangle)]
    tall = [bar for bar in bars if bar.get_height() > 0]
    assert len(tall) == 4  # a cell a density, each with features of one tier
    lowest = min(tall, key=lambda bar: bar.get_x())
    assert lowest.get_facecolor()[:3] == tier_colour("neuron")
    assert lowest.get_y() == pytest.approx(1.06)  # the rarest is important


def test_what_cannot_be_drawn_is_one_sentence(run: Tabled) -> None:
    lacking = Tabled(run.models, features=run.features.drop(columns="tier"))
    alike = Tabled(run.models, features=run.features.assign(density=0.1, importance=1.0))
    for of, said in (
        (run.but(status="diverged"), r"every model diverged: there is nothing to draw$"),
        (lacking, r"figure 'tiers' needs tier, which is not there"),
        (alike, r"this figure needs features that differ in frequency or importance$"),
        (run.but(features_recovered=np.nan), r"needs models that say what each feature is, and there are none$"),
    ):
        with pytest.raises(FolderError, match=said):
            figure_of("tiers", of)
