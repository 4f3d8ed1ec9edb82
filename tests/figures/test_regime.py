"""What figures of predictions share: dots by tier, and how many of them are drawn."""

from __future__ import annotations

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
