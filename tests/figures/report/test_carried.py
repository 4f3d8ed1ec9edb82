"""A page carries the first models of every arm, as many of each, up to its limits, and says so."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toymodels.figures.report import carried
from toymodels.figures.report.carried import Carried, Size, choose
from toymodels.sweeps.results.arms import Replicates

ARMS = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def arms_of(lengths: list[int]) -> list[Replicates]:
    """Arms of so many models, whose numbers go from arm to arm."""
    ends = [0, *pd.Series(lengths).cumsum()]
    return [Replicates({}, pd.DataFrame({"model": range(first, last)})) for first, last in pairwise(ends)]


@given(ARMS, st.integers(1, 5), st.integers(0, 300))
def test_models_come_in_turn_until_the_limit(lengths: list[int], of_each: int, most: int) -> None:
    count = sum(lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carried, "MOST_WEIGHTS", most)
        chosen = choose(arms_of(lengths), {model: Size(1, of_each) for model in range(count)})
    assert list(chosen.points) == list(chosen.rows) == list(range(count))
    assert len(chosen.weights) == min(count, most // of_each)
    there = [arm.models["model"].isin(chosen.weights) for arm in arms_of(lengths)]
    assert all(list(each) == sorted(each, reverse=True) for each in there)  # the first of every arm
    short = [each.sum() for each in there if not each.all()]
    assert not short or all(each.sum() <= min(short) + 1 for each in there)


def test_a_model_that_is_not_there_has_no_rows_and_no_weights() -> None:
    chosen = choose(arms_of([2, 2]), {0: Size(8, 12), 3: Size(8, 12)})
    assert (list(chosen.points), list(chosen.rows), list(chosen.weights)) == ([0, 1, 2, 3], [0, 3], [0, 3])


def test_what_is_left_out_is_said_with_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Carried([0], [0], [0], 1, 1).sentences == []
    monkeypatch.setattr(carried, "MOST_POINTS", 2)
    chosen = choose(arms_of([2, 2]), {model: Size(8, 12) for model in range(4)})
    assert list(chosen.points) == [0, 2]
    explorer, rows, weights = chosen.sentences
    assert explorer.startswith("The explorer shows 2 of 4 models, the first of every arm, as many of each")
    assert "(2 models)" in explorer
    assert "features and neurons are here for 2 of 4 models" in rows
    assert "Weights are here, in half precision, for 2 of 4 models" in weights
