"""tms_dynamics: each arm's model of most drops, its D_i over training, and too many arms."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from toymodels.figures import tms_dynamics as figure_of
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.studies import document, tms_dynamics
from toymodels.sweeps.studies.reply import Reply

SWEEP = """
[features]
n = 5
density = 0.2
[model]
hidden = 2
[train]
steps = 200
batch = 32
snapshots = 40
[eval]
samples = 256
[grid]
"model.init_scale" = [0.2, 1.0]
seed = { range = [0, 2] }
"""


@pytest.fixture
def answered(tmp_path: Path) -> Run:
    run(make_plan(parse(SWEEP, "tiny", "tiny.toml")), tmp_path, "autograd", "cpu")
    of = load(tmp_path)
    document.write(of, "tms_dynamics", tms_dynamics.answer(of, lambda sentence: None))
    return of


def test_each_arm_shows_the_trajectory_of_its_model_of_most_drops(answered: Run) -> None:
    reply = document.read(answered, "tms_dynamics")
    models = reply.tables[tms_dynamics.MODELS].copy()
    models["drops"] = [0.0, 2.0, 1.0, 0.0]  # by hand: seed 1 of the first arm, seed 0 of the second
    tables = {**reply.tables, tms_dynamics.MODELS: models}
    document.write(answered, "tms_dynamics", Reply(reply.question, reply.sentence, tables, reply.notes))
    figure = figure_of.draw(answered)
    plt.close(figure)
    above, below = figure.axes[:2], figure.axes[2:]
    assert [axis.get_title().rpartition("(")[2] for axis in above] == ["seed 1)", "seed 0)"]
    for axis, beneath, model in zip(above, below, (1, 2), strict=True):
        way = tms_dynamics.of_model(answered, model)
        drawn = [np.asarray(line.get_ydata()) for line in axis.lines[:5]]
        assert np.allclose(drawn, way.dimensionality)
        assert np.allclose(np.asarray(beneath.lines[0].get_ydata()), way.loss_fraction)


def test_too_many_arms_are_refused(answered: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_of, "MOST_ARMS", 1)
    with pytest.raises(FolderError, match="room for 1 arms, the run has 2"):
        figure_of.draw(answered)
