"""The figures of predictions, drawn of a run with its verdict."""

from __future__ import annotations

import importlib
import json
import shutil

import matplotlib.pyplot as plt
import pytest

from tests.figures.legible import assert_legible
from toymodels import figures
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import load


@pytest.mark.parametrize("name", figures.OF_PREDICTIONS)
def test_every_prediction_is_drawn_and_the_same_twice(judged, name, tmp_path):
    first, second = (figures.draw(name, judged, tmp_path / part) for part in "ab")
    assert [path.name for path in first] == [f"{name}.svg", f"{name}.png"]
    for a, b in zip(first, second, strict=True):
        assert a.stat().st_size > 5000
        assert a.read_bytes() == b.read_bytes()
    assert_legible(figures.figure_of(name, judged, dark=True))


@pytest.mark.parametrize("name", figures.OF_PREDICTIONS)
def test_every_figure_of_a_prediction_names_its_regime_and_says_that_it_pools_seeds(judged, name):
    figure = importlib.import_module(f"toymodels.figures.{name}").draw(judged)
    plt.close(figure)
    assert figure.get_suptitle().replace("\n", " ").endswith("primary: binary values; eps 1e-05; pooled over 4 seeds")


def test_before_the_verdict_a_figure_says_what_makes_it(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copytree(tiny.path, tmp_path / "run", dirs_exist_ok=True, ignore=shutil.ignore_patterns("verdicts.json"))
    with pytest.raises(FolderError, match="not there yet: 'toymodels verdict"):
        figures.draw("p3_gated", load(tmp_path / "run"), tmp_path)


def test_of_a_verdict_of_an_older_version_no_figure_is_drawn(judged, tmp_path):
    """Its tables called the tiers otherwise: nothing would be drawn, and nobody told."""
    shutil.copytree(judged.path, tmp_path / "run")
    path = tmp_path / "run" / "verdicts.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 1}))
    with pytest.raises(FolderError, match="of another version of the verdict: 'toymodels verdict"):
        figures.draw("p2_rescaled", load(tmp_path / "run"), tmp_path)
