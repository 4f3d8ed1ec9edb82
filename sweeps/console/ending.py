"""The ending: what a sweep, or one shard of it, says when it is done, and the exit code of what failed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from toymodels.hypotheses.arms import MAIN
from toymodels.sweeps import studies
from toymodels.sweeps.console import documents
from toymodels.sweeps.console.door import fail, say, this_command
from toymodels.sweeps.console.printing import print_summary
from toymodels.sweeps.plan.choice import at_ends
from toymodels.sweeps.results import curves, tables
from toymodels.sweeps.results.arms import hidden_layer
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.summary import notes, summarise

if TYPE_CHECKING:
    from toymodels.sweeps.console.request import Request
    from toymodels.sweeps.execution.run import Outcome

SOME_FAILED = 3
"""the exit code of a sweep that left packs out"""


def say_sweep(request: Request, outcome: Outcome, trained: Run, drawn: Sequence[Path], as_json: bool) -> None:
    """Print the summary of a sweep, where things are, what comes next, and what diverged or failed."""
    packs, folder = len(request.plan.packs), request.folder
    arms = summarise(trained) if len(outcome.failed) < packs else []
    all_diverged = outcome.diverged == outcome.models
    tuning = request.plan.sweep.tuning
    said = [*notes(arms), *(at_ends(tuning) if tuning is not None else [])]
    if as_json:
        documents.print_document(documents.of_sweep(folder, outcome, drawn, arms, said, tuning))
    else:
        print_summary(request.sweep.question or request.sweep.stem, arms, said)
        names = (*tables.TABLES, tables.TARGETS, curves.NAME)
        written = [path for table in names if (path := folder / f"{table}.parquet").exists()]
        for path in [*written, *drawn]:
            print(path)
        following = "verdict" if arms and not all_diverged and can_be_judged(trained) else "report"
        if request.sweep.stem in studies.NAMES and not all_diverged:
            following = f"answer {request.sweep.stem}"
        print(f"Next: toymodels {following} {shlex.quote(str(folder))}")
    if outcome.diverged:
        share = "every model" if all_diverged else f"{outcome.diverged} of {outcome.models} models"
        say(f"{share} diverged: their measures are empty (status = diverged in models.parquet)")
    if outcome.failed:
        fail(f"{len(outcome.failed)} of {packs} packs failed; the rest is finished in {folder}", SOME_FAILED)


def say_shard(request: Request, outcome: Outcome, as_json: bool) -> None:
    """Print how a shard ended, and what of the whole sweep is still to come."""
    shard, packs, folder = request.shard, len(request.plan.packs), request.folder
    assert shard is not None
    if as_json:
        documents.print_document(documents.of_shard(shard, packs, folder, outcome))
    elif outcome.missing:
        print(f"shard {shard} is finished; {outcome.missing} of {packs} packs are not there yet")
    else:
        print(f"shard {shard} is finished, and all {packs} packs are there")
        if not outcome.untabled:
            print(f"Next: toymodels show {shlex.quote(str(folder))}")
    if outcome.untabled:
        say(outcome.untabled)
    if outcome.failed:
        failed = f"{len(outcome.failed)} packs of shard {shard} failed"
        fail(f"{failed}; the rest is finished in {folder}", SOME_FAILED)


def say_tuning_shard(request: Request, outcome: Outcome, as_json: bool) -> None:
    """Print how a shard of a tuning ended where other shards' packs are missing, and what is to be done then.

    Raises ``typer.Exit`` where packs of its own failed.
    """
    shard, packs = request.shard, len(request.plan.packs)
    assert shard is not None
    if as_json:
        documents.print_document(documents.of_shard(shard, packs, request.folder, outcome) | {"part": request.part})
    else:
        print(
            f"shard {shard} of the tuning is finished; {outcome.missing} of its {packs} packs are not there yet, and "
            f"the tuning must be complete before the sweep begins: then run again: {this_command()}"
        )
    if outcome.failed:
        fail_tuning(request, outcome)


def fail_tuning(request: Request, outcome: Outcome) -> NoReturn:
    """Leave because packs of a tuning failed, without which nothing can be chosen. Raises ``typer.Exit``."""
    failed, packs = len(outcome.failed), len(request.plan.packs)
    fail(
        f"{failed} of {packs} packs of the tuning failed, so nothing is chosen yet; the rest is finished in "
        f"{request.folder}: the same command tries again, with --retry-failed also those that failed twice",
        SOME_FAILED,
    )


def say_tuned(request: Request) -> None:
    """Say what a tuning chose, for a request in which that is done, and how much of a choice it was."""
    tuning = request.plan.sweep.tuning
    assert tuning is not None
    sizes = {"arm": len(tuning.chosen), "candidate": len(tuning.candidates), "seed": len(tuning.seeds)}
    arms, candidates, seeds = (f"{size:,} {name}{'s' if size > 1 else ''}" for name, size in sizes.items())
    near = sum(bool(choice.near) for choice in tuning.chosen)
    tied = f"in {near:,} of them another candidate came within 1 % of the chosen one" if near else "none a near tie"
    place = request.folder / "manifest.json"
    say(f"tuned: settings chosen for {arms}, among {candidates} on {seeds}, {tied}: see tuned in {place}")
    for sentence in at_ends(tuning):
        say(sentence)


def can_be_judged(run: Run) -> bool:
    """Whether a run has SoLU with LayerNorm, and features to put into tiers."""
    if run.models["features_recovered"].isna().all():
        return False  # targets are not features, or nothing was learned
    with_norm = run.models.loc[run.models["model.layer_norm"], "model.activation"].unique()
    return MAIN in {hidden_layer(activation, layer_norm=True) for activation in with_norm}
