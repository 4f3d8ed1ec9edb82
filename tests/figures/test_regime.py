"""What figures of predictions share: which regime they show, dots by tier, and how many of them are drawn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from toymodels.figures import regime


def test_a_panel_that_draws_a_sample_of_its_dots_says_of_how_many(monkeypatch):
    monkeypatch.setattr(regime, "MOST_POINTS", 2)
    figure, axis = plt.subplots()
    plt.close(figure)
    regime.scatter(
        axis, pd.DataFrame({"tier": ["neuron", "hidden", "hidden", "hidden"], "x": range(4), "y": range(4)}), "x", "y"
    )
    assert [len(np.asarray(dots.get_offsets())) for dots in axis.collections] == [2, 1]
    assert [text.get_text() for text in axis.texts] == ["2 of 3 in tier hidden"]


def test_a_figure_of_what_varies_shows_the_first_regime_in_which_it_does() -> None:
    said = {"predictions": {"P6": {"status": "undetermined", "claim": "Common"}}, "seeds": [0], "primary": False}
    at = {"settings_of_analysis": [{"default": True, "eps": "1e-05"}]}
    rows = pd.DataFrame({"regime": ["a", "a", "b", "b"], "eps": "1e-05", "density": [0.1, 0.1, 0.1, 0.2]})
    run: Any = SimpleNamespace(
        path="run", verdicts={"regimes": [{"name": name} | said | at for name in "ab"]}, evidence=lambda table: rows
    )
    assert "exploratory: a;" in regime.shown(run, "p6_common_or_important").title
    what = regime.shown(run, "p6_common_or_important", varying=("density",))
    assert "exploratory: b;" in what.title
    assert list(what.rows["density"]) == [0.1, 0.2]
    rows["density"] = 0.1
    assert "exploratory: a;" in regime.shown(run, "p6_common_or_important", varying=("density",)).title
