"""decoder_width: a line a size of the embedding, a panel a hidden layer and regime, and what the figure refuses."""

from __future__ import annotations

import numpy as np
import pytest

from tests.figures.tabled import Tabled, models, written
from toymodels.figures import decoder_width, figure_of
from toymodels.sweeps.errors import FolderError

AXES = {
    "features.n": (8, 16),
    "model.layer_norm": (False, True),
    "model.embedding": (2.0, 4.0),
    "model.hidden": (4, 8, 16),
    "seed": (0, 1),
}


@pytest.fixture(scope="module")
def run() -> Tabled:
    table = models(AXES)
    count = table["model.embedding"] + 0.25 * table["model.hidden"] + table["seed"] - 0.5 + table["model.layer_norm"]
    return Tabled(table.assign(features_recovered=count))


def test_lines_are_means_over_seeds_by_neurons(run: Tabled) -> None:
    figure = decoder_width.draw(run)
    assert [axis.get_title() for axis in figure.axes] == ["solu", "solu + LN", "", ""]
    for place, axis in enumerate(figure.axes):
        few, many, diagonal, all_of_them = axis.lines
        for line, space in ((few, 2), (many, 4)):
            np.testing.assert_allclose(np.asarray(line.get_ydata()), space + np.array([1, 2, 4]) + place % 2)
        np.testing.assert_allclose(np.asarray(diagonal.get_ydata()), np.asarray(diagonal.get_xdata()))
        np.testing.assert_allclose(np.asarray(all_of_them.get_ydata()), 16 if place > 1 else 8)
    texts = written(figure)
    assert "2 dimensions" in texts
    assert any(text.endswith("n 16") for text in texts)


def test_a_bottleneck_beside_decoders_is_left_out(run: Tabled) -> None:
    beside = run.but(**{"model.embedding": run.models["model.embedding"].where(run.models["model.embedding"] == 4)})
    assert len(decoder_width.draw(beside).axes[0].lines) == 3


def test_what_cannot_be_drawn_is_one_sentence(run: Tabled) -> None:
    for of, said in (
        (run.but(status="diverged"), r"every model diverged: there is nothing to draw$"),
        (
            run.but(features_recovered=None),
            r"figure 'decoder_width' needs features_recovered, which is not there",
        ),
        (run.but(features_recovered=np.nan), r"is about decoders of features, and no trained model is one$"),
        (run.but(**{"model.embedding": None}), r"is about decoders of features, and no trained model is one$"),
        (run.but(**{"features.density": range(48)}), r"each of 48 regimes and 2 hidden layers, more than 6 and 8: run"),
    ):
        with pytest.raises(FolderError, match=said):
            figure_of("decoder_width", of)
