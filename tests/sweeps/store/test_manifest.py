"""The manifest: what was read is written again, whatever another version has added to it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.candidates import with_chosen
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.spec.tune import Chosen
from toymodels.sweeps.store import manifest
from toymodels.sweeps.store.manifest import Manifest

PLAN = make_plan(parse(TINY, "tiny", "tiny.toml"))


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    begun = Manifest.begun(PLAN, "autograd", "cpu")
    (tmp_path / "manifest.json").write_bytes(begun.to_bytes())
    assert Manifest.read(tmp_path / "manifest.json") == begun
    assert (begun.plan, begun.models, begun.packs, begun.sweep_files) == (PLAN.hash, 8, 4, ["sweep.toml"])


def test_choices_that_no_manifest_may_hold_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    tune = '[tune]\nseeds = [7]\n"train.learning_rate" = [0.1, 0.12345678901234567]\n"model.init_scale" = [1, 2]\n'
    sweep = parse(TINY + tune, "tiny", "tiny.toml")
    assert sweep.tuning is not None
    last = sweep.tuning.candidates[-2]
    chosen = with_chosen(sweep, [Chosen(arm, last, 4, 0.12345678901234567, 3) for arm in sweep.arms])
    plan = make_plan(chosen)
    begun = Manifest.begun(plan, "autograd", "cpu")
    size = len(begun.to_bytes()) - len(dataclasses.replace(begun, tuned=()).to_bytes())
    monkeypatch.setattr(manifest, "BESIDE_CHOICES", 0)
    for sweep_of_them in (sweep, chosen):
        monkeypatch.setattr(manifest, "MOST_BYTES", size + 100)  # room for the longest number that there is
        manifest.check_choices_fit(sweep_of_them)
        monkeypatch.setattr(manifest, "MOST_BYTES", size - 100)
        with pytest.raises(SpecError, match=r"tiny.toml: \[tune\]: what would be chosen for 4 arms is more than the"):
            manifest.check_choices_fit(sweep_of_them)
    manifest.check_choices_fit(PLAN.sweep)
    huge = parse(TINY + tune.replace("0.1,", f"0x1{'0' * 9000},"), "tiny", "tiny.toml")
    with pytest.raises(SpecError, match="what would be chosen"):
        manifest.check_choices_fit(huge)


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Manifest.begun(PLAN, "autograd", "cpu").engine = "fused"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("more", [{}, {"note": "mine"}, {"versions": "lost"}, {"sweeps": 3}])
def test_what_it_does_not_know_it_keeps(tmp_path: Path, more: dict[str, Any]) -> None:
    path = tmp_path / "manifest.json"
    said = Manifest.begun(PLAN, "autograd", "cpu").document() | more
    path.write_text(json.dumps(said))
    read = Manifest.read(path)
    assert read.document() == json.loads(read.to_bytes()) == said
    plan = dataclasses.replace(PLAN, starts=(0, 2))
    longer = read.extended(plan)
    assert longer.document() == said | {"sweeps": 2, "plan": plan.hash, "packs": len(plan.packs)}
    assert longer.sweep_files == ["sweep-0000.toml", "sweep-0001.toml"]
