"""What figures of the TMS studies draw: marks where the tables have numbers, a colour a host, known guides."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from toymodels.figures import activation_l1 as l1
from toymodels.figures import tms_adversary as adversary
from toymodels.figures import tms_scaling as scaling
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import activation_l1, document, tms_adversary, tms_scaling
from toymodels.sweeps.studies.reply import Reply

NUMBERS = {"low": None, "high": None, "seeds": 1}


def numbers(values: Any) -> list[float]:
    return np.asarray(values, float).ravel().tolist()


def run_with(path: Path, name: str, tables: dict[str, pd.DataFrame]) -> Any:
    run: Any = SimpleNamespace(path=path)
    document.write(run, name, Reply("Is it?", "It is.", tables))
    return run


def test_hosts_have_colours_of_their_own() -> None:
    hosts = ["bottleneck", "relu decoder", "relu + LN decoder", "solu decoder", "solu + LN decoder", "silu decoder"]
    assert len(set(adversary.colours_of(hosts).values())) == len(hosts)


def test_adversary_draws_every_host_and_every_model_of_the_first(tmp_path: Path) -> None:
    rows = [
        {"host": host, "density": density, "measure": measure, "mean": 1 + 2 * density, **NUMBERS}
        for host in ("bottleneck", "relu decoder")
        for density in (0.1, 0.2)
        for measure in tms_adversary.MEASURES
    ]
    models = pd.DataFrame(
        {
            "host": ["bottleneck", "relu decoder"],
            "density": 0.1,
            "seed": 0,
            **{measure: [2.0, 3.0] for measure in tms_adversary.MEASURES},
        }
    )
    tables = {tms_adversary.BY_DENSITY: pd.DataFrame(rows), tms_adversary.MODELS: models}
    figure = adversary.draw(run_with(tmp_path, "tms_adversary", tables))
    _, middle, right, _ = figure.axes
    assert numbers(middle.collections[0].get_offsets()) == [2.0, 2.0]
    assert right.get_legend_handles_labels()[1] == ["bottleneck", "relu decoder"]
    drawn = right.lines[0]
    assert numbers(drawn.get_xdata()) == pytest.approx([10, 5])
    assert numbers(drawn.get_ydata()) == pytest.approx([1.2, 1.4])


def test_scaling_draws_a_column_a_regime_and_leaves_out_what_is_not_there(tmp_path: Path) -> None:
    rows = [
        {"regime": regime, "decay": decay, "width": width, "measure": measure, "mean": mean, **NUMBERS}
        for regime in ("frequency uniform", "frequency zipf")
        for decay in (-1.0, 1.0)
        for width in (8, 16)
        for measure, mean in ((tms_scaling.LOSS, 4 / width), (tms_scaling.OVERLAP, 1 / width), (tms_scaling.TAIL, 0.0))
    ]
    figure = scaling.draw(run_with(tmp_path, "tms_scaling", {tms_scaling.BY_WIDTH: pd.DataFrame(rows)}))
    above, other, below, _ = figure.axes
    assert [axis.get_title() for axis in (above, other)] == ["frequency uniform", "frequency zipf"]
    assert numbers(above.lines[0].get_ydata()) == pytest.approx([0.5, 0.25])
    assert numbers(below.lines[-1].get_ydata()) == pytest.approx([1 / 8, 1 / 16])
    assert not any(line.get_linestyle() == ":" and numbers(line.get_xdata()) for line in above.lines)


def test_l1_draws_a_line_an_activation_from_no_cost_on(tmp_path: Path) -> None:
    rows = [
        {"activation": activation, "cost": cost, "measure": measure, "mean": 1 + cost + place, **NUMBERS}
        for activation in ("relu", "gelu")
        for cost in (0.0, 0.1, 0.3)
        for place, measure in enumerate(activation_l1.MEASURES)
    ]
    figure = l1.draw(run_with(tmp_path, "activation_l1", {activation_l1.BY_COST: pd.DataFrame(rows)}))
    left, right = figure.axes
    assert left.get_legend_handles_labels()[1] == ["relu", "gelu"]
    assert numbers(left.lines[0].get_xdata()) == pytest.approx([1, 1.1, 1.3])
    assert numbers(left.lines[0].get_ydata()) == pytest.approx([2, 2.1, 2.3])
    assert numbers(right.lines[0].get_ydata()) == pytest.approx([4, 4.1, 4.3])
    assert [text.get_text() for text in left.texts[:2]] == ["0.1", "0.3"]


def test_a_run_without_an_answer_is_refused(tmp_path: Path) -> None:
    empty: Any = SimpleNamespace(path=tmp_path)
    for draw in (adversary.draw, l1.draw, scaling.draw):
        with pytest.raises(FolderError, match="not there yet"):
            draw(empty)
