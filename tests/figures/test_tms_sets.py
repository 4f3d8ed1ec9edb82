"""tms_sets: a row a planar size and firing law, a panel a density, and bars that add up to all pairs."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from toymodels.figures import tms_sets as figure_of
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.studies import document, tms_sets

SWEEP = """
[train]
steps = 40
batch = 32
[eval]
samples = 256
[grid]
"features.density" = [0.1, 0.3]
seed = { range = [0, 3] }
"""
CASES = """
[[case]]
"features.n" = 4
"model.hidden" = HIDDEN
"features.firing" = { kind = "correlated", groups = 2 }
[[case]]
"features.n" = 4
"model.hidden" = HIDDEN
"features.firing" = "independent"
"""


def answered(folder: Path, hidden: str) -> Run:
    run(make_plan(parse(SWEEP + CASES.replace("HIDDEN", hidden), "tiny", "tiny.toml")), folder, "autograd", "cpu")
    of = load(folder)
    document.write(of, "tms_sets", tms_sets.answer(of, lambda sentence: None))
    return of


def test_rows_are_firing_laws_and_bars_are_all_pairs(tmp_path: Path) -> None:
    of = answered(tmp_path, "2")
    figure = figure_of.draw(of)
    plt.close(figure)
    axes = figure.axes
    assert [axis.get_title() for axis in axes[:3]] == ["density 0.1", "density 0.3", "pairs within sets, all restarts"]
    assert [axes[k].get_ylabel() for k in (0, 3)] == ["4 in 2\ncorrelated", "4 in 2\nindependent"]
    for bars in (axes[2], axes[5]):
        heights = [patch.get_height() for patch in bars.patches]  # pyright: ignore[reportAttributeAccessIssue]
        assert sum(heights[0::2]) == pytest.approx(1)
        assert sum(heights[1::2]) == pytest.approx(1)


def test_the_best_restart_is_shown_with_a_colour_a_set(tmp_path: Path) -> None:
    of = answered(tmp_path, "2")
    models = of.models[(of.models["features.firing"] == "correlated") & (of.models["features.density"] == 0.3)]
    best = of.model(int(models.sort_values("loss")["model"].iloc[0])).parameters.W_in[0]
    figure = figure_of.draw(of)
    plt.close(figure)
    spokes = [line for line in figure.axes[1].lines if len(line.get_xdata()) == 2]  # pyright: ignore[reportArgumentType]
    assert [line.get_xdata()[1] for line in spokes] == pytest.approx(best[0].tolist())  # pyright: ignore[reportIndexIssue]
    colours = [line.get_color() for line in spokes]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_a_run_without_a_plane_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="2 hidden neurons"):
        figure_of.draw(answered(tmp_path, "3"))
