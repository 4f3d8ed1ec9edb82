"""The command `toymodels figure`: one figure or all, in one format or as usual, for a light page or a dark one."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.conftest import TINIER, door

MADE = ("gram", "solu_neurons", "tms_intro", "tms_neurons", "two_tiers")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    (folder / "tinier.toml").write_text(TINIER)
    assert door("sweep", folder / "tinier.toml", "--out", folder / "run", "--engine", "autograd").code == 0
    return folder / "run"


def test_a_figure_is_written_as_svg_and_png_or_in_one_format(run: Path, tmp_path: Path) -> None:
    assert door("figure", "gram", run, "--out", tmp_path, "--json").json() == {
        "files": [f"{tmp_path}/gram.svg", f"{tmp_path}/gram.png"]
    }
    answer = door("figure", "gram", run, "--out", tmp_path / "one", "--format", "pdf")
    assert answer.out.split() == [f"{tmp_path}/one/gram.pdf"]
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["gram.pdf"]
    assert (tmp_path / "one" / "gram.pdf").read_bytes().startswith(b"%PDF")


def test_a_dark_figure_lies_beside_the_light_one_on_its_own_page(run: Path, tmp_path: Path) -> None:
    for option in ((), ("--dark",)):
        assert door("figure", "gram", run, "--out", tmp_path, "--format", "svg", *option).code == 0
    light, dark = ((tmp_path / name).read_text() for name in ("gram.svg", "gram.dark.svg"))
    assert ET.fromstring(dark).tag.endswith("svg")
    assert "#16181d" in dark
    assert "#16181d" not in light


def test_a_pdf_has_no_date_and_is_the_same_twice(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in ("0", "86400"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", day)
        assert door("figure", "tms_intro", run, "--out", tmp_path / day, "--format", "pdf").code == 0
    first, second = ((tmp_path / day / "tms_intro.pdf").read_bytes() for day in ("0", "86400"))
    assert first == second
    assert b"Date" not in first


def test_all_figures_of_a_run_are_drawn_and_of_each_other_one_is_said_why_not(run: Path, tmp_path: Path) -> None:
    answer = door("figure", "--all", run, "--out", tmp_path, "--format", "svg")
    assert answer.code == 0
    drawn = {Path(line).stem for line in answer.out.splitlines()}
    assert drawn >= set(MADE)
    lines = answer.err.splitlines()
    assert any(line.startswith(f"no tms_phase: {run}: this figure needs 2 features") for line in lines)
    assert any(line.startswith("no p3_gated: ") and "toymodels verdict" in line for line in lines)
    assert not [line for line in lines if line.split(":")[0].removeprefix("no ") in drawn]


@pytest.mark.parametrize(
    "words, said",
    [
        (("gram",), "expected a figure and a run"),
        (("--all", "gram", "run"), "got 'gram run'"),
        (("gram", "run", "more"), "got 'gram run more'"),
        (("gram", "run", "--format", "jpg"), "no figure is written as 'jpg'"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(words: tuple[str, ...], said: str) -> None:
    answer = door("figure", *words)
    assert answer.code == 2
    assert said in answer.err
