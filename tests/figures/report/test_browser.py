"""The report in a real browser: it loads nothing, complains of nothing; one can click, filter, sort and come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.figures.report.conftest import EVIL
from toymodels.figures.report import carried, write_report
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.studies import document
from toymodels.sweeps.studies.reply import Reply

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PIXEL = "() => getComputedStyle(document.body).backgroundColor"


@contextmanager
def opened(browser: Browser, run: Run, address: str = "", **how: Any) -> Iterator[Page]:
    """The report of a run in a page of its own. Fails where the page asks for anything but itself, or complains."""
    path = write_report(load(run.path))
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900}, **how)
    page, wrong = context.new_page(), []
    page.set_default_timeout(60_000)  # a busy machine is slow
    page.on("request", lambda request: wrong.extend([request.url] * (not request.url.startswith(("file:", "data:")))))
    page.on("console", lambda said: wrong.extend([said.text] * (said.type in ("error", "assert"))))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.goto(path.as_uri() + address)
    if how.get("java_script_enabled", True):
        page.wait_for_selector("#points .point, #points canvas")
    yield page
    context.close()
    assert wrong == []


def settled(page: Page) -> None:
    """Wait until what was chosen is drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def click_point(page: Page, model: int) -> None:
    """Click the point of a model where the plot has it."""
    x, y = page.evaluate(
        """model => {
            const plot = document.getElementById("points"), {xaxis, yaxis} = plot._fullLayout;
            plot.scrollIntoView({block: "center", behavior: "instant"});
            const box = plot.getBoundingClientRect();
            for (const trace of plot.data) {
                const place = (trace.customdata ?? []).indexOf(model);
                const of = (axis, value) => axis._offset + axis.d2p(value);
                if (place >= 0) return [box.x + of(xaxis, trace.x[place]), box.y + of(yaxis, trace.y[place])];
            }
        }""",
        model,
    )
    page.mouse.move(x, y)
    page.wait_for_selector("#points .hoverlayer .hovertext")
    page.mouse.click(x, y)


def rows(page: Page, host: str = "#models") -> list[list[str]]:
    cells = "row => [...row.cells].map(cell => cell.textContent)"
    return page.evaluate(f"host => [...document.querySelectorAll(`${{host}} tbody tr`)].map({cells})", host)


def test_a_model_is_clicked_filtered_sorted_and_found_again(browser: Browser, ran: Run) -> None:
    losses = ran.models["loss_fraction"]
    with opened(browser, ran, "#x=seed&y=loss_fraction") as page:
        click_point(page, 2)
        page.wait_for_selector("#model h3")
        assert page.locator("#model h3").text_content() == "Model 2: solu Close"
        assert "model=2" in page.url
        for shown in ("#weights .heatmaplayer image", "#plane .point"):
            assert page.locator(shown).count() > 0
        W = ran.model(2).parameters.W_in[0].numpy()
        held = page.evaluate("() => unpacked().then(run => [...run.weights(2).values])")
        assert held == W.astype(np.float16).astype(np.float64).ravel().tolist()
        features = ran.features[ran.features["model"] == 2]
        assert [row[:2] for row in rows(page, "#model section.rows:nth-of-type(1)")] == [
            [str(row.feature), row.tier] for row in features.itertuples()
        ]
        assert page.locator("#model section.rows h4").all_text_contents() == ["Features", "Neurons"]

        page.get_by_role("combobox", name="hidden layer", exact=True).select_option("solu")
        settled(page)
        assert page.locator("#counted").text_content() == "2 of 4 models"
        assert [row[0] for row in rows(page)] == ["2", "3"]
        page.locator("#models th button", has_text="loss fraction").click()
        page.wait_for_selector("#models th[aria-sort=descending]")
        order = [str(model) for model in losses[[2, 3]].sort_values(ascending=False).index]
        assert [row[0] for row in rows(page)] == order
        kept = page.url

        page.reload()
        page.wait_for_selector("#model h3")
        assert page.url == kept
        assert page.locator("#model h3").text_content() == "Model 2: solu Close"
        assert [row[0] for row in rows(page)] == order
        page.get_by_role("combobox", name="hidden layer", exact=True).select_option("any")
        page.get_by_role("button", name="Model 0", exact=True).click()
        assert page.locator("#model h3").text_content() == "Model 0: relu Close"
        page.get_by_role("button", name="Close").click()
        assert page.locator("#model").is_hidden()


def hostile(run: Run) -> None:
    """Put `EVIL` wherever a run folder that somebody else made may have words."""
    document.write(run, "how_linear", Reply(EVIL, EVIL, {EVIL: pd.DataFrame({EVIL: [EVIL]})}, (EVIL,)))
    for name, column in (("models", "model.activation"), ("models", "status"), ("features", "tier")):
        path = run.path / f"{name}.parquet"
        table = pq.read_table(path)
        words = [EVIL if row % 2 else "<b>relu</b>" for row in range(len(table))]
        pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(words)), path)
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps(manifest | {"engine": EVIL, "versions": {EVIL: EVIL}}))


def test_hostile_names_stay_text(browser: Browser, ran: Run) -> None:
    hostile(ran)
    with opened(browser, ran, "#x=status&colour=model.activation&model=1") as page:
        page.wait_for_selector("#model h3")
        click_point(page, 1)
        assert page.evaluate("() => window.hit") is None
        assert page.locator("img, b, iframe").count() == 0
        for place in ("h1", "#legend", "#model h3", "#points .hoverlayer", "#points .xaxislayer-above", "#evidence"):
            assert EVIL in (page.locator(place).text_content() or "").replace("\n", ""), place


@pytest.mark.parametrize("scheme, background", [("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 24, 29)")])
def test_the_page_is_light_or_dark_as_the_reader_has_it(
    browser: Browser, ran: Run, tmp_path: Path, scheme: str, background: str
) -> None:
    (ran.path / "tms_intro.svg").write_bytes(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    (ran.path / "tms_intro.dark.svg").write_bytes(b'<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>')
    with opened(browser, ran, "#model=0", color_scheme=scheme) as page:
        page.wait_for_selector("#weights .heatmaplayer image")
        assert page.evaluate(PIXEL) == background
        width = page.evaluate("() => document.querySelector('figure img').naturalWidth")
        assert width == (9 if scheme == "light" else 7)
        page.set_viewport_size({"width": 400, "height": 800})
        page.wait_for_function(
            "() => document.documentElement.scrollWidth <= 400"
        )  # nothing sticks out of a small screen
        page.screenshot(path=tmp_path / f"{scheme}.png")


def test_without_javascript_it_is_a_page_to_read(browser: Browser, ran: Run) -> None:
    document.write(ran, "how_linear", Reply("How?", "So.", {}))
    (ran.path / "tms_intro.svg").write_bytes(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    with opened(browser, ran, java_script_enabled=False) as page:
        for shown in ("h1", ".said", "#arms table", "#figures img", "#provenance", "text=needs JavaScript"):
            assert page.locator(shown).first.is_visible(), shown
        assert page.locator("#explore").is_hidden()


def test_thousands_of_models_are_drawn_up_to_the_limit_that_the_page_says(
    browser: Browser, ran: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carried, "MOST_POINTS", 2500)
    path, many = ran.path / "models.parquet", 3000
    models = pd.concat([ran.models] * (many // 4), ignore_index=True).assign(model=range(many), seed=range(many))
    models["loss_fraction"] = np.linspace(0.1, 0.9, many)
    models.to_parquet(path)
    with opened(browser, ran, "#x=seed&y=loss_fraction") as page:
        assert page.evaluate("() => document.getElementById('points').data[0].type") == "scattergl"
        assert page.locator("text=The explorer shows 2,500 of 3,000 models").count() == 1
        click_point(page, 1250)
        page.wait_for_selector("#model h3")
        assert "The page does not carry this model's." in (page.locator("#model").text_content() or "")
        page.get_by_role("button", name="Next").click()
        assert rows(page)[0][0] == "25"
