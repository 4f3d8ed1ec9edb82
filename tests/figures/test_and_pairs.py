"""and_pairs: how pairs are counted, what bars show, and what the figure refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from tests.figures.tabled import Tabled, models, written
from toymodels.figures import and_pairs, figure_of
from toymodels.sweeps.errors import FolderError

R2 = (0.9, 0.8, 0.7, 0.2)
BEST = {0: (0.8, 0.1, 0.2, 0.1), 1: (0.8, 0.6, 0.7, 0.6)}
"""The best neuron's R^2 of each of four pairs, by seed."""


@pytest.fixture(scope="module")
def run() -> Tabled:
    axes = {"model.layer_norm": (False, True), "task.loss": ("squared", "cross_entropy"), "seed": (0, 1)}
    table = models(axes, loss_fraction=0.125).assign(**{"task.target": "and"})
    rows = [
        (model, pair, R2[pair], BEST[seed][pair])
        for model, seed in zip(table["model"], table["seed"], strict=True)
        for pair in range(4)
    ]
    return Tabled(table, targets=pd.DataFrame(rows, columns=["model", "target", "r2", "best_neuron_r2_post"]))


def test_a_pair_is_in_a_neuron_only_where_the_model_recovers_it(run: Tabled) -> None:
    found = and_pairs.counts(run.targets)
    assert list(found.loc[0]) == [1, 2, 1]
    assert list(found.loc[1]) == [3, 0, 1]


def test_bars_are_means_over_seeds_one_upon_the_other(run: Tabled) -> None:
    figure = and_pairs.draw(run)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["loss squared", "loss cross_entropy"]
    for axis in figure.axes:
        assert [tick.get_text() for tick in axis.get_yticklabels()][:2] in (["solu", "solu + LN"], [])
        bars = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
        found = {(bar.get_x(), bar.get_width()) for bar in bars}
        assert found == {(0.0, 2.0), (2.0, 1.0), (3.0, 1.0)}
        (low, high) = np.asarray(axis.lines[0].get_xdata())
        assert low == 0
        assert high == 4  # of two seeds the interval is wider than there are pairs
    assert written(figure).count(".125") == 4


def test_what_cannot_be_drawn_is_one_sentence(run: Tabled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(and_pairs, "MOST_CONDITIONS", 3)
    lacking = Tabled(run.models, targets=run.targets.drop(columns="r2"))
    for of, said in (
        (run.but(status="diverged"), r"every model diverged: there is nothing to draw$"),
        (
            run.but(loss_fraction=None),
            r"figure 'and_pairs' needs loss_fraction, which is not there",
        ),
        (lacking, r"figure 'and_pairs' needs r2, which is not there"),
        (run.but(**{"task.target": "identity"}), r"is about the AND of pairs, and no trained model has that target$"),
        (run.but(**{"model.hidden": range(8)}), r"a panel for each of 8 conditions, more than 3: run a part"),
    ):
        with pytest.raises(FolderError, match=said):
            figure_of("and_pairs", of)
