"""Described: every column of every table has a unit and a sentence, in the files, in Python and in the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import toymodels as tm
from tests.conftest import BODY
from toymodels.hosts import Models
from toymodels.metrics.columns import quantities_of
from toymodels.metrics.meanings import MEANINGS
from toymodels.metrics.moments import Moments
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.described import OWN, meaning, read_back, with_tables
from toymodels.sweeps.results.reading import load
from toymodels.sweeps.spec.schema import ALL_SETTINGS
from toymodels.sweeps.spec.sweep import parse

PAGE = Path(__file__).parents[3] / "docs" / "RUNS.md"
TABLES = ("models", "features", "neurons", "targets", "curves")
PAIRS = BODY.replace("density = 0.3", 'density = 0.3\nvalues = "binary"') + (
    '[[case]]\n"task.target" = "identity"\n'
    '[[case]]\n"task.target" = { kind = "and", pairs = 4 }\n"model.tied" = false\n'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("described")
    run(make_plan(parse(PAIRS, "pairs", "pairs.toml")), path, "autograd", "cpu")
    return path


def test_what_is_measured_has_a_meaning_and_what_has_a_meaning_is_measured() -> None:
    nothing = cast("Moments", None)  # columns are named, and none is asked for
    found: set[str] = set()
    for target in (tm.Identity(), tm.And(1)):
        e = tm.Experiment(tm.Features(n=2, density=0.5), tm.Bottleneck(hidden=1, tied=False), target=target)
        found |= {
            name for name in quantities_of(Models([e], tm.Parameters(torch.zeros(1, 1, 2))), nothing) if "." in name
        }
    assert found == {f"{table}.{column}" for table, columns in MEANINGS.items() for column in columns}


@pytest.mark.parametrize("name", TABLES)
def test_every_column_of_every_file_has_a_unit_and_a_sentence(folder: Path, name: str) -> None:
    schema = pq.read_schema(folder / f"{name}.parquet")
    assert {*OWN[name]} <= {*schema.names}
    for field in schema:
        said = {key.decode(): value.decode() for key, value in field.metadata.items()}
        assert said.keys() == {"unit", "description"}, field.name
        assert said["unit"], field.name
        assert len(said["description"].split()) > 1, field.name
        assert "\n" not in said["description"]
        known = meaning(name, field.name)
        assert known is not None
        assert (known.unit, known.says) == (said["unit"], said["description"])


def test_settings_say_what_they_are_where_they_are_declared() -> None:
    for name, setting in ALL_SETTINGS.items():
        known = meaning("models", name)
        assert known is not None
        assert known.says == setting.says
    units = {"model.layer_norm": "true or false", "model.hidden": "whole number", "model.activation": "word"}
    assert {name: of.unit for name in units if (of := meaning("models", name))} == units


@pytest.mark.parametrize("name", TABLES)
def test_a_file_says_of_which_plan_and_version_it_is(folder: Path, name: str) -> None:
    said = json.loads(pq.read_schema(folder / f"{name}.parquet").metadata[b"toymodels"])
    assert said == {"plan": load(folder).manifest.plan, "table": name, "version": tm.__version__}


def test_columns_are_one_table_in_python(folder: Path) -> None:
    columns = load(folder).columns
    assert columns.loc[("features", "tier"), "unit"] == "word"
    assert columns.loc[("models", "features.n"), "meaning"] == ALL_SETTINGS["features.n"].says
    assert {table for table, _ in columns.index} == set(TABLES)
    assert (columns["unit"] != "").all()


def test_an_older_file_is_described_by_this_version_and_an_unknown_column_by_itself() -> None:
    bare = pa.schema([("loss", pa.float64()), ("theirs", pa.float64()), ("unknown", pa.float64())])
    theirs = bare.field("theirs").with_metadata({"unit": "apples", "description": "how many apples"})
    found = read_back("models", bare.set(1, theirs))
    assert found["loss"] == meaning("models", "loss")
    assert (found["theirs"].unit, found["theirs"].says) == ("apples", "how many apples")
    assert (found["unknown"].unit, found["unknown"].says) == ("", "")


def test_the_page_is_written_of_the_same_place() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "run: python -m toymodels.sweeps.results.described docs/RUNS.md"
    with pytest.raises(ValueError, match="expected the marks"):
        with_tables("nothing")
