"""Parts: a tuned sweep is trained in two, its tuning and then the sweep itself; any other in one.

What `carry_out` does is what the command ``toymodels sweep`` and the function ``toymodels.sweep`` have in common, from
a `Request` to its models.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

from toymodels.sweeps.console import ending
from toymodels.sweeps.console.audience import Audience
from toymodels.sweeps.console.progress import Progress
from toymodels.sweeps.console.request import Request
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import Outcome, run
from toymodels.sweeps.store.tuning import make_tuning_folder


@dataclass(frozen=True)
class Done:
    """What was asked for, with settings chosen for every arm, and how it ended; of a shard that must wait for other
    shards' packs of the tuning it is the tuning."""

    request: Request
    outcome: Outcome


def carry_out(request: Request, retry_failed: bool, audience: Audience) -> Done:
    """Train what is not there of a request, its tuning first, and tell the audience how far that is.

    Raises `PacksFailed` where packs of the tuning failed, without which nothing can be chosen.
    """
    if request.tuning is not None:
        make_tuning_folder(request.folder, request.sweep, request.tuning.plan)
        outcome = _train(request.tuning, retry_failed, audience)
        if outcome.missing:
            return Done(request.tuning, outcome)
        if outcome.failed:
            raise ending.tuning_failed(request.tuning, outcome)
        request = request.chosen(Reporter(note=audience.say))
        for sentence in ending.tuned(request):
            audience.say(sentence)
    return Done(request, _train(request, retry_failed, audience))


def _train(request: Request, retry_failed: bool, audience: Audience) -> Outcome:
    progress = Progress(request.models, request.part, audience)

    def opened() -> None:
        """The folder does not refuse the request."""
        audience.say(str(request))
        stack.enter_context(progress)

    with ExitStack() as stack:
        return run(
            request.plan,
            request.folder,
            request.engine,
            request.device,
            replace(progress.reporter, opened=opened),
            shard=request.shard,
            retry_failed=retry_failed,
            executor=request.executor,
        )
