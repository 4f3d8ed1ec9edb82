"""The report: one HTML file with the question, summary, answers and figures of a run, all inlined and escaped."""

from __future__ import annotations

import base64
import html
from pathlib import Path

from toymodels import figures
from toymodels.sweeps import studies
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.summary import as_text, legend, notes, summarise
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unreadable, unwritable
from toymodels.sweeps.studies.document import read

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .15rem .8rem .15rem 0; text-align: left; border-bottom: 1px solid #eee }}
img {{ max-width: 100% }}
</style>
<h1>{title}</h1>
<p>{models} models, {diverged} diverged. {missing}</p>
<table><tr>{head}</tr>
{rows}
</table>
<p><small>{legend}</small></p>
{notes}
{verdict}
{answers}
{images}
<details><summary>The sweep, as resolved</summary><pre>{sweep}</pre></details>
</html>
"""
VERDICT = """<h2>Verdict</h2>
<table><tr>{head}</tr>
{rows}
</table>
<p><small>{claims}</small></p>"""


def write_report(run: Run) -> Path:
    """Write ``report.html`` into the run folder, with whichever figures have been drawn there; returns its path."""
    arms = summarise(run)
    titles, rows = as_text(arms)
    page = PAGE.format(
        title=html.escape(run.question or run.path.name),
        models=f"{sum(arm.models for arm in arms):,}",
        diverged=f"{sum(arm.diverged for arm in arms):,}",
        missing=html.escape(run.missing),
        legend=html.escape(legend(arms)),
        notes="\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in notes(arms)),
        sweep=html.escape(run.sweep_text),
        head=_cells("th", titles),
        rows="\n".join(f"<tr>{_cells('td', row)}</tr>" for row in rows),
        verdict=_verdict(run),
        answers="\n".join(_answer(run, name) for name in studies.NAMES if (run.path / f"{name}.json").exists()),
        images="\n".join(_image(run.path / f"{name}.png") for name in figures.NAMES if _drawn(run, name)),
    )
    path = run.path / "report.html"
    try:
        atomic.write(path, page.encode(errors="replace"))  # a folder may have a name that is no text
    except OSError as error:
        raise unwritable(path, error) from None
    return path


def _cells(tag: str, texts: list[str]) -> str:
    return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)


def _verdict(run: Run) -> str:
    """What ``toymodels verdict`` said, a row a regime; nothing before it ran."""
    if not (run.path / "verdicts.json").exists():
        return ""
    try:
        regimes = run.verdicts["regimes"]
    except FolderError as error:
        return f"<p>{html.escape(str(error))}</p>"
    keys = list(regimes[0]["predictions"])
    claims = [f"{key}: {said['claim']}" for key, said in regimes[0]["predictions"].items()]
    rows = [
        [
            regime["name"] + (" (primary)" if regime["primary"] else ""),
            regime["answer"],
            regime["decided_by"],
            regime["adds"],
            *(regime["predictions"][key]["status"] or "describes" for key in keys),
        ]
        for regime in regimes
    ]
    return VERDICT.format(
        head=_cells("th", ["regime", "answer", "decided by", "SoLU adds two tiers", *keys]),
        rows="\n".join(f"<tr>{_cells('td', row)}</tr>" for row in rows),
        claims=html.escape("; ".join(claims)),
    )


def _answer(run: Run, name: str) -> str:
    """What ``toymodels answer`` said of this study: its question, its answer, and what should be known before."""
    try:
        reply = read(run, name)
    except FolderError as error:
        return f"<p>{html.escape(str(error))}</p>"
    said = "\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in (reply.sentence, *reply.notes))
    return f"<h2>{html.escape(reply.question)}</h2>\n{said}"


def _drawn(run: Run, name: str) -> bool:
    return (run.path / f"{name}.png").is_file()


def _image(path: Path) -> str:
    try:
        data = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise unreadable(path, error) from None
    return f'<p><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}">'
