"""Estimates: counted where they can be, bounded in time whatever the grid, between an idle machine and a busy one."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

import toymodels as tm
from toymodels.engines import ENGINES, train
from toymodels.engines.engine import OnProgress
from toymodels.sweeps.execution import burst as bursts
from toymodels.sweeps.execution import estimate as estimating
from toymodels.sweeps.execution.burst import Moment, shrunk, training_seconds
from toymodels.sweeps.execution.costs import NOISE, UNKNOWN, reference
from toymodels.sweeps.execution.estimate import estimate, span
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.spec.sweep import parse

SIXTY = """
[features]
n = 64
density = 0.05
[model]
hidden = 16
[train]
batch = 256
[grid]
"model.hidden" = { range = [16, 31] }
"model.layer_norm" = [false, true]
"model.activation" = ["relu", "solu"]
seed = { range = [0, 20] }
"""


def plan(text: str = SIXTY) -> Plan:
    return make_plan(parse(text, "file", "file.toml"))


class Machine:
    """A machine on which time passes only where models are trained and measured, and which takes what it is told to."""

    def __init__(self, idle: float, now: float) -> None:
        self.idle, self.now, self.clock = idle, now, 0.0
        self.timed: list[int] = []

    def monotonic(self) -> float:
        return self.clock

    def burst(
        self, experiments: Sequence[tm.Experiment], samples: int, _engine: str, _device: str, *_: object
    ) -> np.ndarray:
        self.clock += 0.7
        self.timed.append(experiments[0].bottleneck.hidden)
        return reference(experiments[0], samples)[:, None] * np.array([self.idle, self.now])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A busy one: everything takes four times as long as if it were idle."""
    machine = Machine(0.5, 2.0)
    monkeypatch.setattr(estimating, "burst", machine.burst)
    monkeypatch.setattr(estimating, "time", machine)
    return machine


def test_sixty_groups_are_told_from_some_and_add_up(machine: Machine) -> None:
    made = plan()
    told = estimate(made, "fused", "cpu")
    assert (told.models, told.groups, told.groups_measured) == (1200, 60, len(machine.timed))
    assert 10 <= told.groups_measured <= 14
    assert machine.clock <= estimating.SECONDS
    assert (machine.timed[0], max(machine.timed)) == (16, 30)
    every = plan().experiments(plan().settings(range(1200)))
    seconds = np.stack([reference(e, 50_000) for e in every])
    widths = {e.bottleneck.hidden: of_one[2] for e, of_one in zip(every, seconds, strict=True)}
    whole = seconds[:, :2].sum() + 2 * sum(widths.values())  # the widths come once with ReLU and once with SoLU
    assert told.seconds == pytest.approx(whole)  # of an idle and a busy machine, 1/2 and 2, the mean of the logarithms
    assert told.seconds_low == pytest.approx(0.5 * whole / NOISE)
    assert told.seconds_high == pytest.approx(2 * whole * NOISE)


def test_memory_and_disk_are_counted_as_if_every_model_were_made(machine: Machine) -> None:
    made = plan()
    packs = [made.experiments(made.settings(pack.models)) for pack in made.packs]
    for engine in ("fused", "autograd"):
        told = estimate(made, engine, "cpu")
        assert told.memory_bytes == max(ENGINES[engine].bytes_needed(pack) for pack in packs)
        assert told.disk_bytes == sum(estimating._disk_bytes(e) for pack in packs for e in pack)
    assert told.packs == len(packs)


def test_pairs_take_disk_for_a_row_each() -> None:
    def disk(pairs: int) -> int:
        reads = tm.Bottleneck(4, tied=False, output=tm.Linear())
        return estimating._disk_bytes(tm.Experiment(tm.Features(40, 0.1), reads, target=tm.And(pairs)))

    assert disk(500) - disk(100) > 400 * (4 * 5 + 8 * 10)


def test_a_group_of_which_nothing_can_be_timed_is_said_and_its_range_is_wide(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise tm.OutOfMemory("one model does not fit in memory")

    monkeypatch.setattr(estimating, "burst", refused)
    told = estimate(plan(), "fused", "cpu")
    assert told.groups_measured == 0
    assert told.seconds_high / told.seconds_low == pytest.approx(UNKNOWN**2)


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_a_real_estimate_takes_no_longer_than_it_may(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(SIXTY.replace("[train]", "[train]\nsteps = 400").replace("[grid]", "[eval]\nsamples = 2000\n[grid]"))
    train(made.experiments(made.settings([0])), engine=engine)  # compiled, or loaded
    monkeypatch.setattr(estimating, "SECONDS", 2.0)
    begin = time.process_time()
    told = estimate(made, engine, "cpu")
    assert time.process_time() - begin < 10
    assert 1 <= told.groups_measured < 60
    assert 0 < told.seconds_low < told.seconds < told.seconds_high


def test_training_is_watched_for_a_moment_and_told_in_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine of which the first report comes late, and then ten steps a second."""
    clock = iter(np.cumsum([100.0, 5.0, *[0.1] * 1000]).tolist())
    monkeypatch.setattr(Moment, "now", staticmethod(lambda _: Moment(wall := next(clock), wall, wall)))

    def engine(experiments: Sequence[tm.Experiment], *_: object, on_step: OnProgress, **__: object) -> None:
        for _step in range(experiments[0].training.steps):
            on_step(1.0)
        raise AssertionError("it was trained to the end")

    monkeypatch.setattr(bursts, "train", engine)
    some = [tm.Experiment(tm.Features(8, 0.1), tm.Bottleneck(2), tm.Training(steps=1000))]
    np.testing.assert_allclose(training_seconds(some, "fused", "cpu", 2.0), [100.0, 100.0])


@pytest.mark.parametrize(
    "threads, own, others, idle",
    [
        (4, 40.0, 0.0, 10.0),  # all four to itself
        (4, 10.0, 30.0, 2.5),  # one of four
        (4, 10.0, 0.0, 10.0),  # what runs on one thread is no faster on an idle machine
        (4, 10.0, 10.0, 5.0),  # on two cores
        (1, 5.0, 35.0, 5.0),
    ],
)
def test_idle_is_what_it_had_taken_with_what_the_others_used(
    monkeypatch: pytest.MonkeyPatch, threads: int, own: float, others: float, idle: float
) -> None:
    monkeypatch.setattr(bursts.torch, "get_num_threads", lambda: threads)
    np.testing.assert_allclose(Moment(0, 0, 0).until(Moment(10.0, own, own + others)), [idle, 10.0])


def test_a_burst_is_of_as_many_models_as_its_time_allows() -> None:
    models = [tm.Experiment(tm.Features(64, 0.1), tm.Bottleneck(16), tm.Training(steps=100))] * 12
    a_step = reference(models[0], 1)[0] / 100
    assert len(shrunk(models, 1000 * a_step, 1.0)) == 12
    assert len(shrunk(models, 5 * bursts.LEAST_STEPS * a_step, 1.0)) == 5
    assert len(shrunk(models, 5 * bursts.LEAST_STEPS * a_step, 5.0)) == 1
    (smaller,) = shrunk(models, bursts.LEAST_STEPS * a_step, 4.0)
    assert smaller.training.batch == 256
    assert shrunk(models, bursts.LEAST_STEPS * a_step, 100.0) == []


@pytest.mark.parametrize(
    "seconds, said",
    [(0.4, "0.4 seconds"), (99.0, "99 seconds"), (150.0, "2.5 minutes"), (9000.0, "2.5 hours"), (1e7, "115.7 days")],
)
def test_a_length_of_time_is_said_in_a_fitting_unit(seconds: float, said: str) -> None:
    assert span(seconds) == said
