"""Parts: a tuned sweep is trained in two, its tuning and then the sweep itself; any other in one."""

from __future__ import annotations

from toymodels.sweeps.console import ending
from toymodels.sweeps.console.door import say
from toymodels.sweeps.console.progress import Progress
from toymodels.sweeps.console.request import Request
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import Outcome, run
from toymodels.sweeps.store.tuning import make_tuning_folder


def train(request: Request, retry_failed: bool) -> Outcome:
    """Train what is not there of a request, and show on stderr how far that is."""
    say(str(request))
    with Progress(request.models, request.part) as progress:
        return run(
            request.plan,
            request.folder,
            request.engine,
            request.device,
            progress.reporter,
            shard=request.shard,
            retry_failed=retry_failed,
            executor=request.executor,
        )


def tuned(request: Request, retry_failed: bool, as_json: bool) -> Request | None:
    """The request with settings chosen for every arm, for which its tuning is trained where it is not there.

    None for a shard where other shards' packs of the tuning are missing, which is printed. Raises ``typer.Exit`` where
    packs failed.
    """
    if request.tuning is None:
        return request
    make_tuning_folder(request.folder, request.sweep, request.tuning.plan)
    outcome = train(request.tuning, retry_failed)
    if outcome.missing:
        ending.say_tuning_shard(request.tuning, outcome, as_json)
        return None
    if outcome.failed:
        ending.fail_tuning(request.tuning, outcome)
    chosen = request.chosen(Reporter(note=say))
    ending.say_tuned(chosen)
    return chosen
