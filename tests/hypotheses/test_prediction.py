"""Predictions as objects: what each one must state, and what follows from it elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from toymodels import figures
from toymodels.hypotheses import predictions, tiers
from toymodels.hypotheses.answers import DECIDING
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.sweeps.verdict.evidence import SCHEMAS


def by_number(stems: set[str]) -> list[str]:
    """p9 before p10."""
    return sorted(stems, key=lambda stem: int(stem.partition("_")[0][1:]))


FILES = {path.stem for path in Path(predictions.__file__).parent.glob("p*.py")}
DRAWN = {path.stem for path in Path(figures.__file__).parent.glob("p[0-9]*_*.py")}


def test_every_file_is_one_entry_with_a_figure_of_its_name():
    assert [type(each).__module__.rpartition(".")[2] for each in PREDICTIONS] == by_number(FILES)
    assert figures.OF_PREDICTIONS == tuple(by_number(FILES)) == tuple(by_number(DRAWN))


def test_keys_are_those_of_their_files_and_those_that_decide_are_there():
    keys = [each.key for each in PREDICTIONS]
    assert keys == [each.figure.partition("_")[0].upper() for each in PREDICTIONS]
    assert set(DECIDING) < set(keys)


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda prediction: prediction.key)
def test_a_prediction_states_what_it_is_judged_by(prediction):
    assert prediction.claim
    assert not prediction.claim.endswith(".")
    assert (prediction.margin > 0 and bool(prediction.decisive)) != (prediction.key == "P1")  # which describes
    assert all(margin > 0 for margin in prediction.margins.values())
    assert MAIN in prediction.arms


def test_tables_of_evidence_have_the_columns_of_tiers_and_predictions():
    stated = [*tiers.COLUMNS, *(name for each in PREDICTIONS for name in each.columns)]
    assert len(stated) == len(set(stated))
    assert SCHEMAS["evidence"].names[-len(stated) :] == stated
    own = {each.own_table.name: each.own_table for each in PREDICTIONS if each.own_table is not None}
    assert {*own, "evidence"} == set(SCHEMAS)
    for name, table in own.items():
        assert SCHEMAS[name].names[6:] == [*table.index, *table.columns]
