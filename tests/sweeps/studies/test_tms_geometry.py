"""Geometry: hand-built models in the place of trained ones, on plateaus and off them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.metrics.test_geometry import cross_polytope
from tests.sweeps.studies.conftest import Ran, seen
from toymodels.bottleneck import Parameters
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import tms_geometry
from toymodels.sweeps.studies.reply import UNCORRECTED

SWEEP = """
[features]
n = 20
[model]
hidden = 10
[train]
steps = 3
batch = 16
[eval]
samples = 256
[grid]
"features.density" = [1.0, 0.5, 0.3, 0.2, 0.1, 0.05]
seed = { range = [0, 5] }
"""
DENSITIES = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)


def alone() -> Tensor:
    """Ten features with a dimension each, ten that are absent."""
    return torch.cat([torch.eye(10), torch.zeros(10, 10)], dim=1)


@pytest.fixture
def planted(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Alone at density 1, in antipodal pairs from .5 to .2, in random directions below."""
    run = ran(SWEEP)
    batch = run.batch

    def built(models: list[int]) -> tuple[list[Any], Parameters]:
        experiments, _ = batch(models)
        density = seen(experiments).density
        generator = torch.Generator().manual_seed(7)
        random = torch.nn.functional.normalize(torch.randn(len(models), 10, 20, generator=generator), dim=1)
        if density < 0.2:
            return experiments, Parameters(1.3 * random)
        W = alone() if density == 1 else cross_polytope(10)[0].float()
        return experiments, Parameters(W.expand(len(models), -1, -1))

    monkeypatch.setattr(run, "batch", built)
    return run


def test_features_on_plateaus_are_counted_beyond_their_neighbourhood(planted: Run) -> None:
    table = tms_geometry.answer(planted, print).tables[tms_geometry.FEATURES]
    rows = table.set_index(["plateau", "width"]).to_dict("index")
    present = 10 + 3 * 20 + 2 * 20
    assert rows["own dimension", 0.01]["mean"] == pytest.approx(10 / present)
    paired = rows["antipodal pair", 0.01]
    assert paired["mean"] >= 60 / present - 1e-9
    assert paired["excess_low"] > 0.4
    assert paired["random"] < 0.2
    assert rows["tetrahedron", 0.01]["mean"] < 0.05
    assert set(table["seeds"]) == {5}


def test_the_share_of_densities_near_a_level_stands_beside_a_straight_lines(planted: Run) -> None:
    reply = tms_geometry.answer(planted, print)
    one, half = reply.tables[tms_geometry.STAYS].to_dict("records")
    assert (one["mean"], one["from"], one["to"]) == (pytest.approx(1 / 6), 1.0, 1.0)
    assert (half["mean"], half["from"], half["to"]) == (0.5, 0.2, 0.5)
    span = 1 - 0.5 / 1.3**2
    assert one["straight_line"] == pytest.approx(0.05 / span, abs=1e-6)
    assert half["straight_line"] == pytest.approx(0.1 / span, abs=1e-6)
    means = reply.tables[tms_geometry.MODELS]
    assert means["mean"].tolist() == pytest.approx([1, *[0.5] * 3, *[0.5 / 1.3**2] * 2])


def test_the_answer_names_plateaus_and_says_of_others_that_they_are_none(planted: Run) -> None:
    reply = tms_geometry.answer(planted, print)
    sentence = reply.sentence
    assert UNCORRECTED in reply.notes
    clusters = sentence.partition("D_i cluster on ")[2].partition(";")[0]
    assert "own dimension 1 (" in clusters
    assert "antipodal pair 1/2 (" in clusters
    assert "tetrahedron" not in clusters
    assert "D* is near 0.5 at more densities than a straight line (.50 (.50 to .50) of them" in sentence
    assert sentence.endswith("5 seeds.")


def test_a_curve_that_flattens_on_no_level_is_not_said_to_stay_there(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """D* falls smoothly from 1 towards .46, and never stops: more than a straight line, and no more is said."""
    run = ran(SWEEP.replace("[0, 5]", "[0, 4]"))
    batch, fall = run.batch, dict(zip(DENSITIES, (1.0, 0.7, 0.58, 0.52, 0.49, 0.475), strict=True))

    def built(models: list[int]) -> tuple[list[Any], Parameters]:
        experiments, _ = batch(models)
        W = cross_polytope(10)[0].float() * (0.5 / fall[seen(experiments).density]) ** 0.5
        return experiments, Parameters(W.expand(len(models), -1, -1))

    monkeypatch.setattr(run, "batch", built)
    reply = tms_geometry.answer(run, print)
    assert "D* is near 0.5 at more densities than a straight line" in reply.sentence
    assert not any(word in reply.question + reply.sentence for word in ("stay", "plateau"))
    assert "are not yet a plateau" in reply.notes[1]


def test_too_few_densities_are_refused(ran: Ran) -> None:
    text = SWEEP.replace("[0, 5]", "[0, 1]").replace(", 0.05]", "]")
    with pytest.raises(FolderError, match="needs 6 densities or more, the run has 5"):
        tms_geometry.answer(ran(text), print)


def test_a_run_that_varies_in_more_than_density_is_refused(ran: Ran) -> None:
    text = SWEEP.replace("[0, 5]", "[0, 1]") + '"model.output" = ["relu", "linear"]\n'
    with pytest.raises(FolderError, match="differ in density and seed alone"):
        tms_geometry.answer(ran(text), print)


def test_densities_without_a_seed_in_common_are_refused(ran: Ran) -> None:
    cases = "".join(
        f'[[case]]\n"features.density" = {density}\nseed = {seed}\n' for seed, density in enumerate(DENSITIES)
    )
    with pytest.raises(FolderError, match="a seed that was trained at every density"):
        tms_geometry.answer(ran(SWEEP.partition("[grid]")[0] + cases), print)
