"""alignment: a dot a feature where its two R^2 are, filled beyond its null, a row a regime, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from tests.figures.tabled import Tabled, models, written
from toymodels.figures import alignment, figure_of
from toymodels.sweeps.errors import FolderError

FEATURES = pd.DataFrame(
    {
        "r2": [0.9, 0.7, -3.0, 0.6],
        "best_neuron_r2_post": [0.8, 0.1, 0.3, None],
        "best_neuron_r2_post_percentile": [100.0, 50.0, 99.0, 100.0],
        "tier": ["neuron", "hidden", "lost", "hidden"],
    }
)


@pytest.fixture
def run() -> Tabled:
    axes = {"features.density": (0.1, 0.3), "model.layer_norm": (False, True), "seed": (0, 1)}
    table = models(axes, features_recovered=3, features_neuron=range(8), features_hidden=1)
    features = pd.concat(
        [FEATURES.assign(model=model, feature=range(4)) for model in table["model"]], ignore_index=True
    )
    return Tabled(table, features=features)


def test_dots_stand_at_their_two_r2_and_are_filled_beyond_their_null(run: Tabled) -> None:
    figure = alignment.draw(run)
    assert [axis.get_title() for axis in figure.axes] == ["solu", "solu + LN", "", ""]
    (dots,) = (each for each in figure.axes[0].collections if isinstance(each, PathCollection))
    places = [*2 * [(alignment.LOWEST, 0.3)], *2 * [(0.7, 0.1)], *2 * [(0.9, 0.8)]]
    np.testing.assert_allclose(np.asarray(dots.get_offsets()), places)
    np.testing.assert_allclose(np.asarray(dots.get_facecolor())[:, 3], [0, 0, 0, 0, 0.6, 0.6])  # 99 is not above 99
    assert (np.asarray(dots.get_edgecolor())[:, 3] > 0).all()


def test_the_corner_is_the_mean_over_models(run: Tabled) -> None:
    corners = [[text.get_text() for text in axis.texts] for axis in alignment.draw(run).axes]
    assert corners == [["0.5", "1.0"], ["2.5", "1.0"], ["4.5", "1.0"], ["6.5", "1.0"]]


def test_the_primary_regime_is_first_and_regimes_beyond_are_told(run: Tabled, monkeypatch: pytest.MonkeyPatch) -> None:
    run.primary = {4, 5, 6, 7}
    monkeypatch.setattr(alignment, "MOST_REGIMES", 1)
    monkeypatch.setattr(alignment, "MOST_POINTS", 2)
    texts = written(alignment.draw(run))
    assert "density 0.3" in texts
    assert "1 other regimes are not shown; 2 features a panel at most" in texts


def test_what_cannot_be_drawn_is_one_sentence(run: Tabled) -> None:
    lacking = Tabled(run.models, features=run.features.drop(columns="best_neuron_r2_post_percentile"))
    for of, said in (
        (run.but(status="diverged"), r"every model diverged: there is nothing to draw$"),
        (
            run.but(features_recovered=None),
            r"figure 'alignment' needs features_recovered, which is not there",
        ),
        (lacking, r"figure 'alignment' needs best_neuron_r2_post_percentile, which is not there"),
        (run.but(features_recovered=np.nan), r"needs models that say what each feature is, and there are none$"),
    ):
        with pytest.raises(FolderError, match=said):
            figure_of("alignment", of)
