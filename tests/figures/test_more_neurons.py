"""The figure of more_neurons: colours by architecture, markers that tell layers apart, and all that the tables hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from toymodels.figures import more_neurons as figure
from toymodels.sweeps.studies import more_neurons
from toymodels.sweeps.studies.reply import Reply


def layers(names: dict[str, bool]) -> pd.DataFrame:
    """Two widths of every layer, dense or not, with every measure that the figure shows."""
    rows = [
        {
            "regime": "density 0.1",
            "layer": name,
            "hidden": hidden,
            "dense": dense,
            "parameters": 100 * hidden,
            "multiply_adds": 50 * hidden,
            "measure": measure,
            "mean": 0.5,
            "low": 0.4,
            "high": 0.6,
            "seeds": 6,
        }
        for name, dense in names.items()
        for hidden in (8, 16)
        for measure in (*figure.MEASURES, *(figure.SHARES if "experts" in name else ()))
    ]
    return pd.DataFrame(rows).drop_duplicates(["layer", "hidden", "measure"])


def equal(names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "regime": "density 0.1",
            "layer": name,
            "budget": spent,
            "reference": more_neurons.REFERENCE,
            "measure": measure,
            "mean": 1.0,
            "low": 0.0,
            "high": 2.0,
            "seeds": 6,
        }
        for name in names
        for spent in more_neurons.BUDGETS
        for measure in figure.IN_NEURONS
    )


@pytest.mark.parametrize("others", [["relu, 4 experts", "relu, 8 experts", "relu, top 8"], ["relu, 2 blocks"]])
def test_every_layer_is_in_every_panel_and_experts_have_panels_of_their_own(
    others: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"relu": True, **dict.fromkeys(others, False)}
    reply = Reply("?", ".", {more_neurons.LAYERS: layers(names), more_neurons.EQUAL: equal(others)})
    monkeypatch.setattr(figure, "read", lambda run, name: reply)
    run: Any = SimpleNamespace()
    drawn = figure.draw(run)
    panels = drawn.axes
    assert len(panels) == 9
    assert panels[8].get_visible() == ("relu, 4 experts" in others)
    for axis in panels[:6]:
        assert len(axis.containers) == len(names)
        assert axis.get_xscale() == "log"
    for axis in panels[6:8]:
        assert [label.get_text() for label in axis.get_yticklabels()] == others
        assert len(axis.containers) == 2


def test_layers_of_one_architecture_have_one_colour_and_their_own_markers() -> None:
    names = ["relu", "relu, 4 experts", "relu, 8 experts", "relu, top 8", "bilinear", "gelu"]
    colours = [figure.colour(name) for name in names]
    assert colours[1] == colours[2]
    assert len(set(colours)) == 5
    assert figure.marker(names[1], names) != figure.marker(names[2], names)
