"""The figures of inspections: every arm has its bar, at the first eps of its regime, with what a person judged."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from toymodels.figures import arm_bars, inspection, missed
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.studies import document, paired, persons
from toymodels.sweeps.studies import inspection as study
from toymodels.sweeps.studies import missed as other_study
from toymodels.sweeps.studies.reply import Reply

ARMS = ("solu + LN", "gelu + LN", "gelu", "solu")


def table(measures: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        {"regime": regime, "eps": eps, "arm": arm, "measure": measure}
        | {"mean": 0.1 * (1 + k) + (eps == "matched"), "low": 0.05, "high": math.nan, "seeds": 4}
        for regime in ("hidden 32", "hidden 64")
        for eps in ("1e-05", "matched")
        for measure in measures
        for k, arm in enumerate(ARMS)
    ]
    return pd.DataFrame(rows)


def of(path: Path, name: str, tables: dict[str, pd.DataFrame]) -> Any:
    run: Any = SimpleNamespace(path=path)
    document.write(run, name, Reply("Is it?", "It is.", tables))
    return run


def test_a_panel_a_measure_and_a_bar_an_arm_with_persons_in_the_primary_regime_alone(tmp_path: Path) -> None:
    measures = (study.SHARE, study.BY_CHANCE, *study.WHOLE.values())
    said = pd.DataFrame([{"arm": "gelu", "judge": judge, "mean": 0.7} for judge in ("ada", persons.RULE)])
    run = of(tmp_path, "inspection", {paired.ARM_TABLE: table(measures), persons.SCORES: said})
    axes = inspection.draw(run).axes
    assert len(axes) == 2 * 5
    for axis in axes:
        widths = [bar.get_width() for bar in axis.patches]  # type: ignore[attr-defined]
        assert widths == pytest.approx([0.3, 0.4, 0.2, 0.1])  # without LayerNorm first
    by_person = [line for axis in axes for line in axis.get_lines() if line.get_marker() == "x"]
    assert len(by_person) == 1
    assert list(np.asarray(by_person[0].get_xdata())) == [0.7]
    assert by_person[0].axes is axes[0]


def test_what_is_beyond_the_axis_is_written(tmp_path: Path) -> None:
    rows = table(tuple(other_study.SHARES.values()))
    rows.loc[rows["measure"].eq("ablated") & rows["arm"].eq("solu"), "mean"] = 12.3
    axes = missed.draw(of(tmp_path, "missed", {paired.ARM_TABLE: rows})).axes
    assert [[text.get_text() for text in axis.texts] for axis in axes] == [[], [], ["12.3"], []] * 2
    assert all(axis.get_xlim() == (0, 1) for axis in axes)


def test_arms_without_layer_norm_are_lighter_and_first() -> None:
    rows = pd.DataFrame({"arm": ["solu + LN", "tanh", "solu", "gelu"]})
    assert list(arm_bars.order(rows)["arm"]) == ["gelu", "solu", "solu + LN", "tanh"]


@pytest.mark.parametrize("figure", [inspection, missed])
def test_before_the_study_was_asked_there_is_none(figure: Any, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="not there yet"):
        figure.draw(SimpleNamespace(path=tmp_path))
