"""A step recorded and replayed: the bits of one that is called, on a device that is not there (`tests.elsewhere`)."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

import toymodels as tm
from tests.elsewhere import DEVICE, Elsewhere
from tests.engines.test_keep import Sluggish, same, until_done
from toymodels.engines import ENGINES
from toymodels.engines.autograd import loop, replay, run, timetable
from toymodels.engines.autograd.replay import WARM_UP, Replayed
from toymodels.engines.autograd.run import TrainingRun
from toymodels.training.optimizers import Adam

STEPS = 20
FEATURES = tm.Features(12, 0.2)
UNTIED = tm.Bottleneck(6, tm.ReLU(), tied=False)
LAYER_NORM = dataclasses.replace(UNTIED, activation=tm.SoLU(), layer_norm=tm.LayerNorm(), hidden_bias=True)
BINARY = {
    "features": tm.Features(12, 0.2, values=tm.Binary()),
    "bottleneck": dataclasses.replace(UNTIED, output=tm.Linear()),
}
CASES = {
    "adam": {"bottleneck": tm.Bottleneck(6, tm.SoLU(), tm.LayerNorm()), "optimizer": Adam(), "snapshots": 4},
    "sgd": {"optimizer": tm.SGD()},
    "rotated": {"bottleneck": LAYER_NORM, "optimizer": tm.RotatedAdam()},
    "pruned": {"bottleneck": LAYER_NORM, "weights_kept": 0.3},
    "blocks": {"bottleneck": dataclasses.replace(UNTIED, blocks=2)},
    "experts": {"bottleneck": dataclasses.replace(UNTIED, experts=2), "load_balance": 0.1},
    "top k, gated": {"bottleneck": dataclasses.replace(UNTIED, top_k=2, gated=True)},
    "decays": {"activation_l1": 0.01, "weight_growth": 0.01, "weight_decay": 0.01},
    "pairs": {**BINARY, "target": tm.And(5), "loss": tm.CrossEntropy()},
    "decoder": {"bottleneck": dataclasses.replace(LAYER_NORM, embedding=tm.Embedding(4, trained=True))},
    "groups": {"features": tm.Features(12, 0.2, firing=tm.Correlated(3), values=tm.FoldedNormal(), signed=True)},
}


def experiments(rates=(1e-3, 1e30, 1e-2), features=FEATURES, bottleneck=UNTIED, target=None, loss=None, **recipe):
    trained = {"steps": STEPS, "batch": 20, "schedule": tm.Cosine(), "curve_points": 9} | recipe
    objective = {name: each for name, each in (("target", target), ("loss", loss)) if each is not None}
    return [
        tm.Experiment(features, bottleneck, tm.Training(learning_rate=rate, **trained), seed=seed, **objective)
        for seed, rate in enumerate(rates)
    ]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    with Elsewhere() as device:
        monkeypatch.setattr(run, "recorder_for", lambda on: device if on.type == DEVICE.type else None)
        monkeypatch.setattr(loop, "REPORT_SECONDS", 1e9)
        yield device


def train(es, **options):
    return ENGINES["autograd"].train(es, **options)


@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_are_the_steps_that_are_called(case: str, elsewhere: Elsewhere) -> None:
    es = experiments(**CASES[case])
    came = train(es, device="meta")
    same(came, train(es))
    assert came.diverged_step[1] > 0


def test_in_float64_too_and_where_the_timetable_is_filled_again_and_again(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    es = experiments(**CASES["adam"])
    plain = train(es, dtype=torch.float64)
    monkeypatch.setattr(timetable, "STRETCH", 7)
    same(train(es, dtype=torch.float64, device="meta"), plain)


def test_no_step_waits_for_the_device(elsewhere: Elsewhere) -> None:
    going = TrainingRun(experiments(), "meta", torch.float32)
    for _ in range(WARM_UP + 1):
        going.step()
    assert going.in_place
    before, kernels = len(elsewhere.waited), elsewhere.kernels
    for _ in range(STEPS - WARM_UP - 1):
        going.step()
    assert elsewhere.waited[before:] == []
    assert elsewhere.kernels - kernels < 3 * STEPS  # none but what fills the curve


@pytest.mark.parametrize("killed", [False, True], ids=["interrupted", "killed"])
def test_interrupted_anywhere_it_goes_on_to_the_same_bits(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    es = experiments(**CASES["adam"])
    saves = itertools.cycle((9, 2, 7))
    came, continued = until_done(lambda keep: train(es, device="meta", keep=keep), lambda: next(saves), killed)
    same(came, train(es))
    assert len(continued) > 1


def test_what_is_kept_does_not_change_with_the_next_step(elsewhere: Elsewhere) -> None:
    going = TrainingRun(experiments(), "meta", torch.float32)
    for _ in range(WARM_UP + 2):
        going.step()
    state = going.state()
    before = {name: tensor.cpu().clone() for name, tensor in state.items() if name.startswith(("weight", "optimizer"))}
    going.step()
    assert all(torch.equal(state[name].cpu(), tensor) for name, tensor in before.items())
    assert not torch.equal(going.state()["weight.W_in"].cpu(), before["weight.W_in"])


def test_a_report_is_asked_for_now_and_then(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every one waits for the device: on a CPU one in `REPORT_EVERY` steps, here one in so many seconds."""
    monkeypatch.setattr(loop, "REPORT_EVERY", 5)
    here, there = [], []
    train(experiments(), on_step=here.append)
    train(experiments(), device="meta", on_step=there.append)
    assert (len(here), len(there)) == (STEPS // 5, 1)
    assert sum(here) == sum(there) == STEPS
    assert torch.equal(here[-1].losses, there[-1].losses)


@dataclasses.dataclass(frozen=True)
class Waits(tm.Elementwise):
    """One of a user's own that looks at what it computes."""

    name = "waits"

    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        return torch.relu(z) if bool(z.detach().isfinite().any()) else z

    def derivative(self, z: Tensor) -> Tensor:
        return (z > 0).to(z)


def test_what_cannot_be_recorded_is_called_and_said_once(elsewhere: Elsewhere) -> None:
    es = experiments(bottleneck=dataclasses.replace(UNTIED, activation=Waits()))
    with pytest.warns(RuntimeWarning, match="kernel by kernel, as it cannot be recorded: CUDA error") as said:
        came = train(es, device="meta")
    assert len(said) == 1
    same(came, train(experiments()))


class Nested(tm.Data):
    """One of a user's own, which draws on the CPU."""

    def draw(self, seed: int, first: int, samples: int, step: int | None) -> Tensor:
        return (self.uniforms(seed, first, samples, step) < 0.5).cumprod(0).float()


@pytest.mark.parametrize("own", [{"features": Nested(5)}, {"optimizer": Sluggish()}], ids=["data", "optimizer"])
def test_what_needs_the_number_of_the_step_is_not_recorded(own: dict[str, Any], elsewhere: Elsewhere) -> None:
    es = experiments(**own)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(train(es, device="meta"), train(es))
    assert not TrainingRun(es, "meta", torch.float32).replayed


def test_memory_that_is_refused_while_recording_is_not_needed(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(work: Callable[[], None]) -> Callable[[], None]:
        work()
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    monkeypatch.setattr(elsewhere, "record", refuse)
    with pytest.warns(RuntimeWarning, match="cannot be recorded: CUDA out of memory"):
        came = train(experiments(), device="meta")
    same(came, train(experiments()))


def test_the_device_that_is_not_there_refuses_what_cuda_refuses(elsewhere: Elsewhere) -> None:
    there = torch.zeros(3, device="meta")
    with pytest.raises(RuntimeError, match="all tensors on one device"):
        _ = there + torch.ones(3)
    with pytest.raises((TypeError, RuntimeError)):
        there.numpy()
    some = there > 0
    for waits in (
        there.sum().item,
        there.cpu,
        lambda: torch.ones(3).to("meta"),
        lambda: bool(there.any()),
        lambda: there[some],
        lambda: there.index_put_((some,), there.new_zeros(0)),
        lambda: there.long().bincount(),
        lambda: there.repeat_interleave(there.long()),
        there.unique,
    ):
        waits()
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            elsewhere.record(waits)  # type: ignore[arg-type]


def test_what_cuda_adds_up_in_any_order_is_refused_there_but_of_whole_numbers(elsewhere: Elsewhere) -> None:
    there, place = torch.ones(3, device="meta"), torch.zeros(3, device="meta", dtype=torch.int64)
    for adds in (
        lambda of: of.index_add(0, place, of),
        lambda of: of.scatter_add(0, place, of),
        lambda of: of.scatter_reduce(0, place, of, "sum"),
        lambda of: of.index_put((place,), of, accumulate=True),
        lambda of: of.put(place, of, accumulate=True),
        lambda of: of.cumsum(0),
    ):
        with pytest.raises(RuntimeError, match="does not have a deterministic implementation on CUDA"):
            adds(there)
        adds(there.long())
    with pytest.raises(RuntimeError, match="deterministic"):
        place.bincount(there)
    leaf = torch.ones(3, device="meta", requires_grad=True)
    for gathered in (lambda: leaf.index_select(0, place), lambda: leaf.gather(0, place), lambda: leaf[place]):
        with pytest.raises(RuntimeError, match="deterministic"):
            gathered().sum().backward()
    assert there.index_put((place,), there).tolist() == there.tolist()


def test_what_runs_aside_is_waited_for_whatever_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def __init__(self, *_: Any) -> None:
            self.waits_for: list[Stream] = []

        def wait_stream(self, other: Stream) -> None:
            self.waits_for.append(other)

    outside = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: outside)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    recorder = replay.CudaRecorder(torch.device("cuda"))
    with recorder.aside():
        assert outside.waits_for == []
    with pytest.raises(KeyboardInterrupt), recorder.aside():
        raise KeyboardInterrupt
    assert outside.waits_for == [recorder.stream] * 2


def test_a_recording_runs_nothing_and_keeps_what_it_took_for_constant(elsewhere: Elsewhere) -> None:
    total, step = torch.zeros(2, device="meta"), 1.0

    def work() -> None:
        total.add_(step)

    again = elsewhere.record(work)
    assert total.tolist() == [0, 0]
    step = 10.0
    again()
    again()
    assert total.tolist() == [2, 2]


def test_before_is_written_before_what_it_is_copied_from(elsewhere: Elsewhere) -> None:
    tensors = {"before": torch.zeros(1, device="meta"), "now": torch.zeros(1, device="meta")}

    def step() -> None:
        tensors["before"], tensors["now"] = tensors["now"], tensors["now"] + 1

    for order in (("before", "now"), ("now", "before")):
        tensors.update({name: torch.zeros(1, device="meta") for name in order})
        replayed = Replayed(
            step, lambda order=order: {name: tensors[name] for name in order}, tensors.update, elsewhere
        )
        for count in range(1, 9):
            replayed()
            assert (tensors["before"].item(), tensors["now"].item()) == (count - 1, count)
        assert replayed.replay is not None


def test_nobody_records_on_a_cpu() -> None:
    assert replay.recorder_for(torch.device("cpu")) is None
    assert isinstance(TrainingRun(experiments(), "cpu", torch.float32).aside(), nullcontext)
