"""first_look: losses by eps, SoLU minus GeLU at equal seeds, and what the figure refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.figures.tabled import Tabled, models, written
from toymodels.figures import figure_of, first_look
from toymodels.sweeps.errors import FolderError

AXES = {
    "model.activation": ("relu", "gelu", "solu"),
    "model.layer_norm": (False, True),
    "model.layer_norm_eps": ("matched", "1e-12"),
    "seed": range(3),
}


@pytest.fixture(scope="module")
def run() -> Tabled:
    table = models(AXES)
    table = table[table["model.layer_norm"] | (table["model.layer_norm_eps"] == "matched")]
    return Tabled(table.assign(loss_fraction=0.01 * np.arange(1, len(table) + 1)))


def test_losses_stand_where_their_eps_does_and_lines_go_through_their_means(run: Tabled) -> None:
    above, below = first_look.draw(run).axes
    assert [tick.get_text() for tick in below.get_xticklabels()] == ["no LN", "1e-12", "matched"]
    of = run.models.assign(place=first_look.places(run.models))
    expected = of.groupby(["model.activation", "place"])["loss_fraction"].mean()
    lines = [line for line in above.lines if line.get_linestyle() == "-" and len(np.asarray(line.get_xdata())) == 2]
    for line, name in zip(lines, AXES["model.activation"], strict=True):
        np.testing.assert_allclose(np.asarray(line.get_ydata()), expected[name][["1e-12", "matched"]])
    dashed = [np.asarray(line.get_ydata())[0] for line in above.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed, [expected[name]["no LN"] for name in AXES["model.activation"]])
    dots = np.concatenate([np.asarray(each.get_offsets()) for each in above.collections])
    assert len(dots) == len(of)


def test_the_difference_is_of_models_of_one_seed() -> None:
    """SoLU is .1 above GeLU in each seed, whose losses differ more; a seed that one of them lacks is left out."""
    rows = pd.DataFrame(
        [
            (seed, activation, "1e-05", 0.3 * seed + 0.1 * (activation == "solu"))
            for seed in range(3)
            for activation in ("gelu", "solu")
            if (seed, activation) != (2, "gelu")
        ],
        columns=["seed", "model.activation", "place", "loss_fraction"],
    )
    (found,) = first_look.differences(rows, ["no LN", "1e-05"]).to_dict("records")
    assert found["place"] == "1e-05"
    assert found["mean"] == pytest.approx(0.1)
    assert found["half_width"] == pytest.approx(0, abs=1e-9)


def test_without_solu_the_lower_panel_says_that_there_is_nothing_to_compare(run: Tabled) -> None:
    assert "not both are there" in written(first_look.draw(run.of(run.models["model.activation"] != "solu")))


def test_what_cannot_be_drawn_is_one_sentence(run: Tabled) -> None:
    for of, said in (
        (run.but(status="diverged"), r"every model diverged: there is nothing to draw$"),
        (
            run.but(loss_fraction=None),
            r"figure 'first_look' needs loss_fraction, which is not there",
        ),
        (run.but(**{"model.layer_norm": False}), r"is about LayerNorm's eps, and no trained model has a LayerNorm$"),
        (
            run.but(**{"features.n": range(27)}),
            r"a column for each of 27 regimes, more than 4: run a part of the sweep",
        ),
    ):
        with pytest.raises(FolderError, match=said):
            figure_of("first_look", of)
