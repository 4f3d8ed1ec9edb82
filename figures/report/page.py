"""The page: a template filled with text, and a policy that lets nothing run or load but what the page came with.

Content security policy: scripts and style sheets by the SHA-256 of their text, images from the page alone, nothing from
anywhere else, no ``eval``, no handlers in tags. Plotly's script is gzipped in the page (2 MB in the place of
5); ours inflates it and puts it in, and it runs because its digest is the one that the policy names.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from toymodels.figures.report import plotly
from toymodels.figures.report.answers import Grid, found
from toymodels.figures.report.explorer import explorer
from toymodels.figures.report.packed import in_base64
from toymodels.figures.report.pictures import pictures
from toymodels.figures.report.provenance import provenance
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.summary import as_text, legend, notes, summarise

HERE = Path(__file__).parent
SCRIPTS = ("unpack", "look", "table", "model", "points", "explorer")
"""Our scripts, in the order in which they become one."""


def render(run: Run) -> str:
    """The page of a run, as HTML."""
    arms = summarise(run)
    titles, rows = as_text(arms)
    shown, no_images = pictures(run)
    answers, no_answers = found(run)
    script = "\n".join((HERE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    style = (HERE / "style.css").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            policy=_policy(script, style),
            style=style,
            script=script,
            plotly=in_base64(plotly.gzipped()),
            title=run.question or run.path.name,
            folder=run.path.name,
            models=sum(arm.models for arm in arms),
            diverged=sum(arm.diverged for arm in arms),
            missing=run.missing,
            answers=answers,
            problems=[*no_answers, *no_images],
            summary=Grid("Arms", titles, rows),
            legend=legend(arms),
            notes=[*notes(arms), *run.tuned_at_ends],
            pictures=shown,
            explorer=explorer(run),
            provenance=provenance(run),
            made_by=f"toymodels {version('toymodels')}",
            plotly_version=plotly.VERSION,
        )
    )


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return made


def _policy(script: str, style: str) -> str:
    scripts = " ".join(["'sha256-" + in_base64(bytes.fromhex(plotly.SHA256)) + "'", _digest(script)])
    styles = " ".join(["'unsafe-hashes'", _digest(style), *(f"'{each}'" for each in plotly.STYLES)])
    nothing_else = "img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {scripts}; style-src {styles}; {nothing_else}"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
