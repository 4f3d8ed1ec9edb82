"""Nothing is pooled silently: a figure of a sweep has a panel an arm, or says over what a panel pools."""

from __future__ import annotations

import importlib
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from toymodels import figures
from toymodels.figures import two_tiers
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse

SWEEP = """
[features]
n = 5
[model]
hidden = 2
layer_norm = true
[train]
steps = 5
batch = 16
[eval]
samples = 256
[grid]
"model.activation" = ["relu", "solu"]
"model.init_scale" = [0.5, 1.0]
"features.density" = [0.1, 0.3]
seed = [0, 1]
"""
SAID = {
    "solu_neurons": tuple(f"density {d}, init_scale {s}" for d in (0.1, 0.3) for s in (0.5, 1)),
    "two_tiers": (
        "exploratory: density 0.1, init_scale 0.5; 3 other regimes are not shown; 2 seeds",
        "relu + LN (2 models)",
        "solu + LN (2 models)",
    ),
    "two_tiers_full": ("map: init_scale 0.5; no models of gelu + LN; no models of relu",),
    "tms_neurons": tuple(
        f"density {d}, activation {a}, init_scale {s}" for d in (0.1, 0.3) for a in ("relu", "solu") for s in (0.5, 1)
    ),
    "tms_intro": tuple(
        f"density {d}, activation {a}, init_scale {s} best of 2"
        for d in (0.1, 0.3)
        for a in ("relu", "solu")
        for s in (0.5, 1)
    ),
    "first_look": ("density 0.1, init_scale 0.5", "density 0.3, init_scale 1"),
}
"""what the figure of this sweep must say, a line or a title each"""
OF_ONE_SETTING = ("tms_absolute", "tms_phase")
"""figures that refuse a run of any other setting: tests/figures/test_classics.py"""
REFUSED = {
    "decoder_width": "this figure is about decoders of features, and no trained model is one",
    "and_pairs": "this figure is about the AND of pairs, and no trained model has that target",
    "tms_recovery": "tells models apart by features.density, model.output alone",
}
"""and what the sentence is of one that cannot show these settings"""


@pytest.fixture(scope="module")
def four_settings_vary(tmp_path_factory) -> Run:
    folder: Path = tmp_path_factory.mktemp("varied")
    run(make_plan(parse(SWEEP, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


def texts(figure: Figure) -> list[str]:
    """All that is written in a figure, the lines of each text joined."""
    return [text.get_text().replace("\n", " ") for text in figure.findobj(Text) if isinstance(text, Text)]


def test_every_figure_of_a_sweep_is_asked():
    """Those of predictions are asked in tests/sweeps/verdict/test_drawn.py."""
    assert {*SAID, *REFUSED, *OF_ONE_SETTING} == set(figures.OF_SWEEPS)


@pytest.mark.parametrize("name", REFUSED)
def test_a_figure_of_another_sweep_is_refused_in_a_sentence(name, four_settings_vary):
    with pytest.raises(FolderError, match=REFUSED[name]):
        importlib.import_module(f"toymodels.figures.{name}").draw(four_settings_vary)


@pytest.mark.parametrize("name", SAID)
def test_a_figure_splits_what_varies_or_says_that_it_pools(name, four_settings_vary):
    figure = importlib.import_module(f"toymodels.figures.{name}").draw(four_settings_vary)
    plt.close(figure)
    written = texts(figure)
    for said in SAID[name]:
        assert sum(said in text for text in written) == 1, (said, written)


def test_a_figure_that_draws_a_sample_of_its_features_says_so(four_settings_vary, monkeypatch):
    monkeypatch.setattr(two_tiers, "MOST_POINTS", 6)
    figure = two_tiers.draw(four_settings_vary)
    plt.close(figure)
    assert any("6 features a panel at most" in text for text in texts(figure))
