"""Losses of the packs that came last: as the tables have them in the end, whatever is damaged meanwhile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import BODY, GRID, listing
from toymodels.sweeps.execution.run import run as execute
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results import newest
from toymodels.sweeps.results.arms import hidden_layers
from toymodels.sweeps.results.newest import Newest
from toymodels.sweeps.results.reading import load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.store import Store

WILD = BODY + GRID.replace("[0, 2]", "[0, 3]") + '"train.learning_rate" = [1e-3, 1e30]\n'


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newest") / "run"
    execute(make_plan(parse(WILD, "wild", "wild.toml")), folder, "autograd", "cpu")
    return folder


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(finished, tmp_path / "run")))


def test_they_are_those_of_the_tables(store: Store) -> None:
    models = load(store.path).models
    layers = np.asarray(hidden_layers(models))
    before = listing(store.path)
    look = Newest(store).look()
    assert {each.layer for each in look} == {"relu", "relu + LN", "solu", "solu + LN"}
    for each in look:
        rows = models[layers == each.layer]
        losses = rows["loss_fraction"].dropna()
        assert (each.models, each.diverged) == (6, int((rows["status"] == "diverged").sum()))
        assert (each.low, each.median, each.high) == pytest.approx(losses.quantile([0.25, 0.5, 0.75]).tolist())
    assert sum(each.diverged for each in look) > 0
    assert listing(store.path) == before


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the packs that were read, in turn."""
    read: list[str] = []
    real = newest._losses
    monkeypatch.setattr(newest, "_losses", lambda pack, of: (read.append(pack.name), real(pack, of))[1])
    return read


def test_each_pack_is_read_once_and_the_newest_comes_first(store: Store, read: list[str]) -> None:
    names = sorted(path.name for path in store.packs.iterdir())
    last = store.measures / names[-1]
    aside = store.path / "aside"
    last.rename(aside)
    follows = Newest(store)
    assert follows.look() == follows.look()
    assert (follows.measured, sorted(read)) == (len(names) - 1, names[:-1])
    aside.rename(last)
    look = follows.look()
    assert (follows.measured, read[-1], len(read)) == (len(names), names[-1], len(names))
    assert look[0].layer == "solu + LN"


def test_of_more_packs_the_oldest_are_forgotten(store: Store, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """However often one looks: what was forgotten, or never read, is not taken for new."""
    monkeypatch.setattr(newest, "PACKS", 1)
    for age, path in enumerate(sorted(store.measures.glob("*.safetensors"), reverse=True)):
        os.utime(path, (1e9 + age, 1e9 + age))
    follows = Newest(store)
    for _ in range(3):
        (only,) = follows.look()
        assert (only.layer, follows.measured, read) == ("relu", 4, ["00000000.safetensors"])
    os.utime(store.measures / "00000003.safetensors", (2e9, 2e9))
    (only,) = follows.look()
    assert (only.layer, read[1:]) == ("solu + LN", ["00000003.safetensors"])


@pytest.mark.parametrize("folder", ["packs", "measures"])
@pytest.mark.parametrize("harm", ["empty", "halved", "text", "pipe", "link to nothing", "folder"])
def test_what_is_no_pack_is_named_and_seen_again_when_it_is_mended(store: Store, folder: str, harm: str) -> None:
    path = store.path / folder / "00000000.safetensors"
    whole = path.read_bytes()
    path.unlink()
    if harm == "pipe":
        os.mkfifo(path)
    elif harm == "folder":
        path.mkdir()
    elif harm == "link to nothing":
        path.symlink_to("nowhere")
    else:
        path.write_bytes({"empty": b"", "halved": whole[: len(whole) // 2], "text": b"{}" * 100}[harm])
    follows = Newest(store)
    assert "relu" not in {each.layer for each in follows.look()}
    assert follows.unreadable == [path.name]
    path.rmdir() if harm == "folder" else path.unlink()
    path.write_bytes(whole)
    assert "relu" in {each.layer for each in follows.look()}
    assert follows.unreadable == []


def test_where_nothing_is_nothing_is_said(tmp_path: Path) -> None:
    follows = Newest(Store(tmp_path / "none"))
    assert (follows.look(), follows.measured, follows.unreadable) == ([], 0, [])
