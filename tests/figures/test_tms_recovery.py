"""tms_recovery: losses and counts by density, what is known of the linear model, R^2 by feature, what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.figures.tabled import Tabled, models
from toymodels.figures import figure_of, tms_recovery
from toymodels.sweeps.errors import FolderError

IMPORTANCE = np.array([1.0, 0.5, 0.25, 0.25])


@pytest.fixture(scope="module")
def run() -> Tabled:
    axes = {"features.density": (1.0, 0.1), "model.output": ("linear", "relu"), "seed": (0, 1)}
    table = models(axes, features_recovered=2).assign(**tms_recovery.KNOWN)
    table["loss_fraction"] = 0.1 * np.arange(1, len(table) + 1)
    features = pd.DataFrame([(m, i, IMPORTANCE[i], 0.1 * m + 0.01 * i) for m in table["model"] for i in range(4)])
    return Tabled(table, features=features.set_axis(["model", "feature", "importance", "r2"], axis=1))


def test_lines_are_means_over_seeds_sparser_to_the_right(run: Tabled) -> None:
    left = tms_recovery.draw(run).axes[0]
    lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in left.lines[:2]}
    np.testing.assert_allclose(lines["linear"], [0.55, 0.15])
    np.testing.assert_allclose(lines["relu"], [0.75, 0.35])
    most, least = left.get_xlim()
    assert most > 1 > 0.1 > least


def test_the_least_loss_of_a_linear_model_is_the_share_of_importance_beyond_its_neurons(run: Tabled) -> None:
    """With W^T W the projector on the two most important of four, whose losses are then 0 and the others' all of it."""
    of_each = 1 - np.diag([1.0, 1.0, 0.0, 0.0]).diagonal()
    expected = (IMPORTANCE * of_each).sum() / IMPORTANCE.sum()
    assert tms_recovery.best_linear(run, run.models) == pytest.approx(expected)
    (dotted,) = [line for line in tms_recovery.draw(run).axes[0].lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(np.asarray(dotted.get_ydata()), expected)


def test_where_it_is_not_known_nothing_is_dotted(run: Tabled) -> None:
    figure = tms_recovery.draw(run.but(**{"features.frequency.law": "zipf"}))
    assert not [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]


def test_the_grids_are_mean_r2_by_feature_with_densities_falling(run: Tabled) -> None:
    table = tms_recovery.by_feature(run, run.models[run.models["model.output"] == "relu"])
    assert list(table.columns) == [1.0, 0.1]
    np.testing.assert_allclose(table[1.0], 0.25 + 0.01 * np.arange(4))
    np.testing.assert_allclose(table[0.1], 0.65 + 0.01 * np.arange(4))
    (image,) = tms_recovery.draw(run).axes[3].images
    np.testing.assert_allclose(np.asarray(image.get_array()), table)


def test_what_cannot_be_drawn_is_one_sentence(run: Tabled) -> None:
    lacking = Tabled(run.models, features=run.features.drop(columns="r2"))
    for of, said in (
        (run.but(status="diverged"), r"every model diverged: there is nothing to draw$"),
        (
            run.but(**{"model.output": None}),
            r"figure 'tms_recovery' needs model.output, which is not there",
        ),
        (lacking, r"figure 'tms_recovery' needs r2, which is not there"),
        (run.but(features_recovered=np.nan), r"needs models that say what each feature is, and there are none$"),
        (run.but(**{"model.output": "gelu"}), r"this figure is about outputs linear and relu, the run has gelu$"),
        (
            run.but(**{"model.hidden": [1, 2] * 4}),
            r"apart by features.density, model.output alone; here some also diff",
        ),
    ):
        with pytest.raises(FolderError, match=said):
            figure_of("tms_recovery", of)
