"""Printing: results as the terminal shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from toymodels.hypotheses.battery import Verdict
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.sweeps.console import documents
from toymodels.sweeps.console.door import say
from toymodels.sweeps.execution.estimate import Estimate
from toymodels.sweeps.results.summary import MEASURED, ArmSummary, as_text, legend
from toymodels.sweeps.verdict.judging import Judgement

MAX_ROWS = 60
VERDICT_LEGEND = (
    "here: R² > .5 and the 99th percentile of alignment at mid, at the eps named; in all settings: the same for every "
    "eps, threshold and percentile, or undetermined. In brackets: shown beside, decides nothing. See docs/VERDICT.md."
)
WIDE = 160
"""Columns of a table: a narrower terminal breaks lines, never cells."""


class Out(Console):
    """A console that leaves a closed pipe to `Door`."""

    def on_broken_pipe(self) -> None:
        """Whoever read us has had enough."""
        raise BrokenPipeError


stdout = Out(width=WIDE)


def print_summary(question: str, arms: list[ArmSummary], notes: Sequence[str]) -> None:
    """Print the question of a sweep, its summary table, what the columns mean, and notes on what should be known."""
    stdout.print(f"[bold]{escape(question)}[/bold]", highlight=False)
    stdout.print(arm_table(arms))
    if len(arms) > MAX_ROWS:
        print(f"the first {MAX_ROWS} of {len(arms)} arms; all are in models.parquet")
    stdout.print(f"[dim]{legend(arms)}[/dim]", highlight=False)
    for sentence in notes:
        stdout.print(escape(sentence), highlight=False)


def arm_table(arms: list[ArmSummary]) -> Table:
    """The summary as a table for the terminal."""
    titles, rows = as_text(arms)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title in MEASURED else "left")
    for row in rows[:MAX_ROWS]:
        table.add_row(*row)
    return table


def print_verdict(verdict: Verdict) -> None:
    """One regime: the overall verdict and a row a statistic, at the default setting of the analysis."""
    neuron, hidden = verdict.tiers[verdict.default]
    kind = "primary" if verdict.primary else "exploratory"
    stdout.print(f"[bold]{escape(verdict.regime)}[/bold] ({kind}, {verdict.seeds} seeds): [bold]{verdict.said}[/bold]")
    tiers = f"in tier neuron {neuron:.1f}, in tier hidden {hidden:.1f}"
    print(f"features a model {tiers} (LayerNorm eps {verdict.default.eps})")
    for sentence in verdict.notes:
        print(sentence)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "prediction", "in all settings", "statistic", "mean", "95 % interval", "margin", "here"):
        table.add_column(title, justify="right" if title in ("mean", "margin") else "left")
    for prediction in PREDICTIONS:
        first = (prediction.key, prediction.claim, verdict.predictions[prediction.key].value)
        for name, finding in verdict.findings[verdict.default][prediction.key].items():
            defined = finding.mean == finding.mean
            table.add_row(
                *first,
                name if name in prediction.decisive else f"({name})",
                f"{finding.mean:.3f}" if defined else "-",
                f"{finding.low:.3f} to {finding.high:.3f}"
                if abs(finding.low) < math.inf
                else f"of {finding.n} seeds: none",
                f"{finding.margin:.3g}",
                finding.status.value + (f": {finding.reason}" if finding.reason else ""),
            )
            first = ("", "", "")
    stdout.print(table)


def print_judgement(judgement: Judgement) -> None:
    """Print what the battery says of a run: its notes on stderr, every regime, and what the columns mean."""
    for sentence in judgement.notes:
        say(sentence)
    for verdict in judgement.verdicts:
        print_verdict(verdict)
    stdout.print(f"[dim]{VERDICT_LEGEND}[/dim]", highlight=False)


def print_estimate(sweep: str, as_json: bool, estimate: Estimate, tuning: Estimate | None = None) -> None:
    """Print what a sweep will take: models, memory, disk and time; where it is tuned first, what that takes too."""
    if as_json:
        documents.print_document(documents.of_estimate(sweep, estimate, tuning))
        return
    if tuning is not None:
        _print_part(f"{sweep}, tuning", tuning)
    _print_part(f"{sweep}, sweep" if tuning is not None else sweep, estimate)
    if tuning is not None:
        parts = (tuning, estimate)
        low, high = span(sum(part.seconds_low for part in parts)), span(sum(part.seconds_high for part in parts))
        print(f"together: {sum(part.models for part in parts):,} models")
        print(f"time: about {span(sum(part.seconds for part in parts))} ({low} to {high}) on this machine")


def _print_part(name: str, estimate: Estimate) -> None:
    print(f"{name}: {estimate.models:,} models in {estimate.groups} groups, {estimate.packs} packs")
    print(f"memory: {estimate.memory_bytes / 2**20:,.0f} MiB for the largest pack")
    print(f"disk: {estimate.disk_bytes / 2**20:,.1f} MiB")
    low, high = span(estimate.seconds_low), span(estimate.seconds_high)
    print(f"time: about {span(estimate.seconds)} ({low} to {high}) on this machine")
    print(f"timed: {estimate.groups_measured} of {estimate.groups} groups; the others are told from these")


def span(seconds: float) -> str:
    """A length of time as one would say it."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 10 else f"{seconds:.1f} seconds"
