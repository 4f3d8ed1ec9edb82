"""A run folder holds what it held: packs, tables, manifest and resolved sweeps; and the runs use all that there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from .door import door
from .running import RUNS, TABLES, digests, manifest, pack, packs, table, types_of, values_of
from .text import DATA, differences, read

WRITTEN = DATA / "written"
OF_BYTES = ("digest", "seal")
"""what a pack's metadata says of its bytes"""
NEAR_IN_TABLES = 0.05
"""of percentiles and of counts over a threshold, where rounding differs"""
FAR_OFF = "zzzz"
"""no name of anything, so that its refusal lists the names there are"""
WITHOUT_DEFAULT = {"features.n", "features.density", "model.hidden"}
OTHER_SPELLINGS = {
    "features.frequency",
    "features.importance",
    "features.firing.kind",
    "model.embedding.size",
    "task.target.kind",
}
"""names that settings with a column of another name have too"""
BESIDE = {"model.embedding.trained": ("--set", "model.embedding=1")}
"""what a setting is refused without, whatever its value"""
REFUSED_BY_FUSED = {
    "model.blocks": "1",
    "model.top_k": "1",
    "model.experts": "1",
    "model.gated": "true",
    "train.load_balance": "0.1",
}
"""settings that the fused engine has no kernels for, at a value that is not their default"""
BARE = str(DATA / "sweeps" / "defaults.toml")


# ------------------------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("name", RUNS)
def test_the_files_are_those_that_were_written(runs: Path, exact: bool, name: str) -> None:
    recorded, found = read(f"written/{name}/digests.json"), digests(runs / name)
    assert found.keys() == recorded.keys()
    assert not exact or differences(recorded, found, exact=True) == []


@pytest.mark.parametrize("name", RUNS)
def test_packs_hold_the_same_models(runs: Path, exact: bool, name: str) -> None:
    recorded, found = packs(WRITTEN / name), packs(runs / name)
    assert [path.name for path in found] == [path.name for path in recorded]
    for was, now in zip(recorded, found, strict=True):
        assert not exact or now.read_bytes() == was.read_bytes()
        (said_then, then), (said_now, here) = pack(was), pack(now)
        assert said_now.keys() == said_then.keys() == {"toymodels"}
        assert _of_models(said_now) == _of_models(said_then)
        assert {name: (t.dtype, t.shape) for name, t in here.items()} == {
            name: (t.dtype, t.shape) for name, t in then.items()
        }
        for tensor in then:
            assert torch.allclose(_finite(here[tensor]), _finite(then[tensor]), 1e-3, 1e-5, equal_nan=True), tensor
        assert torch.equal(here["status"], then["status"])


def _finite(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with NaN for what is not finite: which of the two a diverging loss is hangs on the processor."""
    return tensor.where(tensor.isfinite(), torch.nan) if tensor.is_floating_point() else tensor


def _of_models(said: dict[str, str]) -> dict[str, Any]:
    metadata = json.loads(said["toymodels"])
    assert metadata.keys() >= set(OF_BYTES)
    return {name: value for name, value in metadata.items() if name not in OF_BYTES}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", RUNS)
def test_tables_hold_the_same_rows(runs: Path, exact: bool, name: str, kind: str) -> None:
    tables, path = read(f"written/{name}/tables.json"), runs / name / f"{kind}.parquet"
    assert path.exists() == (kind in tables)
    if kind not in tables:
        return
    recorded, found = tables[kind], table(path)
    assert (found["rows"], types_of(found)) == (recorded["rows"], types_of(recorded))
    assert differences(values_of(recorded), values_of(found), exact, NEAR_IN_TABLES) == []


@pytest.mark.parametrize("name", RUNS)
def test_resolved_sweeps_are_the_same_text(runs: Path, name: str) -> None:
    recorded = {path.name: path.read_bytes() for path in sorted((WRITTEN / name).glob("sweep*.toml"))}
    assert {path.name: path.read_bytes() for path in sorted((runs / name).glob("sweep*.toml"))} == recorded


@pytest.mark.parametrize("name", RUNS)
def test_the_manifest_says_the_same(runs: Path, name: str) -> None:
    assert differences(read(f"written/{name}/manifest.json"), manifest(runs / name), exact=True) == []


# ------------------------------------------------------------------------------------------------- what is covered


def settings() -> list[str]:
    """Every setting that there is: the names that the refusal of an unknown one lists."""
    refused = door("sweep", BARE, "--set", f"{FAR_OFF}{FAR_OFF}=1", "--dry-run").err
    listed = re.search(r"\(expected one of: (.*)\)", refused)
    assert listed is not None, refused
    return listed[1].split(", ")


def choices(setting: str) -> list[str]:
    """The words that a setting takes, as the refusal of another lists them; none of a number."""
    refused = door("sweep", BARE, *BESIDE.get(setting, ()), "--set", f"{setting}={FAR_OFF}", "--dry-run").err
    listed = re.search(r"\(expected one of: (.*)\)", refused)
    if listed is not None:
        return listed[1].split(", ")
    expected = re.search(r"expected (.*), got", refused)
    assert expected is not None, refused
    return re.findall(r"'(\w+)'", expected[1])


def used(engine: str) -> dict[str, list[Any]]:
    """Every value that each setting has in some run on this engine."""
    found: dict[str, list[Any]] = {}
    for name in RUNS:
        if read(f"written/{name}/manifest.json")["engine"] == engine:
            for setting, values in values_of(read(f"written/{name}/tables.json")["models"]).items():
                found.setdefault(setting, []).extend(values)
    return found


@pytest.mark.parametrize("engine", ["autograd", "fused"])
def test_every_setting_is_used_at_a_value_other_than_its_default(engine: str) -> None:
    defaults, found = values_of(read("written/defaults/tables.json")["models"]), used(engine)
    names = {name for name in settings() if name not in OTHER_SPELLINGS}
    assert names <= found.keys()
    assert names - WITHOUT_DEFAULT <= defaults.keys()
    unused = {name for name in names - WITHOUT_DEFAULT if all(value in defaults[name] for value in found[name])}
    assert unused == (set() if engine == "autograd" else set(REFUSED_BY_FUSED))


@pytest.mark.parametrize("setting, value", REFUSED_BY_FUSED.items())
def test_the_fused_engine_refuses_what_it_is_in_no_run_of(setting: str, value: str) -> None:
    beside = ("--set", "model.experts=1") if setting == "train.load_balance" else ()
    answer = door("sweep", BARE, *beside, "--set", f"{setting}={value}", "--engine", "fused", "--dry-run")
    assert (answer.code, "the fused engine does not know the setting" in answer.err) == (2, True), answer.err


def test_every_choice_is_used_and_on_the_fused_engine_too_unless_it_refuses_it() -> None:
    autograd, fused, seen = used("autograd"), used("fused"), 0
    for setting, choice in _all_choices():
        assert choice in autograd[setting], f"{setting} = {choice} is in no run"
        if choice not in fused[setting]:
            answer = door("sweep", BARE, "--set", f"{setting}={choice}", "--engine", "fused", "--dry-run")
            assert (answer.code, "the fused engine" in answer.err) == (2, True), f"{setting} = {choice}"
        seen += 1
    assert seen >= 42


def _all_choices() -> Iterator[tuple[str, str]]:
    for name in settings():
        if name not in OTHER_SPELLINGS:
            yield from ((name, choice) for choice in choices(name))
