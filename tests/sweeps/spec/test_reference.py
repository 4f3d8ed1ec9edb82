"""The table of settings in the docs is what the dataclasses declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from toymodels.sweeps.spec.reference import BEGIN, table, with_table
from toymodels.sweeps.spec.schema import ALL_SETTINGS

PAGE = Path(__file__).parents[3] / "docs" / "SWEEPS.md"


def test_the_docs_have_the_table_of_today() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_table(text) == text, "python -m toymodels.sweeps.spec.reference docs/SWEEPS.md"


def test_the_table_has_a_line_for_every_setting() -> None:
    lines = table().splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == list(ALL_SETTINGS)
    said = dict(zip(ALL_SETTINGS, lines, strict=True))
    assert said["train.steps"].startswith("| `train.steps` | a whole number from 1 to 1,000,000,000 | `10000` |")
    assert '| a number >= 0, or "matched" | `1e-05` |' in said["model.layer_norm_eps"]
    assert "| a number > 0, or absent |  |" in said["features.importance.ratio"]


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the marks"):
        with_table(f"{BEGIN}\n")
