"""Verdicts: what the battery says of a run, as the terminal shows it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from toymodels.hypotheses.answers import LINES
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.battery import Verdict, beyond
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.hypotheses.questions import EACH, QUESTIONS
from toymodels.hypotheses.statistics.findings import Finding
from toymodels.hypotheses.tiers import CUTS
from toymodels.metrics.tiers import Tier
from toymodels.sweeps.console.door import say
from toymodels.sweeps.console.printing import stdout
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.verdict.judging import DICTIONARY_CHOICES, Judgement

LEGEND = (
    "Tiers and statistics at the default setting: R² > .5, one neuron at post R² > .5 and above the 99th percentile of "
    "its null, at the eps named first. In all settings: the same at every eps, threshold, cut and percentile, or "
    "undetermined. In brackets: shown beside, decides nothing. Beyond: SoLU + LN minus the LN-only control that leaves "
    "least. See docs/VERDICT.md."
)
UNTUNED = "Arms are not tuned: differences between them are those of an unequal contest (see [tune] in docs/SWEEPS.md)."


def check_options(
    run: Path | None,
    controls: bool,
    dictionaries: str,
    untuned: Path | None,
    *,
    short: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Raise `SpecError` where options of ``toymodels verdict`` do not go together, or one has no such value."""
    if controls == (run is not None):
        raise SpecError("verdict: expected a run folder, or --controls and none")
    if dictionaries not in DICTIONARY_CHOICES:
        raise SpecError(f"--dictionaries: expected {' or '.join(DICTIONARY_CHOICES)}, got '{dictionaries}'")
    if untuned is not None and as_json:
        raise SpecError("--untuned: is shown on the terminal; with --json read the other run's verdicts.json")
    if (short or out is not None) and not controls:
        raise SpecError("--short and --out are of --controls")


def print_judgement(judgement: Judgement) -> None:
    """Print what the battery says of a run: its notes on stderr, every regime, and what the columns mean."""
    for sentence in judgement.notes:
        say(sentence)
    for verdict in judgement.verdicts:
        print_verdict(verdict)
    tuned = f"Tuned for each arm: {', '.join(judgement.tuned)}." if judgement.tuned else UNTUNED
    stdout.print(escape(tuned), highlight=False)
    stdout.print(f"[dim]{LEGEND}[/dim]", highlight=False)


def print_verdict(verdict: Verdict) -> None:
    """One regime: the answer and what decided it, its arms, and a row a statistic, at the default setting."""
    kind = "primary" if verdict.primary else "exploratory"
    name = f"[bold]{escape(verdict.regime)}[/bold] ({kind}, {verdict.seeds} seeds)"
    stdout.print(f"{name}: [bold]{verdict.answer.value}[/bold]", highlight=False)
    stdout.print(
        f"decided by: {escape(verdict.decided_by)}. SoLU adds two tiers: {verdict.adds.value}", highlight=False
    )
    for sentence in verdict.notes:
        stdout.print(escape(sentence), highlight=False)
    print_arms(verdict)
    stdout.print(statistics_table(verdict))


def print_arms(verdict: Verdict) -> None:
    """How many features each arm has in a tier, and what SoLU + LN has beyond it, by default and at each cut of
    alignment."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    cuts = " ".join(f"{cut:g}".removeprefix("0") for cut in CUTS)
    asked = [title for q in QUESTIONS for title in (f"{q.key}: {q.asks}", f"{q.key} at {cuts}")]
    for title in ("arm", "loss fraction", "in neurons", "hidden", *asked):
        table.add_column(title, justify="left")
    findings = verdict.findings[verdict.default]
    for arm, sizes in verdict.tiers[verdict.default].items():
        counts = (f"{sizes[tier]:.1f}" for tier in (Tier.NEURON, Tier.HIDDEN))
        said = (text for q in QUESTIONS for text in (_difference(verdict, q.key, arm), _at_cuts(verdict, q.key, arm)))
        table.add_row(arm, f"{verdict.losses[arm]:.3f}", *counts, *said)
    if any(EACH in findings[q.key] for q in QUESTIONS):
        each = (text for q in QUESTIONS for text in (_statuses(verdict, q.key, EACH), ""))
        table.add_row(f"than {EACH}", "", "", "", *each)
    stdout.print(table)


def _at_cuts(verdict: Verdict, key: str, arm: str) -> str:
    """SoLU + LN minus an arm with features aligned above each of the cuts."""
    settings = [replace(verdict.default, aligned=cut) for cut in CUTS]
    found = [verdict.findings[setting][key].get(arm) for setting in settings]
    return " ".join(_mean(finding, 1) for finding in found if finding is not None)


def _difference(verdict: Verdict, key: str, arm: str) -> str:
    """SoLU + LN minus an arm, with its interval and what that says."""
    finding = verdict.findings[verdict.default][key].get(arm)
    return "" if finding is None else f"{_mean(finding, 1)} ({_interval(finding, 1)}) {_statuses(verdict, key, arm)}"


def _statuses(verdict: Verdict, key: str, arm: str) -> str:
    """The status of a question at the default setting, and at all, where these differ."""
    here, everywhere = verdict.findings[verdict.default][key][arm].status, verdict.questions[key][arm]
    return here.value if here is everywhere else f"{here.value}; in all settings {everywhere.value}"


def statistics_table(verdict: Verdict) -> Table:
    """A row a statistic: first of what says which line of the table of answers applies, then of the predictions."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "claim", "in all settings", "statistic", "mean", "95 % interval", "margin", "here", "beyond"):
        table.add_column(title, justify="right" if title in ("mean", "margin") else "left")
    findings = verdict.findings[verdict.default]
    for finding in findings[LINES].values():
        table.add_row("", "", "", *_row(finding.kind, finding), "")
    for prediction in PREDICTIONS:
        status = verdict.predictions.get(prediction.key)
        first = (prediction.key, prediction.claim, "describes" if status is None else status.value)
        further: Mapping[str, Finding] = findings.get(beyond(prediction.key), {})
        for kind, finding in findings[prediction.key].items():
            named = kind if kind in prediction.decisive else f"({kind})"
            more = further.get(kind)
            of_controls = "" if more is None else f"{_mean(more, 3)} ({_interval(more, 3)}) {more.status.value}"
            table.add_row(*first, *_row(named, finding), of_controls)
            first = ("", "", "")
    return table


def _row(name: str, finding: Finding) -> tuple[str, ...]:
    said = [finding.status.value] if finding.n > 0 or not finding.reason else []
    here = ": ".join([*said, finding.reason] if finding.reason else said)
    return name, _mean(finding, 3), _interval(finding, 3), f"{finding.margin:.3g}", here


def _mean(finding: Finding, digits: int) -> str:
    return f"{finding.mean:.{digits}f}" if finding.mean == finding.mean else "-"


def _interval(finding: Finding, digits: int) -> str:
    if abs(finding.low) < math.inf and finding.low == finding.low:
        return f"{finding.low:.{digits}f} to {finding.high:.{digits}f}"
    return f"of {finding.n} seeds: none"


def print_untuned(regime: Mapping[str, Any]) -> None:
    """Q1 and Q2 of the primary regime of a run whose arms were not tuned, from its ``verdicts.json``."""
    (default,) = [at for at in regime["settings_of_analysis"] if at["default"]]
    stdout.print(f"untuned, {escape(regime['name'])}: {regime['answer']}", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("arm", "in neurons", "hidden", *(q.key for q in QUESTIONS)):
        table.add_column(title)
    for arm, sizes in default["tiers"].items():
        said = (_said(default["statistics"][q.key], arm) for q in QUESTIONS)
        table.add_row(arm, f"{sizes['neuron']:.1f}", f"{sizes['hidden']:.1f}", *said)
    stdout.print(table)


def _said(findings: Iterable[Mapping[str, Any]], arm: str) -> str:
    for finding in findings:
        if finding["statistic"] == arm != MAIN and finding["mean"] is not None:
            low, high = (f"{x:.1f}" if x is not None else "?" for x in (finding["low"], finding["high"]))
            return f"{finding['mean']:.1f} ({low} to {high}) {finding['status']}"
    return ""
