"""verdicts.json, and what the report shows of it."""

from __future__ import annotations

import json

import pytest

from toymodels.figures.report import write_report
from toymodels.sweeps.verdict import document


def test_what_is_written_holds_every_setting_and_no_nan(judged):
    written = json.loads((judged.path / "verdicts.json").read_text(), parse_constant=pytest.fail)
    assert written["schema"] == document.SCHEMA == 2
    first, second = written["regimes"]
    assert (first["primary"], second["primary"]) == (True, False)
    assert len(first["settings_of_analysis"]) == 2 * 4 * 3
    assert sum(at["default"] for at in first["settings_of_analysis"]) == 1
    assert set(first["predictions"]) == {"P1", "P2", "P3", "P4", "P6", "P7", "P9"}
    f1 = {s["statistic"]: s for s in first["settings_of_analysis"][0]["predictions"]["P9"]["statistics"]}["F1 of TopK"]
    assert f1["reason"] != "not measured"
    assert "1e-12" in first["notes"][0]
    assert first["overall"] in ("not supported", "undetermined")


def test_the_report_shows_the_verdict(judged):
    page = write_report(judged).read_text()
    assert "<h2>Verdict</h2>" in page
    for regime in judged.verdicts["regimes"]:
        assert regime["name"] in page
        assert regime["predictions"]["P1"]["status"] in page


def test_the_report_without_a_verdict_has_no_such_part(tiny):
    assert "Verdict" not in write_report(tiny).read_text()
