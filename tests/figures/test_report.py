"""The report says what a run was asked and answered, as text whatever it holds, and which answers are damaged."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.conftest import TINIER
from toymodels.figures.report import write_report
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.studies import document
from toymodels.sweeps.studies.reply import Reply


@pytest.fixture
def ran(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("reported")
    run(make_plan(parse(TINIER, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


def test_answers_are_in_the_report_as_text(ran: Run) -> None:
    assert "<h2>" not in write_report(ran).read_text()
    reply = Reply(
        "Is <b>it</b>?", "It is </script>.", {"a row": pd.DataFrame({"mean": [1.0]})}, ("Of <i>two</i> seeds.",)
    )
    document.write(ran, "how_linear", reply)
    page = write_report(ran).read_text()
    assert "<h2>Is &lt;b&gt;it&lt;/b&gt;?</h2>" in page
    assert "<p>It is &lt;/script&gt;.</p>" in page
    assert "<p>Of &lt;i&gt;two&lt;/i&gt; seeds.</p>" in page


def test_a_damaged_answer_is_named_and_the_report_is_written(ran: Run) -> None:
    (ran.path / "how_linear.json").write_text("{")
    assert "how_linear.json: damaged" in write_report(ran).read_text()
