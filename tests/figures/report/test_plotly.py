"""The bundle is the one that the page's policy names, and it came with its licence."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from toymodels.figures.report import plotly
from toymodels.sweeps.errors import FolderError


def test_the_bundle_is_the_one_that_was_written_down() -> None:
    script = gzip.decompress(plotly.gzipped())
    assert hashlib.sha256(script).hexdigest() == plotly.SHA256
    assert f"plotly.js (strict - minified) v{plotly.VERSION}".encode() in script[:200]
    assert gzip.compress(script, 9, mtime=0) == plotly.PATH.read_bytes()
    assert plotly.PATH.with_name("plotly.LICENSE").read_text().startswith("MIT License")


def test_another_file_in_its_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.gz"
    path.write_bytes(gzip.compress(b"alert(1)"))
    monkeypatch.setattr(plotly, "PATH", path)
    with pytest.raises(FolderError, match="not the file that toymodels came with"):
        plotly.gzipped()
