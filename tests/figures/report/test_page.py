"""The page says what a run was asked and answered and how it was made, as text whatever it holds, and what it lacks."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import BODY, TINIER
from tests.figures.report.conftest import EVIL, Trained
from toymodels.figures import draw, figure_of
from toymodels.figures.making import rendered
from toymodels.figures.report import plotly, write_report
from toymodels.figures.report.packed import in_base64
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.studies import document
from toymodels.sweeps.studies.reply import Reply

REPLY = Reply(
    "Is <b>it</b>?", "It is </script>.", {"a <row>": pd.DataFrame({"mean": [1.0]})}, ("Of <i>two</i> seeds.",)
)
PNG = b"\x89PNG\r\n\x1a\n"


class Tags(HTMLParser):
    """The tags of a page in order with their attributes, and the text that is seen."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style", "title"):
            self.words += f"{data} "


def page_of(run: Run) -> str:
    return write_report(load(run.path)).read_text(encoding="utf-8")


def words_of(run: Run) -> str:
    return " ".join(Tags(page_of(run)).words.split())


def test_answers_are_in_the_page_as_text(ran: Run) -> None:
    assert "Nothing has been answered yet" in words_of(ran)
    document.write(ran, "how_linear", REPLY)
    page = page_of(ran)
    assert "Nothing has been answered yet" not in page
    assert '<p class="asked">Is &lt;b&gt;it&lt;/b&gt;?</p>\n<p class="said">It is &lt;/script&gt;.</p>' in page
    assert "<p>Of &lt;i&gt;two&lt;/i&gt; seeds.</p>" in page
    assert "<summary>a &lt;row&gt;</summary>" in page


def test_a_damaged_answer_is_named_and_the_report_is_written(ran: Run) -> None:
    (ran.path / "how_linear.json").write_text("{")
    assert "how_linear.json: damaged" in words_of(ran)


@pytest.mark.parametrize(
    "held",
    ["[]", "3", '{"schema": 3}', '{"schema": 3, "regimes": []}', '{"schema": 3, "regimes": [{"name": 1}]}', "[" * 9999]
    + [f'{{"schema": 3, "notes": {notes}, "regimes": {regimes}}}' for notes, regimes in (("3", "{}"), ("[]", '["x"]'))],
)
def test_a_verdict_of_another_form_is_named_and_the_report_is_written(ran: Run, held: str) -> None:
    (ran.path / "verdicts.json").write_text(held)
    assert re.search(r"verdicts.json: (damaged|of another version)", words_of(ran))


def test_the_verdict_is_said_with_what_decided_it_for_every_regime(ran: Run) -> None:
    predictions = {"P1": {"claim": "two <groups>", "status": None}, "P2": {"claim": "small", "status": "supported"}}
    regime = {
        "name": "dense",
        "primary": True,
        "answer": "no second tier",
        "decided_by": "too few",
        "adds": "not supported",
    }
    regimes = [
        regime | {"predictions": predictions},
        regime | {"name": "sparse", "predictions": predictions, "primary": False},
    ]
    (ran.path / "verdicts.json").write_text(json.dumps({"schema": 3, "notes": ["Mind <this>."], "regimes": regimes}))
    words = words_of(ran)
    for said in (
        "No second tier. Decided by: too few.",
        "Primary regime: dense. It is the first of 2 regimes.",
        "Mind <this>.",
        "dense (primary) no second tier too few not supported sparse no second tier too few not supported",
        "P1 two <groups> describes P2 small supported",
        "dense (primary) describes supported sparse describes supported",
    ):
        assert said in words


def test_provenance_says_versions_and_seeds_and_the_command_that_makes_the_run_again(ran: Run) -> None:
    words, manifest = words_of(ran), json.loads((ran.path / "manifest.json").read_text())
    assert f"plan {manifest['plan']}" in words
    assert "engine autograd, on cpu" in words
    assert "seeds 0, 1" in words
    assert f"torch {manifest['versions']['torch']}" in words
    assert "toymodels sweep ./sweep.toml --engine autograd --device cpu" in words
    assert "model.activation relu, solu" in words
    assert ran.sweep_text.split() == words.partition("The sweep, as resolved ")[2].partition(" Made by ")[0].split()


def test_the_same_folder_gives_the_same_page_and_only_that_is_written(ran: Run) -> None:
    before = {path: path.read_bytes() for path in ran.path.rglob("*") if path.is_file()}
    page = page_of(ran)
    assert page_of(ran) == page
    assert {
        path: path.read_bytes() for path in ran.path.rglob("*") if path.name != "report.html" and path.is_file()
    } == before


def test_nothing_can_run_or_load_but_what_the_page_came_with(ran: Run) -> None:
    page = page_of(ran)
    assert page.startswith("<!doctype html>\n")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    assert (rules["default-src"], rules["img-src"], rules["base-uri"]) == ("'none'", "data:", "'none'")
    assert "eval" not in policy
    assert "unsafe-inline" not in policy
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{in_base64(bytes.fromhex(plotly.SHA256))}' 'sha256-{digest}'"
    tags = Tags(page).tags
    assert not [
        (tag, name) for tag, attributes in tags for name in attributes if name.startswith("on") or name == "style"
    ]
    assert {tag for tag, _ in tags} & {"link", "iframe", "object", "embed", "base", "img", "form"} == {"form"}
    assert all(each.get("src", "data:").startswith("data:") for _, each in tags)  # pyright: ignore[reportOptionalMemberAccess]


def test_headings_are_in_order_and_every_cell_has_a_heading(ran: Run) -> None:
    document.write(ran, "how_linear", REPLY)
    tags = Tags(page_of(ran)).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(each["scope"] in ("row", "col") for tag, each in tags if tag == "th")
    assert next(each["lang"] for tag, each in tags if tag == "html") == "en"


def test_hostile_words_are_text_wherever_they_stand(ran: Run) -> None:
    page = page_of(ran)
    assert "<img" not in page
    words = Tags(page).words
    assert words.count(EVIL) >= 3  # heading, folder, sweep file


def test_figures_are_in_the_page_light_and_dark(ran: Run) -> None:
    (ran.path / "tms_intro.svg").write_bytes(b"<svg>light</svg>")
    (ran.path / "tms_intro.dark.svg").write_bytes(b"<?xml?><svg>dark</svg>")
    (ran.path / "two_tiers.svg").write_bytes(b"<svg>" + bytes(2**20))  # gives way to its pixels
    (ran.path / "two_tiers.png").write_bytes(PNG)
    tags = Tags(page_of(ran)).tags
    dark = [each["srcset"] for tag, each in tags if tag == "source"]
    assert f"data:image/svg+xml;base64,{in_base64(b'<?xml?><svg>dark</svg>')}" in dark
    assert {each["src"] for tag, each in tags if tag == "img"} == {
        f"data:image/svg+xml;base64,{in_base64(b'<svg>light</svg>')}",
        f"data:image/png;base64,{in_base64(PNG)}",
    }


def test_a_figure_that_was_not_drawn_dark_is_drawn_for_the_page_alone(ran: Run) -> None:
    draw("tms_intro", ran, ran.path)
    before = sorted(ran.path.iterdir())
    (dark,) = [each["srcset"] or "" for tag, each in Tags(page_of(ran)).tags if tag == "source"]
    assert base64.b64decode(dark.removeprefix("data:image/svg+xml;base64,")) == rendered(
        figure_of("tms_intro", ran, dark=True), "svg"
    )
    assert sorted(ran.path.iterdir()) == sorted({*before, ran.path / "report.html"})


@pytest.mark.parametrize("how", ["a link", "no image", "not a regular file"])
def test_what_is_no_figure_is_left_out_and_said(ran: Run, tmp_path: Path, how: str) -> None:
    path, secret = ran.path / "tms_intro.png", tmp_path / "secret"
    secret.write_bytes(PNG + b"secret")
    if how == "a link":
        path.symlink_to(secret)
    elif how == "no image":
        path.write_bytes(b"<script>")
    else:
        path.mkdir()
    assert f"tms_intro.png: left out ({how})" in words_of(ran)
    assert in_base64(PNG + b"secret") not in page_of(ran)


def test_what_cannot_be_read_of_models_is_said_and_the_rest_is_there(ran: Run) -> None:
    (ran.path / "features.parquet").unlink()
    (ran.path / "neurons.parquet").write_bytes(b"PAR1")
    pack = ran.path / "packs" / "00000000.safetensors"
    pack.write_bytes(pack.read_bytes()[:-1])
    words = words_of(ran)
    assert "features.parquet: not there yet" in words
    assert "neurons.parquet: damaged" in words
    assert "No weights of some models: " in words
    assert "00000000.safetensors" in words


def test_sweep_files_that_did_not_make_the_folder_leave_the_tables(ran: Run) -> None:
    path = ran.path / "sweep.toml"
    path.write_text(path.read_text().replace("steps = 30", "steps = 31"))
    words = words_of(ran)
    assert "not the sweep that made this folder" in words
    assert "Settings and provenance What varies" in words


@pytest.mark.parametrize("numbers", [None, "<b>", 0, 2**40, 0.5])
def test_a_table_whose_rows_are_of_no_models_is_refused(ran: Run, numbers: object) -> None:
    table = ran.models
    (table.drop(columns="model") if numbers is None else table.assign(model=pd.Series([numbers] * 4))).to_parquet(
        ran.path / "models.parquet"
    )
    with pytest.raises(FolderError, match=r"models.parquet: damaged: 'toymodels tables .*' builds it"):
        write_report(load(ran.path))


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, b"\xff", pd.Timestamp(0), 1e300])
def test_measures_of_any_type_are_shown_as_they_are(ran: Run, value: object) -> None:
    ran.models.assign(loss=pd.Series([value] * 4)).to_parquet(ran.path / "models.parquet")
    assert "4 models" in words_of(ran)


def test_a_run_whose_models_all_diverged_has_a_report(trained: Trained) -> None:
    run = trained(TINIER.replace("batch = 16", 'batch = 16\noptimizer = "sgd"\nlearning_rate = 1e30'))
    assert (run.models["status"] == "diverged").all()
    assert "4 models, 4 diverged" in words_of(run)


def test_a_run_of_one_model_has_a_report(trained: Trained) -> None:
    words = words_of(trained(BODY))
    assert "1 models" in words
    assert "What varies" not in words
