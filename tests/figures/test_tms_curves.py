"""tms_collapse and tms_geometry: what is drawn is what was answered, at its densities."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from toymodels.figures import tms_collapse as collapse_figure
from toymodels.figures import tms_geometry as geometry_figure
from toymodels.metrics.plateaus import PLATEAUS
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.studies import document, tms_collapse, tms_geometry

SWEEP = """
[features]
n = 6
[model]
hidden = 2
[train]
steps = 100
batch = 32
[eval]
samples = 256
[grid]
"features.density" = [0.1, 0.3]
seed = { range = [0, 4] }
"""
PAIRS = '"features.firing" = [{ kind = "correlated", groups = 3 }, "independent"]\n'


def made(folder: Path, more: str = "") -> Run:
    run(make_plan(parse(SWEEP + more, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


def test_collapse_draws_every_measure_of_both_firing_laws_over_density(tmp_path: Path) -> None:
    of = made(tmp_path, PAIRS)
    reply = tms_collapse.answer(of, lambda sentence: None)
    document.write(of, "tms_collapse", reply)
    figure = collapse_figure.draw(of)
    plt.close(figure)
    table = reply.tables[tms_collapse.TABLE]
    pairs = table[(table["firing"] == "correlated") & (table["measure"] == tms_collapse.COLLAPSED)]
    lines = {str(line.get_label()): line for line in figure.axes[0].lines}
    assert list(lines) == [f"{name}{law}" for name in ("one direction", "orthogonal") for law in ("", ", independent")]
    assert np.asarray(lines["one direction"].get_xdata()).tolist() == [0.1, 0.3]
    assert np.asarray(lines["one direction"].get_ydata()).tolist() == pytest.approx(pairs["mean"].tolist())
    captured = table[(table["firing"] == "correlated") & (table["measure"] == tms_collapse.CAPTURED)]
    drawn = {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in figure.axes[1].lines}
    assert drawn["captured"] == pytest.approx(captured["mean"].tolist())
    assert drawn["random rows"] == pytest.approx(captured["by_chance"].tolist())


def test_geometry_draws_present_features_and_the_lines_of_all_plateaus(tmp_path: Path) -> None:
    of = made(tmp_path)
    reply = tms_geometry.answer(of, lambda sentence: None)
    document.write(of, "tms_geometry", reply)
    figure = geometry_figure.draw(of)
    plt.close(figure)
    scatter, side = figure.axes
    dots, mean, *levels = scatter.lines
    present = of.features[of.features["norm"] >= 0.5]
    assert np.asarray(dots.get_ydata()).tolist() == present["dimensionality"].tolist()
    assert np.asarray(dots.get_xdata()).tolist() == pytest.approx((1 / present["density"]).tolist())
    expected = reply.tables[tms_geometry.MODELS]["mean"].tolist()
    assert np.asarray(mean.get_ydata()).tolist() == pytest.approx(expected)
    assert [np.asarray(line.get_ydata())[0] for line in levels] == list(PLATEAUS.values())
    counted = sum(patch.get_width() for patch in side.patches)  # pyright: ignore[reportAttributeAccessIssue]
    assert counted == len(present)
