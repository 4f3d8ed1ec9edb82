"""The verdict of a run that was made on a GPU, here a device that is not there (`tests.elsewhere`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import listing
from tests.elsewhere import Elsewhere
from tests.sweeps.verdict.conftest import MakeRun
from toymodels.engines import ENGINES
from toymodels.hosts import Models
from toymodels.sweeps.errors import DeviceLost
from toymodels.sweeps.execution import measuring
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.verdict import document, judging

SMALL = (
    ('    { "model.activation" = "solu", "model.layer_norm" = true, "model.layer_norm_eps" = "matched" },\n', ""),
    ('    { "model.activation" = "gelu", "model.layer_norm" = true, "model.layer_norm_eps" = "matched" },\n', ""),
    ('"features.values" = ["uniform", "binary"]', '"features.values" = ["binary"]'),
    ("samples = 512", "samples = 256"),
    ("range = [0, 4]", "range = [0, 3]"),
)
"""one regime at one eps"""


@pytest.fixture(scope="module")
def small(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("small"), *SMALL)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    monkeypatch.setattr(Models, "engine", property(lambda _: ENGINES["autograd"]))  # here too, so that bits are equal
    with Elsewhere() as device:
        yield device


def verdict(run: Run, **named: Any) -> tuple[dict[str, Any], list[str]]:
    """What the document holds, and what was said."""
    said: list[str] = []
    return document.document(judging.judge(run, "none", said.append, **named)), said


def tables(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in listing(folder).items() if name.startswith("evidence")}


def test_arms_are_measured_where_they_were_trained_by_one_process(
    small: Run, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, said = verdict(small)
    evidence = tables(small.path)
    assert "measured_on" not in here
    assert not any("measured on" in each for each in said)
    monkeypatch.setattr(measuring, "device_of", lambda manifest: "meta")
    kernels = elsewhere.kernels
    there, said = verdict(small, processes=2)
    assert elsewhere.kernels > kernels + 3000
    assert said[0] == "the arms are measured on meta, the kind of device that trained them"
    assert there.pop("measured_on") == "meta"
    assert there == here
    assert tables(small.path) == evidence
    # Where its memory is too small it is the CPU, and that is said.
    elsewhere.most = 16
    there, _ = verdict(small)
    assert there["notes"][-1].endswith(", seeds 0 to 2 did not fit in the memory of meta: measured on the CPU")
    assert there["regimes"] == here["regimes"]
    assert there["measured_on"] == "meta"
    # Lost, it is a sentence, and the tables are those that were there.
    elsewhere.most, elsewhere.lost_after = None, elsewhere.kernels + 2000
    with pytest.raises(DeviceLost, match=r"^meta no longer answers \(CUDA error: unspecified launch failure\); "):
        verdict(small)
    assert tables(small.path) == evidence
