"""Kept and continued: whatever the interruption, the models of an undisturbed run, bit for bit."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import random
import signal
import time

import pytest
import torch

from toymodels import (
    SGD,
    Adam,
    And,
    Binary,
    Bottleneck,
    Cosine,
    CrossEntropy,
    Embedding,
    Experiment,
    Features,
    LayerNorm,
    Linear,
    One,
    RotatedAdam,
    SoLU,
    Training,
    train,
)
from toymodels.engines import ENGINES as BY_NAME
from toymodels.engines import Keep
from toymodels.engines.autograd import run as autograd_run
from toymodels.engines.fused import crew
from toymodels.training.optimizers import Direction, Optimizer

STEPS = 200
RATES = (1e-3, 1e6, 3e-3, 1e30, 3e-2)
"""two of them diverge, the second in the first steps"""
OPTIMIZERS = [Adam(), SGD(), RotatedAdam()]
autograd, fused = BY_NAME["autograd"], BY_NAME["fused"]
ENGINES = {"autograd": autograd.train, "fused": fused.train}
"""of the gpu engine, interpreted, `tests.engines.gpu.test_keep` asks the same of fewer steps"""


class Stop(BaseException):
    """An interruption."""


class InMemory(Keep):
    """Keeps every part; after so many saves it interrupts, or the process is taken for killed in the middle of one."""

    def __init__(self, seconds=0.0, saves=10**9, killed=False, parts=None):
        self.seconds, self.saves, self.killed = seconds, saves, killed
        self.parts = {} if parts is None else parts
        self.place, self.reasons, self.models = (0, 10**9), [], []

    def load(self):
        state = self.parts.get(self.place)
        return None if state is None else {name: tensor.clone() for name, tensor in state.items()}

    def save(self, state):
        self.saves -= 1
        if self.saves < 0 and self.killed:
            raise Stop
        self.parts[self.place] = {name: tensor.clone() for name, tensor in state.items()}
        if self.saves == 0 and not self.killed:
            raise Stop

    def part(self, first, last):
        part = copy.copy(self)
        part.place = (self.place[0] + first, self.place[0] + last)
        return part

    def refused(self, reason):
        self.reasons.append(reason)

    def resumed(self, models):
        self.models.append(models)


def experiments(
    optimizer=OPTIMIZERS[0],
    steps=STEPS,
    rates=RATES,
    bottleneck=Bottleneck(5, SoLU(), LayerNorm()),
    features=Features(12, 0.2),
    **objective,
):
    recipe = Training(steps=steps, batch=70, optimizer=optimizer, schedule=Cosine(), curve_points=9, snapshots=5)
    return [
        Experiment(
            features,
            bottleneck,
            dataclasses.replace(recipe, learning_rate=rate, weight_decay=0.01),
            seed=seed,
            **objective,
        )
        for seed, rate in enumerate(rates)
    ]


def same(a, b):
    """Bit for bit, in all that is returned."""
    tensors = [
        {**each.parameters.present(), **each.snapshots, "curve": each.curve, "diverged_step": each.diverged_step}
        for each in (a, b)
    ]
    assert tensors[0].keys() == tensors[1].keys()
    for name, tensor in tensors[0].items():
        assert tensor.numpy().tobytes() == tensors[1][name].numpy().tobytes(), name
    assert a.sub_batches == b.sub_batches


@pytest.fixture
def short_slices(monkeypatch):
    """The fused engine pauses after every step of a task: there is time to save between any two."""

    def slowly(step):
        def slow(*arguments):
            time.sleep(2e-4)
            step(*arguments)

        return slow

    monkeypatch.setattr(crew, "CALL_SECONDS", 1e-5)
    for name in ("_slice", "_wide_slice"):
        monkeypatch.setattr(crew.Crew, name, slowly(getattr(crew.Crew, name)))


def until_done(training, saves, killed, keep=None):
    """What comes of training that is stopped after so many saves each time, and how far it was at each beginning."""
    keep = keep or InMemory()
    keep.killed = killed
    while True:
        keep.saves = saves()
        try:
            return training(keep), keep.models
        except Stop:
            pass


@pytest.mark.usefixtures("short_slices")
@pytest.mark.parametrize("killed", [False, True], ids=["interrupted", "killed"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
@pytest.mark.parametrize("engine, threads", [("autograd", 1), ("fused", 1), ("fused", 3)])
def test_stopped_again_and_again_it_is_what_an_undisturbed_run_is(engine, threads, optimizer, killed, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    es, chance = experiments(optimizer), random.Random(optimizer.name)
    whole, most = ENGINES[engine](es), {"autograd": 60, "fused": 200}[engine]
    assert (whole.diverged_step > 0).tolist() == [False, True, False, True, False]
    came, continued = until_done(lambda keep: ENGINES[engine](es, keep=keep), lambda: chance.randint(1, most), killed)
    same(came, whole)
    assert 0 < continued[0] <= continued[-1] <= 5


READS = Bottleneck(5, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True)
FIXED, MOVED = (dataclasses.replace(READS, embedding=Embedding(4, trained)) for trained in (False, True))
OTHERS = {
    "fixed embedding": {"bottleneck": FIXED},
    "trained embedding": {"bottleneck": MOVED},
    "pairs": {"bottleneck": READS, "target": And(20)},
    "pairs of an embedding, entropy": {
        "bottleneck": MOVED,
        "features": Features(12, 0.2, values=Binary()),
        "target": And(7),
        "loss": CrossEntropy(),
    },
    "softmax": {
        "bottleneck": FIXED,
        "features": Features(12, 1 / 12, values=Binary(), firing=One()),
        "loss": CrossEntropy(),
    },
}


@pytest.mark.usefixtures("short_slices")
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("other", OTHERS)
def test_decoders_pairs_and_entropies_are_continued_too(other, engine, optimizer):
    es, chance = experiments(optimizer, steps=80, **OTHERS[other]), random.Random(other)
    whole, most = ENGINES[engine](es), {"autograd": 30, "fused": 100}[engine]
    assert not whole.diverged.all()
    came, _ = until_done(lambda keep: ENGINES[engine](es, keep=keep), lambda: chance.randint(1, most), killed=True)
    same(came, whole)


@pytest.mark.usefixtures("short_slices")
@pytest.mark.parametrize("rates", [RATES[:1], RATES[:2]])
def test_few_wide_models_are_continued_too(rates, monkeypatch):
    monkeypatch.setattr(crew, "WIDE_FLOP", 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    es = experiments(rates=rates, steps=60)
    came, continued = until_done(lambda keep: fused.train(es, keep=keep), lambda: 3, killed=True)
    same(came, fused.train(es))
    assert continued


@pytest.mark.usefixtures("short_slices")
@pytest.mark.parametrize("engine", ENGINES)
def test_any_step_can_be_the_one_that_was_kept(engine):
    """And there may be one alone: the first and the last."""
    for steps in (1, 2, 5):
        es = experiments(steps=steps, rates=RATES[:2])
        whole = ENGINES[engine](es)
        for saves in range(1, steps + 1):
            keep = InMemory(saves=saves, killed=True)
            with contextlib.suppress(Stop):
                ENGINES[engine](es, keep=keep)
            same(ENGINES[engine](es, keep=InMemory(parts=keep.parts)), whole)


class WhereItStops(InMemory):
    """Saves where it is interrupted, however soon that is, and at no other time."""

    seconds = 1000.0

    @property
    def worth_seconds(self):
        return 0.0


def alarm(*_):
    raise Stop


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interruption_in_the_midst_of_a_step_keeps_the_last_whole_one(engine):
    """By a signal, whose exception comes between any two instructions."""
    steps = {"autograd": 3000, "fused": 60_000}[engine]
    es, keep, chance = experiments(steps=steps, rates=RATES[:3]), WhereItStops(1000.0), random.Random(0)
    fused.prepare()
    begin = time.perf_counter()
    whole = ENGINES[engine](es)
    seconds, before = time.perf_counter() - begin, signal.signal(signal.SIGALRM, alarm)
    try:
        came = None
        while came is None:
            with contextlib.suppress(Stop):
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.02, 0.3) * seconds)
                came = ENGINES[engine](es, keep=keep)
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    same(came, whole)
    assert keep.models
    assert keep.models == sorted(keep.models)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_is_no_interruption_and_saves_nothing_torn(engine, monkeypatch):
    class Broken(Exception):
        pass

    def broken(*_):
        raise Broken

    keep = WhereItStops()
    es = experiments()
    with pytest.raises(Broken):
        ENGINES[engine](es, on_step=broken, keep=keep)
    same(ENGINES[engine](es, keep=keep), ENGINES[engine](es))


def test_each_half_of_a_batch_is_kept_by_itself():
    es = experiments()
    half = autograd.bytes_needed(es[:3])

    def halved(keep=None):
        return train(es, memory_bytes=half, engine="autograd", keep=keep)

    whole = halved()
    assert whole.sub_batches == (3, 2)
    keep = InMemory()
    came, continued = until_done(halved, lambda: 150, killed=True, keep=keep)
    same(came, whole)
    assert keep.parts.keys() == {(0, 3), (3, 5)}
    assert len(continued) > 2


@pytest.mark.usefixtures("short_slices")
def test_batches_are_kept_each_by_its_own():
    batches = [experiments(SGD()), experiments(Adam(), bottleneck=Bottleneck(3))]
    for engine, train_one in ENGINES.items():
        keeps = [InMemory(), InMemory()]
        for keep in keeps:
            keep.saves, keep.killed = 5, True
        whole = [train_one(es) for es in batches]
        for _ in range(3):
            with contextlib.suppress(Stop):
                list(BY_NAME[engine].train_each(batches, keep=keeps.__getitem__))
        for keep in keeps:
            keep.saves = 10**9
        for came, expected in zip(BY_NAME[engine].train_each(batches, keep=keeps.__getitem__), whole, strict=True):
            same(came, expected)
        assert keeps[0].models


def test_a_batch_that_nobody_stored_is_still_kept_when_the_iterator_is_closed():
    keep, es = WhereItStops(), experiments()
    each = fused.train_each([es], keep=lambda _: keep)
    came = next(each)
    each.close()
    assert (keep.parts[keep.place]["step"] == STEPS + 1).all()
    same(fused.train(es, keep=keep), came)
    assert keep.models == [5]


def test_a_short_batch_is_never_saved():
    class Never(InMemory):
        def save(self, state):
            raise AssertionError

    for engine in ENGINES.values():
        engine(experiments(), keep=Never(30.0))


SPOILT = {
    "names": lambda state: {name: tensor for name, tensor in state.items() if name != "curve"},
    "more names": lambda state: {**state, "more": torch.zeros(5)},
    "shape": lambda state: {**state, "curve": state["curve"][:, :-1]},
    "models": lambda state: {name: tensor[:-1] for name, tensor in state.items()},
    "type": lambda state: {**state, "ceiling": state["ceiling"].double()},
    "a step beyond the last": lambda state: {**state, "step": state["step"] + STEPS + 2},
    "a step before the first": lambda state: {**state, "step": state["step"] - STEPS - 2},
    "a divergence to come": lambda state: {**state, "diverged_step": state["diverged_step"] + STEPS + 2},
    "nothing": lambda _: {},
}


@pytest.mark.usefixtures("short_slices")
@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_that_does_not_fit_is_refused_and_training_begins_at_the_start(engine, spoilt):
    es, keep = experiments(rates=RATES[::2]), InMemory(saves=9, killed=True)
    with pytest.raises(Stop):
        ENGINES[engine](es, keep=keep)
    again = InMemory(1000.0, parts={keep.place: SPOILT[spoilt](keep.load())})
    same(ENGINES[engine](es, keep=again), ENGINES[engine](es))
    assert len(again.reasons) == 1
    assert not again.models


@pytest.mark.usefixtures("short_slices")
@pytest.mark.parametrize("engine", ENGINES)
def test_progress_and_what_was_kept_add_up_to_the_steps(engine):
    es, keep, done = experiments(), InMemory(saves=9, killed=True), []
    with pytest.raises(Stop):
        ENGINES[engine](es, keep=keep)
    keep.saves = 10**9
    ENGINES[engine](es, on_step=done.append, keep=keep)
    assert sum(done) + keep.models[0] / len(es) * STEPS == pytest.approx(STEPS)


@dataclasses.dataclass(frozen=True)
class Sluggish(Optimizer):
    """One of a user's own: a running mean of the gradient's signs."""

    name = "sluggish"

    def begin(self, parameter, like, seeds):
        return _Sluggish(mean=torch.zeros_like(like))


class _Sluggish(Direction):
    def __call__(self, gradient, weight, decay, t):
        mean = self.state["mean"] * 0.9 + gradient.sign()
        self.state = {"mean": mean}
        return mean + decay * weight


def test_an_optimizer_of_ones_own_is_kept_too():
    es = experiments(Sluggish(), rates=(1e-3, 3e-3))
    came, continued = until_done(lambda keep: train(es, keep=keep), lambda: 90, killed=True)
    same(came, train(es))
    assert continued


def test_the_layout_of_weights_is_that_of_the_start_wherever_training_was_continued():
    """Or products would round otherwise."""
    for optimizer, tied in itertools.product(OPTIMIZERS, (True, False)):
        es = experiments(optimizer, bottleneck=Bottleneck(5, output=Linear(), tied=tied, hidden_bias=True))
        run = autograd_run.TrainingRun(es, "cpu", torch.float32)
        start = {name: tensor.stride() for name, tensor in run.state().items()}
        run.step()
        run.step()
        assert {name: tensor.stride() for name, tensor in run.state().items()} == start
        run.put_back({name: tensor.detach().clone() for name, tensor in run.state().items()})
        assert {name: tensor.stride() for name, tensor in run.state().items()} == start


def test_models_that_are_trained_in_step_do_not_go_on_from_steps_of_their_own():
    es, keep = experiments(rates=RATES[::2]), InMemory(saves=9, killed=True)
    with pytest.raises(Stop):
        autograd.train(es, keep=keep)
    state = keep.load()
    assert state is not None
    state["step"] -= torch.arange(3)
    again = InMemory(1000.0, parts={keep.place: state})
    same(autograd.train(es, keep=again), autograd.train(es))
    assert again.reasons == ["step: expected the same of every model, got 7 to 9"]
