"""At a glance: what results show of themselves is text, on any page, and does not grow with thousands of models."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import torch

import toymodels as tm
from toymodels.glance import MOST_ROWS, escaped, html_page, html_table
from toymodels.sweeps.execution.estimate import Estimate
from toymodels.sweeps.studies.reply import Reply

HOSTILE = '</table><img src=x onerror="alert(1)">&'
EXPERIMENT = tm.Experiment(tm.Features(n=3, density=0.5), tm.Bottleneck(hidden=2), tm.Training(steps=3, batch=8))
ESTIMATE = Estimate(12_000, 3, 40, 2**20, 5 * 2**20, 100.0, 50.0, 400.0, 2)


class Tags(HTMLParser):
    """Which tags a page has, and its text; every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.add(tag)
        assert attrs == [], tag  # no styles, no colours, no handlers
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def trained(models: int) -> tm.Trained:
    return tm.train([EXPERIMENT] * models, engine="autograd")


def test_whatever_is_shown_is_text() -> None:
    tags = Tags(html_page(HOSTILE, [HOSTILE], html_table([HOSTILE], [[HOSTILE]])))
    assert tags.found == {"div", "strong", "br", "table", "thead", "tbody", "tr", "th", "td"}
    assert tags.text == HOSTILE * 4
    assert len(escaped("<" * 10**6)) < 1000


def test_a_table_shows_some_rows_and_how_many_more() -> None:
    tags = Tags(html_table(["row"], [[row] for row in range(1000)], 10**6))
    assert tags.text.endswith(f"and {1000 - MOST_ROWS + 10**6:,} more")
    assert len(re.findall("<tr>", html_table(["row"], [[1]] * 1000))) == MOST_ROWS + 1


def test_trained_models_say_what_they_are() -> None:
    few = trained(2)
    assert repr(few) == "Trained: 2 models of 3 features, 2 neurons, 3 steps of 8 samples"
    text = Tags(few._repr_html_()).text
    assert f"{float(few.curve[1, -1]):.4g}" in text
    many = trained(200)
    assert len(many._repr_html_()) < 4000
    assert f"and {200 - MOST_ROWS} more" in many._repr_html_()


def test_measures_say_which_columns_there_are_and_what_they_are() -> None:
    few = trained(3)
    measures = tm.measure(few.experiments, few.parameters, 512)
    assert repr(measures).startswith(f"Measures: {len(measures.models)} columns by models [3], ")
    assert "columns by features [3, 3]" in repr(measures)
    text = Tags(measures._repr_html_()).text
    assert f"{float(measures.models['loss'].mean()):.4g}" in text
    assert "features that one neuron at mid (after the activation) predicts with R² > .5" in text.replace(
        " (or targets)", ""
    )
    nothing = tm.Measures({"loss": torch.tensor([torch.nan])}, {}, {}, failed={"models.<b>": "no"})
    assert repr(nothing) == "Measures: 1 columns by models [1]; not measured: models.<b>"
    assert "not measured: models.<b>" in Tags(nothing._repr_html_()).text


def test_an_estimate_and_a_reply_say_what_they_are() -> None:
    assert repr(ESTIMATE) == (
        "Estimate: 12,000 models in 40 packs, about 100 seconds (50 seconds to 6.7 minutes) on this machine, "
        "1 MiB of memory, 5.0 MiB on disk"
    )
    assert "12,000 models in 3 groups, 40 packs" in Tags(ESTIMATE._repr_html_()).text
    reply = Reply(HOSTILE, "yes", {"a table": pd.DataFrame({"mean": [1.5]})}, ["a note"])
    assert repr(reply) == "Reply: yes\ntables: 'a table' (1 rows)"
    assert Tags(reply._repr_html_()).text.startswith(f"{HOSTILE}yesa notea tablemean1.5")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tm.Run:
    of = {
        "question": HOSTILE,
        "features": {"n": 3, "density": 0.5},
        "model": {"hidden": 2, "activation": "relu"},
        "train": {"steps": 5, "batch": 8},
        "eval": {"samples": 64},
        "grid": {"train.learning_rate": {"log": [1e-4, 1e-2, 30]}},
    }
    return tm.sweep(of, seeds=2, out=tmp_path_factory.mktemp("<b>") / "run", engine="autograd", progress=False)


def test_a_run_says_what_it_is(run: tm.Run) -> None:
    assert repr(run) == f"Run {run.path}: 60 models, 2 seeds, by train.learning_rate; engine autograd, cpu"
    tags = Tags(run._repr_html_())
    assert tags.text.startswith(f"{HOSTILE}{run!r}")
    assert tags.text.endswith(f"and {30 - MOST_ROWS} more")
    assert len(run._repr_html_()) < 8000


def test_a_run_that_is_not_finished_says_so(run: tm.Run, tmp_path: Path) -> None:
    partial = Path(shutil.copytree(run.path, tmp_path / "run"))
    (partial / "models.parquet").unlink()
    again = tm.load(partial)
    assert "60 models planned" in repr(again)
    assert "models.parquet: not there yet" in repr(again)
    assert "models.parquet: not there yet" in Tags(again._repr_html_()).text


def test_an_answer_is_that_of_the_study(run: tm.Run) -> None:
    with pytest.raises(tm.SweepError, match="no study is called 'how_liner'"):
        tm.answer(run, "how_liner")
    reply = tm.answer(run.path, "how_linear")
    assert reply.sentence
    assert not (run.path / "how_linear.json").exists()
