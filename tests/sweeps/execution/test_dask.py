"""What a cluster's executor says of packs, with a client that does as it is told (real ones: tests/faults)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from distributed import Client

from tests.conftest import TINIER
from toymodels.sweeps.execution import dask
from toymodels.sweeps.execution.executor import Executor, Failed
from toymodels.sweeps.execution.reporter import Reporter
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.execution.workers import CarriedOut, Order, order_of
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.pulse import Pulse
from toymodels.sweeps.store.store import Store

HEARD = (1.5, 0.5)
"""models' worth of training that is heard of each pack, of two models"""


class Given:
    """The future of a pack that fails."""

    status = "finished"

    def __init__(self, index: int) -> None:
        self.key = index

    def add_done_callback(self, call: Callable[[Given], None]) -> None:
        self.call = call

    def result(self) -> CarriedOut:
        return CarriedOut(Failed(self.key, "no room"))

    def release(self) -> None:
        pass


class TwoWorkers:
    """A client whose two workers tell how far each pack is; then the first pack fails, and later the other."""

    id = "two"

    def __init__(self) -> None:
        self.given: list[Given] = []

    def nthreads(self) -> dict[str, int]:
        if len(self.given) == len(HEARD):  # both are at work
            for future in self.given:
                self.heard((0.0, (future.key, HEARD[future.key])))
                future.call(future)
            self.given = []
        return {"one": 1, "other": 1}

    def subscribe_topic(self, topic: str, handler: Callable[[Any], None]) -> None:
        if topic != "all":
            self.heard = handler

    def submit(self, _: object, order: Order, **__: object) -> Given:
        self.given.append(Given(order.pack.index))
        return self.given[-1]


class OnTwoWorkers(Executor):
    """Trains on them."""

    def finish(self, jobs: Any, reporter: Reporter) -> Any:
        order = partial(order_of, engine="autograd", device="cpu", made_with={})
        yield from dask._finish_on(cast("Client", TwoWorkers()), order, jobs, reporter)


def test_of_a_pack_that_failed_only_what_was_heard_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what was heard of the other, which is still in training, stays."""
    said: list[Pulse] = []
    monkeypatch.setattr(Store, "say", lambda _, pulse: said.append(pulse))
    plan = make_plan(parse(TINIER, "tiny", "tiny.toml"))
    outcome = run(plan, tmp_path / "run", "autograd", "cpu", executor=OnTwoWorkers())
    assert outcome.failed == dict.fromkeys((0, 1), "no room")
    assert [pulse.unstored for pulse in said[-2:]] == [0.5, 0.0]
