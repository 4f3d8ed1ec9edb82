"""The folder in which a sweep is tuned, and what the run folder around it says meanwhile."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.conftest import TINIER, listing
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.spec.candidates import tuning_sweep, with_chosen
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.sweep import Sweep, parse
from toymodels.sweeps.spec.tune import Chosen
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tuning import make_tuning_folder, tuning_folder


def sweep(rates: str = "[1e-3, 1e-2]", question: str = "tiny?") -> Sweep:
    body = TINIER.replace("tiny?", question)
    return parse(f'{body}[tune]\nseeds = [7]\n"train.learning_rate" = {rates}\n', "tiny", "tiny.toml")


def trials(of: Sweep) -> Plan:
    return make_plan(tuning_sweep(of))


def chosen(of: Sweep) -> Sweep:
    return with_chosen(of, [Chosen(arm, {"train.learning_rate": 0.01}, 2, 0.5) for arm in of.arms])


def begin(folder: Path, of: Plan) -> None:
    Store.create_or_open(folder, of, "autograd", "cpu").release()


def test_the_folder_says_what_is_tuned_until_it_begins(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    make_tuning_folder(folder, sweep(), trials(sweep()))
    assert listing(folder) == {"sweep.toml": resolved_toml(sweep()).encode()}
    with pytest.raises(FolderError, match="not a run folder"):
        Store.open_existing(folder)
    begin(tuning_folder(folder), trials(sweep()))
    with pytest.raises(FolderError, match="its sweep is still being tuned"):
        Store.open_existing(folder)
    make_tuning_folder(folder, sweep(question="why?"), trials(sweep()))  # the same models, in other words
    assert Store.open_existing(tuning_folder(folder)).manifest.tuned == ()
    assert "why?" in (folder / "sweep.toml").read_text()


def test_another_sweep_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    make_tuning_folder(folder, sweep(), trials(sweep()))
    begin(tuning_folder(folder), trials(sweep()))
    before = listing(folder)
    other = sweep("[1e-3, 1e-1]")
    make_tuning_folder(folder, other, trials(other))
    assert listing(folder) == before


def test_a_folder_that_is_begun_keeps_its_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    make_tuning_folder(folder, sweep(), trials(sweep()))
    begin(folder, make_plan(chosen(sweep())))
    assert [each["settings"] for each in Store(folder).manifest.tuned] == [{"train.learning_rate": 0.01}] * 2
    make_tuning_folder(folder, sweep(), trials(sweep()))
    assert (folder / "sweep.toml").read_text() == resolved_toml(chosen(sweep()))
    assert Store(folder).plan().hash == make_plan(chosen(sweep())).hash


def test_who_shares_the_folder_shares_its_tuning(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o2775)
    make_tuning_folder(folder, sweep(), trials(sweep()))
    assert stat.S_IMODE(tuning_folder(folder).stat().st_mode) == 0o2775


def test_a_choice_changed_by_hand_is_not_the_sweep_that_made_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begin(folder, make_plan(chosen(sweep())))
    path = folder / "sweep.toml"
    text = path.read_text()
    path.write_text(text.replace('"train.learning_rate" = 0.01', '"train.learning_rate" = 0.001'))
    with pytest.raises(FolderError, match="not the sweep that made this folder"):
        Store(folder).plan()
    path.write_text(text.replace("candidates = 2", "candidates = -2"))
    with pytest.raises(FolderError, match=r"damaged: .*candidates: expected a whole number from 1, got -2"):
        Store(folder).plan()
