"""two_tiers: which regime is shown, how many features each tier has, and the profile of best neurons."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from toymodels.figures import two_tiers
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse

SWEEP = """
[features]
n = 5
[model]
hidden = 2
tied = false
output = "linear"
[train]
steps = 5
batch = 16
[eval]
samples = 256
[grid]
"model.activation" = ["gelu", "solu"]
"model.layer_norm" = [false, true]
"model.layer_norm_eps" = [1e-5, "matched"]
"features.density" = [0.1, 0.3]
seed = [0, 1]
"""
PRIMARY = '[primary]\n"features.density" = 0.3\n'


def made(folder: Path, more: str = "") -> Run:
    run(make_plan(parse(SWEEP + more, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


@pytest.fixture(scope="module")
def with_primary(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(tmp_path_factory.mktemp("run"), PRIMARY)


def written(figure: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in figure.findobj(Text) if isinstance(text, Text)]


def test_the_primary_regime_is_shown_at_its_first_eps_each_model_once(with_primary: Run) -> None:
    arms, said = two_tiers.regime(with_primary)
    assert set(arms["features.density"]) == {0.3}
    assert arms.groupby("arm")["seed"].apply(list).to_dict() == {
        name: [0, 1] for name in ("gelu", "gelu + LN", "solu", "solu + LN")
    }
    assert set(arms.loc[arms["model.layer_norm"], "model.layer_norm_eps"]) == {"1e-05"}
    assert said == ["primary: density 0.3", "1 other regimes are not shown", "2 seeds", "LayerNorm eps 1e-05"]


def test_of_a_run_without_a_primary_regime_the_first_is_shown_and_called_exploratory(tmp_path: Path) -> None:
    arms, said = two_tiers.regime(made(tmp_path))
    assert set(arms["features.density"]) == {0.1}
    assert said[0] == "exploratory: density 0.1"


def test_counts_are_means_over_the_models_of_an_arm() -> None:
    models = pd.DataFrame(
        {
            "arm": ["solu + LN", "relu", "solu + LN"],
            "features_neuron": [4, 1, 7],
            "features_hidden": [2, 0, 0],
            "features_lost": [0, 5, 1],
        }
    )
    found = two_tiers.counts(models)
    assert list(found.index) == ["solu + LN", "relu"]
    assert found.loc["solu + LN"].to_dict() == {"neuron": 5.5, "hidden": 1.0, "lost": 0.5}
    assert found.loc["relu"].to_dict() == {"neuron": 1.0, "hidden": 0.0, "lost": 5.0}


def test_the_profile_is_sorted_within_each_model_before_it_is_averaged() -> None:
    """Where it is averaged first two groups that seeds order otherwise would look like one."""
    best = np.array([[0.9, 0.1, 0.8], [0.2, 1.0, 0.4]])
    rows = pd.DataFrame({"model": np.repeat([3, 8], 3), two_tiers.BEST: best.ravel()})
    expected = np.sort(best, axis=1)[:, ::-1].mean(0)
    np.testing.assert_allclose(two_tiers.profile(rows), expected)
    rows.loc[5, two_tiers.BEST] = np.nan
    np.testing.assert_allclose(two_tiers.profile(rows), [0.95, 0.5, 0.1])


def test_a_line_goes_from_a_hidden_feature_up_to_what_decides_its_tier(with_primary: Run) -> None:
    arms, _ = two_tiers.regime(with_primary)
    features = with_primary.features.copy()
    features["tier"] = "lost"
    model = arms.loc[arms["arm"] == "solu + LN", "model"].iloc[0]
    (row,) = features.index[(features["model"] == model) & (features["feature"] == 2)]
    features["r2_ungated"] = 0.0
    features.loc[row, ["tier", "r2", "r2_ungated", two_tiers.BEST]] = ["hidden", 0.4, 0.7, 0.2]
    of = load(with_primary.path)
    of.__dict__["features"] = features
    figure = two_tiers.draw(of)
    plt.close(figure)
    lines = [each for each in figure.findobj(LineCollection) if isinstance(each, LineCollection)]
    segments = [np.asarray(segment) for each in lines for segment in each.get_segments()]
    assert len(segments) == 1
    np.testing.assert_allclose(segments[0], [[0.2, 0.4], [0.2, 0.7]])


def test_the_figure_names_every_hidden_layer_with_its_models_and_says_what_it_leaves_out(with_primary: Run) -> None:
    figure = two_tiers.draw(with_primary)
    plt.close(figure)
    texts = written(figure)
    for name in ("gelu", "gelu + LN", "solu", "solu + LN"):
        assert f"{name} (2 models)" in texts
    assert sum("primary: density 0.3; 1 other regimes are not shown" in text for text in texts) == 1


def test_models_that_diverged_are_left_out_and_counted(with_primary: Run) -> None:
    of = load(with_primary.path)
    models = with_primary.models.copy()
    bad = (models["model.activation"] == "gelu") & models["model.layer_norm"]
    models.loc[bad, "status"] = "diverged"
    of.__dict__["models"] = models
    arms, said = two_tiers.regime(of)
    assert set(arms["arm"]) == {"gelu", "solu", "solu + LN"}
    assert f"{bad.sum()} models that diverged are left out" in said
