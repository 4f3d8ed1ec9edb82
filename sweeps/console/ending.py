"""The ending: what a sweep, or one shard of it, says when it is done, and the exit code of what failed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toymodels.hypotheses.arms import MAIN
from toymodels.sweeps import studies
from toymodels.sweeps.console import documents
from toymodels.sweeps.console.door import say, this_command
from toymodels.sweeps.console.printing import print_summary
from toymodels.sweeps.errors import PacksFailed
from toymodels.sweeps.plan.choice import at_ends
from toymodels.sweeps.results import curves, tables
from toymodels.sweeps.results.arms import hidden_layer
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.summary import notes, summarise

if TYPE_CHECKING:
    from toymodels.sweeps.console.request import Request
    from toymodels.sweeps.execution.run import Outcome


def say_sweep(request: Request, outcome: Outcome, trained: Run, drawn: Sequence[Path], as_json: bool) -> None:
    """Print the summary of a sweep, where things are, what comes next, and what diverged.

    Raises `PacksFailed` where packs failed.
    """
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
        say(diverged(outcome))
    raise_failed(request, outcome)


def diverged(outcome: Outcome) -> str:
    """How many models of a sweep diverged, and what that means for its tables, as a sentence."""
    share = "every model" if outcome.diverged == outcome.models else f"{outcome.diverged} of {outcome.models} models"
    return f"{share} diverged: their measures are empty (status = diverged in models.parquet)"


def raise_failed(request: Request, outcome: Outcome) -> None:
    """Raise `PacksFailed` where packs of a sweep, or of a shard of it, failed."""
    if outcome.failed:
        of = f"packs of shard {request.shard}" if request.shard else f"of {len(request.plan.packs)} packs"
        raise PacksFailed(f"{len(outcome.failed)} {of} failed; the rest is finished in {request.folder}")


def say_shard(request: Request, outcome: Outcome, as_json: bool) -> None:
    """Print how a shard of a sweep, or of its tuning where that is not complete, ended, and what is still to come.

    Raises `PacksFailed` where packs failed.
    """
    if request.part == "tuning":
        _say_tuning_shard(request, outcome, as_json)
        return
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
    raise_failed(request, outcome)


def _say_tuning_shard(request: Request, outcome: Outcome, as_json: bool) -> None:
    """Print how a shard of a tuning ended where other shards' packs are missing, and what is to be done then."""
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
        raise tuning_failed(request, outcome)


def tuning_failed(request: Request, outcome: Outcome) -> PacksFailed:
    """The failure of a tuning of which packs failed, without which nothing can be chosen."""
    failed, packs = len(outcome.failed), len(request.plan.packs)
    return PacksFailed(
        f"{failed} of {packs} packs of the tuning failed, so nothing is chosen yet; the rest is finished in "
        f"{request.folder}: the same command tries again, with --retry-failed also those that failed twice"
    )


def tuned(request: Request) -> list[str]:
    """What a tuning chose, for a request in which that is done, and how much of a choice it was, a sentence each."""
    tuning = request.plan.sweep.tuning
    assert tuning is not None
    sizes = {"arm": len(tuning.chosen), "candidate": len(tuning.candidates), "seed": len(tuning.seeds)}
    arms, candidates, seeds = (f"{size:,} {name}{'s' if size > 1 else ''}" for name, size in sizes.items())
    near = sum(bool(choice.near) for choice in tuning.chosen)
    tied = f"in {near:,} of them another candidate came within 1 % of the chosen one" if near else "none a near tie"
    place = request.folder / "manifest.json"
    chosen = f"tuned: settings chosen for {arms}, among {candidates} on {seeds}, {tied}: see tuned in {place}"
    return [chosen, *at_ends(tuning)]


def can_be_judged(run: Run) -> bool:
    """Whether a run has SoLU with LayerNorm, and features to put into tiers."""
    if run.models["features_recovered"].isna().all():
        return False  # targets are not features, or nothing was learned
    with_norm = run.models.loc[run.models["model.layer_norm"], "model.activation"].unique()
    return MAIN in {hidden_layer(activation, layer_norm=True) for activation in with_norm}
