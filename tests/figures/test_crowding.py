"""crowding: lines are what models say in company with and without tier neuron, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.figures.tabled import all_lost, without_tier_column
from toymodels.figures import crowding, figure_of
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run


def test_crowding_is_drawn_with_and_without_the_neuron_tier_at_equal_company(trained: Run) -> None:
    figure = crowding.draw(trained)
    assert [axis.get_title() for axis in figure.axes] == ["solu (3 of 4 models)", "solu + LN (3 of 4 models)"]
    numbers = trained.models.loc[trained.models["model.layer_norm"], "model"].tolist()[: crowding.MODELS]
    found = crowding.in_company(trained, numbers)
    thick = [line for line in figure.axes[1].lines if line.get_linewidth() > 1]
    assert [line.get_linestyle() for line in thick] == ["-", "--", "-", "--"]
    with_neurons = np.asarray(thick[2].get_ydata())
    np.testing.assert_allclose(with_neurons[:2], found["hidden"][:, 0, :2].mean(0))
    assert np.isfinite(with_neurons[:2]).all()


def test_what_cannot_be_drawn_is_one_sentence() -> None:
    run, lacking = all_lost(), without_tier_column()
    for of, said in (
        (run.but(status="diverged"), r"every model diverged: there is nothing to draw$"),
        (lacking, r"figure 'crowding' needs tier, which is not there"),
        (run.but(features_recovered=np.nan), r"needs models that say what each feature is, and there are none$"),
        (run, r"is about company of tier neuron, and no feature is in that tier$"),
    ):
        with pytest.raises(FolderError, match=said):
            figure_of("crowding", of)
