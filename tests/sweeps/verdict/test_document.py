"""verdicts.json, and what the report shows of it."""

from __future__ import annotations

import html
import json

import pytest

from toymodels.figures.report import write_report
from toymodels.hypotheses.answers import Answer
from toymodels.hypotheses.tiers import settings
from toymodels.sweeps.verdict import document


def test_what_is_written_holds_every_setting_and_no_nan(judged):
    written = json.loads((judged.path / "verdicts.json").read_text(), parse_constant=pytest.fail)
    assert written["schema"] == document.SCHEMA == 3
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
    assert "<h2>Verdict</h2>" in page
    for regime in judged.verdicts["regimes"]:
        assert regime["name"] in page
        assert regime["answer"] in page
        assert html.escape(regime["decided_by"]) in page


def test_the_report_without_a_verdict_has_no_such_part(tiny):
    assert "Verdict" not in write_report(tiny).read_text()
