"""The gpu_split engine, interpreted: bit for bit the gpu engine, whose sums it takes in the same order."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from tests.engines.gpu.test_runs import CASES
from tests.engines.test_fused import batch_of, same
from tests.engines.test_keep import InMemory, Stop
from toymodels import Bottleneck, Experiment, Features, Training
from toymodels.engines import ENGINES, choose
from toymodels.engines.gpu import GpuEngine, run, split

gpu, shared_out = ENGINES["gpu"], ENGINES["gpu_split"]
assert isinstance(gpu, GpuEngine)
assert isinstance(shared_out, GpuEngine)
MANY_TILES = 130
"""samples, of which the last tile has a few"""
PLAIN = [
    Experiment(
        Features(6, 0.2), Bottleneck(2), Training(steps=8, batch=MANY_TILES, learning_rate=rate, snapshots=3), seed=seed
    )
    for seed, rate in enumerate((1e-3, 1e30))
]


QUICK = ("plain", "untied, rotated", "decoder", "pairs", "pruned, untied", "costs")


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_it_is_the_gpu_engine_bit_for_bit(case: str) -> None:
    features, bottleneck, recipe, objective = CASES[case]
    recipe = dataclasses.replace(recipe, steps=2, batch=MANY_TILES)
    es = batch_of(features, bottleneck, recipe, models=2, **objective)
    assert split.tiles_of(es[0]) > 1
    same(shared_out.train(es), gpu.train(es))


@pytest.mark.parametrize("steps, rate", [(1, 1e6), (3, 1e6), (2, 1e38)])
def test_models_diverge_as_in_the_gpu_engine(steps: int, rate: float) -> None:
    rates = (1e-3, rate)
    es = [
        dataclasses.replace(e, training=dataclasses.replace(e.training, steps=steps, learning_rate=each))
        for e, each in zip(PLAIN, rates, strict=True)
    ]
    ours, theirs = shared_out.train(es), gpu.train(es)
    assert ours.diverged_step.tolist() == theirs.diverged_step.tolist()
    assert ours.diverged.tolist() == [False, True]
    for name, tensor in theirs.parameters.present().items():
        assert torch.equal(ours.parameters.present()[name], tensor)
    torch.testing.assert_close(ours.curve, theirs.curve, rtol=0, atol=0, equal_nan=True)


def test_alone_in_a_batch_and_cut_into_stretches_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shared_out.train(PLAIN)
    same(whole, shared_out.train(PLAIN[:1]), slice(0, 1))
    monkeypatch.setattr(run, "MOST_AT_ONCE", 3)
    same(whole, shared_out.train(PLAIN))


@pytest.mark.parametrize("killed", [False, True])
def test_stopped_after_every_save_it_is_the_undisturbed_run(killed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MOST_AT_ONCE", 2)
    whole, keep, begun = shared_out.train(PLAIN), InMemory(killed=killed), 0
    while True:
        keep.saves, begun = 1, begun + 1
        with contextlib.suppress(Stop):
            trained = shared_out.train(PLAIN, keep=keep)
            break
    same(trained, whole)
    assert begun > 3
    assert keep.reasons == []


@pytest.mark.parametrize("after", [1, 4])
def test_an_interruption_between_two_kernels_costs_the_stretch(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors change in place, so what is saved is what they were before the stretch."""
    whole, keep, launch, launched = shared_out.train(PLAIN), InMemory(seconds=1e9), split.SplitRun._launch, 0

    def interrupted(self: split.SplitRun, *arguments: object, parts: int = 1) -> None:
        nonlocal launched
        if launched == 4 + after:  # the first two stretches are a step each, or one and two
            raise KeyboardInterrupt
        launched += 1
        launch(self, *arguments, parts=parts)

    monkeypatch.setattr(run, "MOST_AT_ONCE", 3)
    monkeypatch.setattr(run, "CALL_SECONDS", 1e9)
    monkeypatch.setattr(InMemory, "worth_seconds", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(split.SplitRun, "_launch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            shared_out.train(PLAIN, keep=keep)
    kept = keep.load()
    assert kept is not None
    assert set(kept["step"].tolist()) <= {1, 4}
    same(shared_out.train(PLAIN, keep=keep), whole)


class Recorder:
    """Records as CUDA does: what is recorded does not run, and is run with the arguments that it had."""

    def __init__(self, going: split.SplitRun) -> None:
        self.going, self.replays, self.inside = going, 0, False

    @contextmanager
    def aside(self) -> Iterator[None]:
        self.inside = True
        yield
        self.inside = False

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        assert self.inside
        launch, launches = self.going._launch, []
        self.going._launch = lambda *arguments, **options: launches.append((arguments, options))  # type: ignore
        work()
        self.going._launch = launch

        def replay() -> None:
            assert self.inside
            self.replays += 1
            for arguments, options in launches:
                launch(*arguments, **options)

        return replay


@pytest.mark.parametrize("recorded", [1, 3, 32])
def test_steps_that_are_replayed_are_those_launched_one_by_one(recorded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "RECORDED", recorded)
    monkeypatch.setattr(run, "MOST_AT_ONCE", 5)
    launched, going = split.SplitRun(PLAIN, "cpu"), split.SplitRun(PLAIN, "cpu")
    going.recorder = recorder = Recorder(going)
    before = going.state()
    going.put_back({name: tensor.clone() for name, tensor in before.items()})
    for until in (2, 3, 8):
        launched.advance(until)
        going.advance(until)
        assert going.done.tolist() == [until] * 2
    for each in (launched, going):
        each.judge_last_step()
    same(going.trained(), launched.trained())
    assert recorder.replays == {1: 7, 3: 4, 32: 3}[recorded]
    assert going.t == before["step"].max() + 8


def test_a_run_that_is_put_back_goes_on_from_there_whatever_was_recorded() -> None:
    whole, going = split.SplitRun(PLAIN, "cpu"), split.SplitRun(PLAIN, "cpu")
    going.recorder = Recorder(going)
    for until in (1, 5, 8):
        whole.advance(until)
    going.advance(1)
    there = going.state()
    going.advance(8)
    going.put_back(there)
    assert going.t == 1
    going.advance(5)
    going.advance(8)
    for each in (whole, going):
        each.judge_last_step()
    same(going.trained(), whole.trained())


def test_steps_that_cannot_be_recorded_are_launched_one_by_one_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, going = shared_out.train(PLAIN), split.SplitRun(PLAIN, "cpu")
    going.recorder = Recorder(going)

    def refuse(work: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(going.recorder, "record", refuse)
    with pytest.warns(RuntimeWarning, match="kernel by kernel, as it cannot be recorded: CUDA error: operation not"):
        going.advance(3)
    going.advance(8)
    going.judge_last_step()
    same(going.trained(), whole)


@pytest.mark.parametrize("snapshots", [0, 20])
@pytest.mark.parametrize("engine", [gpu, shared_out], ids=["gpu", "gpu_split"])
def test_what_it_needs_is_no_less_than_what_it_has_while_it_is_kept(
    engine: GpuEngine, snapshots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels take no memory, so none is launched; what there is when a state is made while one is kept is counted."""
    recipe = Training(steps=200, batch=16, snapshots=snapshots, curve_points=3)
    es = [Experiment(Features(20, 0.1), Bottleneck(10), recipe, seed=seed) for seed in range(100)]
    before, most = bytes_there(), 0

    class Counting(engine.runs):
        def _launch(self, *arguments: object, **options: object) -> None:
            pass

        def state(self) -> dict[str, torch.Tensor]:
            nonlocal most
            made = super().state()
            most = max(most, bytes_there() - before)
            return made

    run.train(Counting(es, "cpu"), None, InMemory(seconds=1e9))
    assert 0.5 * engine.bytes_needed(es) < most <= engine.bytes_needed(es)


def bytes_there() -> int:
    """Of the memory of all tensors that can be reached."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor]
    return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())


def test_what_it_needs_counts_the_gradient_of_every_tile() -> None:
    one, long = (
        [Experiment(Features(20, 0.1), Bottleneck(5), Training(steps=9, batch=batch))] for batch in (16, 16 * 500)
    )
    assert shared_out.bytes_needed(one) > gpu.bytes_needed(one)
    more = split.tiles_of(long[0]) - split.tiles_of(one[0])
    numbers = split.SplitRun(long, "cpu").parts.numel() // split.tiles_of(long[0])
    assert shared_out.bytes_needed(long) - shared_out.bytes_needed(one) == 4 * more * numbers


def test_auto_does_not_take_it_and_a_launch_needs_fewer_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared_out.fingerprint()["engine"] == "gpu_split"
    assert (
        shared_out.lacks("cuda")
        == "with TRITON_INTERPRET=1 the gpu_split engine is interpreted on cpu, not run on cuda"
    )
    large = [Experiment(Features(512, 0.05), Bottleneck(256, tied=False))]
    assert (shared_out.refuses(large) or "").startswith("the gpu_split engine holds a model in one multiprocessor")
    assert choose("gpu_split", [PLAIN]).engine is shared_out
    monkeypatch.setattr(type(gpu), "models_at_once", lambda self, experiments, device="cpu": 1000)
    assert shared_out.models_at_once(PLAIN, "cuda") == 1000 // split.tiles_of(PLAIN[0])
    assert shared_out.models_at_once(PLAIN * 600, "cuda") == 1200
