"""tms_collapse: what is drawn is what was answered, over density, of both firing laws."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from toymodels.figures import tms_collapse as figure_of
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.studies import document, tms_collapse

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
    figure = figure_of.draw(of)
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
