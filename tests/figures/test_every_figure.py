"""Every figure, of a run that may have nothing to do with it: it is drawn and legible, or one sentence says why not."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from tests.conftest import BODY, TINY
from tests.figures.legible import assert_legible
from toymodels import figures
from toymodels.sweeps.errors import FolderError, SweepError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse

OF_TINY = {
    *("alignment", "first_look", "gram", "layer_norm", "solu_neurons", "tms_intro", "tms_neurons"),
    *("two_tiers", "two_tiers_full"),
}
"""what the tiny sweep has, or some of"""
DIVERGING = BODY.replace("steps = 30", "steps = 3\nlearning_rate = 1e30").replace(
    "[train]", 'output = "linear"\n[train]'
)
MEASURED = ("best_neuron_r2_post", "norm", "monosemanticity", "loss_fraction", "loss", "tier", "features_neuron")


def made(folder: Path, text: str) -> Run:
    run(make_plan(parse(text, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(tmp_path_factory.mktemp("tiny"), TINY)


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(tmp_path_factory.mktemp("diverged"), DIVERGING)


@pytest.mark.parametrize("dark", [False, True])
def test_figures_are_legible_or_one_sentence_says_what_they_need(tiny: Run, dark: bool) -> None:
    drawn, said = set(), []
    for name in figures.NAMES:
        try:
            figure = figures.figure_of(name, tiny, dark=dark)
        except SweepError as error:
            said.append(str(error))
            continue
        assert_legible(figure)
        plt.close(figure)
        drawn.add(name)
    assert drawn >= OF_TINY
    assert [sentence for sentence in said if not sentence.startswith(str(tiny.path)) or "\n" in sentence] == []


def test_where_every_model_diverged_every_figure_says_so(diverged: Run) -> None:
    for name in figures.NAMES:
        with pytest.raises(FolderError, match="every model diverged: there is nothing to draw"):
            figures.figure_of(name, diverged)


@pytest.mark.parametrize("name", sorted(OF_TINY))
def test_a_table_without_a_column_is_named_with_what_makes_it(tiny: Run, name: str) -> None:
    """As of a folder that an older version has written."""
    old = load(tiny.path)
    for table in ("models", "features", "neurons"):
        rows = getattr(old, table)
        old.__dict__[table] = rows.drop(columns=[column for column in MEASURED if column in rows])
    with pytest.raises(FolderError, match=f"figure '{name}' needs .*, which is not there: 'toymodels tables "):
        figures.figure_of(name, old)


def test_a_name_that_no_figure_has_is_refused_with_the_nearest(tiny: Run) -> None:
    with pytest.raises(SweepError, match=r"no figure is called 'tms_fase'.*'tms_phase'"):
        figures.figure_of("tms_fase", tiny)


def test_each_figure_is_of_one_kind() -> None:
    kinds = (figures.OF_SWEEPS, figures.OF_STUDIES, figures.OF_ANY, figures.OF_PREDICTIONS)
    assert sorted(name for kind in kinds for name in kind) == sorted(set(figures.NAMES))
    assert "gram" in figures.OF_ANY
    assert "power" not in figures.NAMES  # of a document, not of a run
