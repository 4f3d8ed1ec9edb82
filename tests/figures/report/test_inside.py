"""The plane of a model's features is that of its singular vectors, and rows of some models are those of the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from toymodels.figures.report.columns import of_rows
from toymodels.figures.report.inside import plane
from toymodels.figures.report.packed import Packed
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run


@pytest.mark.parametrize("hidden, features", [(3, 8), (8, 3), (5, 5)])
def test_the_plane_is_that_of_the_largest_singular_values(hidden: int, features: int) -> None:
    D = torch.randn(4, hidden, features, generator=torch.Generator().manual_seed(0))
    points, shares = plane(D)
    for one, kept, share in zip(D.double().numpy(), points.numpy(), shares.numpy(), strict=True):
        _, sizes, right = np.linalg.svd(one)
        np.testing.assert_allclose(np.abs(kept), np.abs(sizes[:2, None] * right[:2]), atol=1e-6)
        assert share == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum())
        for axis in kept:
            assert axis[np.abs(axis).argmax()] > 0


@pytest.mark.parametrize("hidden", [1, 2])
def test_of_two_neurons_it_is_the_columns_themselves(hidden: int) -> None:
    D = torch.randn(3, hidden, 5)
    points, shares = plane(D)
    assert torch.equal(points[:, :hidden], D.double())
    assert not points[:, hidden:].any()
    assert torch.equal(shares, torch.ones(3).double())


def test_columns_that_are_all_zero_stay_there() -> None:
    points, shares = plane(torch.zeros(2, 4, 5))
    assert not points.any()
    assert torch.equal(shares, torch.ones(2).double())


def test_rows_of_some_models_are_those_of_the_whole_table(ran: Run) -> None:
    for name in ("features", "neurons"):
        table = getattr(ran, name)
        some = ran.rows(name, [3, 1], [*table.columns[1:4], "of another version"])
        expected = table.loc[table["model"].isin([1, 3]), list(table.columns[:4])]
        pd.testing.assert_frame_equal(some, expected.reset_index(drop=True))
    assert ran.rows("features", [], ["norm"]).empty


def test_rows_of_a_table_that_is_not_there_or_damaged_are_refused(ran: Run) -> None:
    (ran.path / "neurons.parquet").unlink()
    with pytest.raises(FolderError, match=r"neurons.parquet: not there yet: 'toymodels tables .*' builds it"):
        ran.rows("neurons", [0], ["dead"])
    pd.DataFrame({"dead": [True]}).to_parquet(ran.path / "neurons.parquet")
    with pytest.raises(FolderError, match=r"neurons.parquet: damaged"):
        ran.rows("neurons", [0], ["dead"])


def test_which_neuron_it_is_is_said_exactly_also_where_some_rows_have_none() -> None:
    packed = Packed()
    rows = pd.DataFrame({"best_neuron": [3001.0, np.nan, 2.0], "r2": [0.25, np.nan, 1.0], "feature": [0, 1, 70_000]})
    kinds = [each["values"]["type"] for each in of_rows(packed, rows, ["best_neuron", "r2", "feature"])]
    assert kinds == ["f4", "f2", "i4"]
