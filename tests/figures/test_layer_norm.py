"""layer_norm: means over tiers of what models say with LayerNorm live, frozen and removed, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.figures.tabled import all_lost, without_tier_column, written
from toymodels.figures import figure_of, layer_norm
from toymodels.hosts import Models
from toymodels.hypotheses.norm_states import r2_by_norm
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run, load


def test_lines_are_means_over_the_features_of_a_tier(trained: Run) -> None:
    figure = layer_norm.draw(trained)
    (axis,) = figure.axes
    assert axis.get_title() == "solu + LN (4 of 4 models)"
    numbers = trained.models.loc[trained.models["model.layer_norm"], "model"].tolist()
    expected = r2_by_norm(Models(*trained.batch(numbers)), 1024)
    of_hidden = np.stack([of[:, 3:5].mean(1).numpy() for of in expected.values()], 1)
    lines = [np.asarray(line.get_ydata()) for line in axis.lines]
    np.testing.assert_allclose(lines[5:9], of_hidden, rtol=1e-6)
    np.testing.assert_allclose(lines[9], of_hidden.mean(0), rtol=1e-6)


def test_of_more_models_the_first_are_run_and_that_is_said(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_norm, "MODELS", 2)
    assert layer_norm.draw(trained).axes[0].get_title() == "solu + LN (2 of 4 models)"


def test_what_cannot_be_drawn_is_one_sentence() -> None:
    run, lacking = all_lost(), without_tier_column()
    for of, said in (
        (run.but(status="diverged"), r"every model diverged: there is nothing to draw$"),
        (lacking, r"figure 'layer_norm' needs tier, which is not there"),
        (run.but(features_recovered=np.nan), r"needs models that say what each feature is, and there are none$"),
        (run.but(**{"model.layer_norm": False}), r"this figure is about LayerNorm, and no trained model has one$"),
    ):
        with pytest.raises(FolderError, match=said):
            figure_of("layer_norm", of)


def test_where_no_feature_is_in_a_tier_the_panel_says_so(trained: Run) -> None:
    of = load(trained.path)
    of.__dict__["features"] = trained.features.assign(tier="lost")
    assert "no feature is in a tier" in written(figure_of("layer_norm", of))
