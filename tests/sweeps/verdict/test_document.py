"""verdicts.json, and what the report shows of it."""

from __future__ import annotations

import html
import json
import shutil

import pytest

from toymodels.figures.report import write_report
from toymodels.figures.report.answers import ASKED
from toymodels.hypotheses.answers import Answer
from toymodels.hypotheses.tiers import settings
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import load
from toymodels.sweeps.results.verdicts import VERDICT_SCHEMA


def test_what_is_written_holds_every_setting_and_no_nan(judged):
    written = json.loads((judged.path / "verdicts.json").read_text(), parse_constant=pytest.fail)
    assert written["schema"] == VERDICT_SCHEMA == 3
    first, second = written["regimes"]
    assert (first["primary"], second["primary"]) == (True, False)
    assert len(first["settings_of_analysis"]) == 2 * len(settings(""))
    (default,) = [at for at in first["settings_of_analysis"] if at["default"]]
    assert set(first["predictions"]) == {"P1", "P2", "P3", "P4", "P6", "P7", "P9"}
    assert first["predictions"]["P1"]["status"] is None  # it describes
    assert set(first["questions"]) == {"Q1", "Q2"}
    f1 = {s["statistic"]: s for s in default["statistics"]["P9"]}["F1 of TopK"]
    assert f1["reason"] != "not measured"
    assert {s["statistic"] for s in default["statistics"]["lines"]} == {
        "engaged",
        "learned",
        "first tier",
        "second tier",
    }
    assert "1e-12" in first["notes"][0]
    assert first["answer"] in {answer.value for answer in Answer} - {"two tiers"}
    assert first["decided_by"]
    assert set(default["tiers"]) == {"solu + LN", "gelu + LN", "gelu"}


def test_the_report_shows_the_verdict(judged):
    page = write_report(judged).read_text()
    assert html.escape(ASKED) in page
    for regime in judged.verdicts["regimes"]:
        assert regime["name"] in page
        assert regime["answer"] in page
        assert html.escape(regime["decided_by"]) in page


def test_the_report_without_a_verdict_has_no_such_part(tiny):
    assert html.escape(ASKED) not in write_report(tiny).read_text()


def test_a_verdict_of_another_version_is_named_and_costs_the_report_its_part_only(judged, tmp_path):
    folder = tmp_path / "older"
    shutil.copytree(judged.path, folder)
    (folder / "verdicts.json").write_text(json.dumps({"schema": 2, "regimes": [{"verdict": "no"}]}))
    with pytest.raises(FolderError, match="of another version of the verdict: 'toymodels verdict"):
        _ = load(folder).verdicts
    assert "of another version of the verdict" in write_report(load(folder)).read_text()
    for damaged in ("[]", "{}", "{"):
        (folder / "verdicts.json").write_text(damaged)
        with pytest.raises(FolderError, match="damaged"):
            _ = load(folder).verdicts


def test_the_rotations_of_the_null_are_said(judged):
    assert judged.verdicts["null_seed"] == 0
    assert judged.verdicts["tuned"] == []
