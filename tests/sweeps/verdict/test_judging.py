"""The verdict of a run: what is refused, and that seeds can be measured in parts."""

from __future__ import annotations

import pytest

from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.verdict import document, judging


def test_too_few_samples_are_refused(make_run, tmp_path):
    with pytest.raises(FolderError, match=r"eval\.samples: a verdict needs at least"):
        judging.judge(make_run(tmp_path, ("samples = 512", "samples = 200")), "none")


def test_seeds_measured_in_parts_give_the_same_verdict(judged, monkeypatch):
    whole = document.document(judging.judge(judged, "none"))
    monkeypatch.setattr(judging, "MOST_SEEDS", 3)
    parts = document.document(judging.judge(judged, "none"))
    for a, b in zip(whole["regimes"], parts["regimes"], strict=True):
        assert (a["answer"], a["predictions"]) == (b["answer"], b["predictions"])
        for at_a, at_b in zip(a["settings_of_analysis"], b["settings_of_analysis"], strict=True):
            assert at_a["tiers"] == at_b["tiers"]
            for key, kinds in at_a["statistics"].items():
                for one, other in zip(kinds, at_b["statistics"][key], strict=True):
                    assert one["statistic"] == other["statistic"]
                    assert one["mean"] == pytest.approx(other["mean"], rel=1e-3, abs=1e-4, nan_ok=True)
