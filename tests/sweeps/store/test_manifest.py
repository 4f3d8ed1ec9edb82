"""The manifest: what was read is written again, whatever another version has added to it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.manifest import Manifest

PLAN = make_plan(parse(TINY, "tiny", "tiny.toml"))


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    begun = Manifest.begun(PLAN, "autograd", "cpu")
    (tmp_path / "manifest.json").write_bytes(begun.to_bytes())
    assert Manifest.read(tmp_path / "manifest.json") == begun
    assert (begun.plan, begun.models, begun.packs, begun.sweep_files) == (PLAN.hash, 8, 4, ["sweep.toml"])


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Manifest.begun(PLAN, "autograd", "cpu").engine = "fused"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("more", [{}, {"note": "mine"}, {"versions": "lost"}, {"sweeps": 3}])
def test_what_it_does_not_know_it_keeps(tmp_path: Path, more: dict[str, Any]) -> None:
    path = tmp_path / "manifest.json"
    said = Manifest.begun(PLAN, "autograd", "cpu").document() | more
    path.write_text(json.dumps(said))
    manifest = Manifest.read(path)
    assert manifest.document() == json.loads(manifest.to_bytes()) == said
    plan = dataclasses.replace(PLAN, starts=(0, 2))
    longer = manifest.extended(plan)
    assert longer.document() == said | {"sweeps": 2, "plan": plan.hash, "packs": len(plan.packs)}
    assert longer.sweep_files == ["sweep-0000.toml", "sweep-0001.toml"]
