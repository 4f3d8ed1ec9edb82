"""tms_geometry: the features that are present, the mean over each density, and the lines of all plateaus."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from toymodels.figures import tms_geometry as figure_of
from toymodels.metrics.plateaus import PLATEAUS
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.studies import document, tms_geometry

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
"features.density" = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0]
seed = { range = [0, 2] }
"""


def made(folder: Path, more: str = "") -> Run:
    run(make_plan(parse(SWEEP + more, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


def test_geometry_draws_present_features_and_the_lines_of_all_plateaus(tmp_path: Path) -> None:
    of = made(tmp_path)
    reply = tms_geometry.answer(of, lambda sentence: None)
    document.write(of, "tms_geometry", reply)
    figure = figure_of.draw(of)
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
