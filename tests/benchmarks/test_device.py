"""The benchmark of a device: what it counts, what it records, and that the program works where there is no GPU."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # benchmarks are in no wheel

from benchmarks import device, timing  # noqa: E402
from benchmarks.device import Sizes, compare, engines, geometric_means, joined, noting, scale, sides  # noqa: E402
from benchmarks.device_page import markdown  # noqa: E402
from benchmarks.peers.recipe import Graphed, Recipe  # noqa: E402
from benchmarks.roofline import Peaks, Step, measure_peaks  # noqa: E402
from benchmarks.workload import WORKLOADS, Workload  # noqa: E402
from toymodels.bottleneck import forward  # noqa: E402
from toymodels.engines.gpu.occupancy import Occupancy  # noqa: E402
from toymodels.engines.gpu.resources import Resources  # noqa: E402
from toymodels.training.experiment import sampler, start  # noqa: E402

LEARNT = "Same learning, w, mean batch loss at step 40 of 4 models ± standard error: ours, autograd 1.00000 ± 0.50000"
MEANT = ("*ms a step* is the median", "*x ours* is a side's time over that of the first", "*Of peak* is the time that")
PEAKS = Peaks(flop=1e12, flop_tf32=2e12, bytes=1e11, launch=1e-6)
TOLD: dict[str, Any] = {
    "gpu, W9": {
        "train": asdict(Resources(16, 4, 255, 1024, 51200, Occupancy(programs=2, share=0.125, limit="registers")))
    },
    "gpu, W7": "Unsupported: too large",
}
SMALL = [w for w in WORKLOADS if w.models <= 64 and w.n <= 100]


@pytest.mark.parametrize("workload", SMALL, ids=lambda w: w.name)
def test_a_step_is_counted_from_the_shapes_that_a_model_has(workload: Workload) -> None:
    (e,) = workload.experiments(0.1, 2)[:1]
    data = sampler([e])
    parameters, x = start([e], data), data.training(0, workload.batch)
    taps, trained = forward(e.bottleneck, parameters, x), parameters.trained(e.bottleneck)
    step = Step.of(workload)
    weights = sum(tensor.numel() for tensor in trained.values())
    assert step.state_bytes == 6 * 4 * weights * workload.models
    rows = [x, taps.pre, taps.mid if workload.layer_norm else taps.post, taps.out]
    assert step.batch_bytes >= 2 * 4 * sum(tensor.numel() for tensor in rows) * workload.models
    read = x if parameters.E is None else parameters.E @ x
    with_gradients = [x, taps.pre, taps.pre, taps.post, taps.post, taps.out, taps.out]
    with_gradients += [] if parameters.E is None else [read]
    assert step.batch_bytes == 2 * 4 * sum(tensor.numel() for tensor in with_gradients) * workload.models
    # Two products a sample for each weight of W_in, three for W_out, one for a fixed embedding.
    products = [2 * parameters.W_in.numel(), 3 * parameters.decoder.numel()]
    products += [] if parameters.E is None else [parameters.E.numel()]
    assert step.flop == 2 * sum(products) * workload.batch * workload.models


def test_the_bounds_are_arithmetic_or_memory_whichever_is_longer() -> None:
    step = Step(flop=2e9, state_bytes=1e8, batch_bytes=3e8)
    assert step.bounds(PEAKS) == {"on chip": 2e-3, "by memory": 4e-3}
    assert Step(8e9, 1e8, 3e8).bounds(PEAKS) == {"on chip": 8e-3, "by memory": 8e-3}
    reached = step.reached(PEAKS, 8e-3)
    assert (reached["flop_per_s"], reached["of peak"]) == (2.5e11, 0.25)
    assert (reached["of on chip"], reached["of by memory"]) == (0.25, 0.5)


def test_peaks_are_measured_and_the_precision_is_put_back() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        peaks = measure_peaks("cpu", 96, 2**16)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert all(value > 0 for value in vars(peaks).values())
    assert 1e-8 < peaks.launch < 1e-2


def run(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    device.main(["--device", "cpu", "--tiny", "--engines", "autograd", "--out", str(folder), *arguments])
    (record,), (page,) = folder.glob("device-*-tiny.json"), folder.glob("device-*-tiny.md")
    return json.loads(record.read_text()), page.read_text()


def test_the_program_works_and_a_record_is_of_several_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        device,
        "same_learning",
        lambda makes, *_: [{"workload": "w", "models": 4, "steps": 40, "losses": dict.fromkeys(makes, (1, 0.5))}],
    )
    first, _ = run(tmp_path, "--only", "W1,W9", "--parts", "learning,peers")
    assert [row["workload"].partition(":")[0] for row in first["rows"]] == ["W1", "W1", "W9", "W9"]
    second, page = run(tmp_path, "--parts", "scale")
    assert second["rows"] == first["rows"]
    assert second["learning"] == first["learning"] != []
    assert [(row["workload"], row["models"]) for row in second["scale"]] == [
        ("2->1", 1),
        ("20->5", 1),
        ("2->1", 10),
        ("20->5", 10),
    ]
    for row in second["rows"]:
        assert row["seconds"].keys() == {"ours, autograd", "recipe"} - row["failed"].keys()
        assert set(row["failed"].values()) <= {"too short to time"}
        assert all(seconds > 1e-6 for seconds in row["seconds"].values())
    for said in ("nothing follows about speed", "| W1: 2 x 5->2", "| 2->1 | 10 | autograd |", LEARNT, *MEANT):
        assert said in page, said
    assert "Not begun" not in page


def test_nothing_is_begun_when_the_time_is_up(tmp_path: Path) -> None:
    record, page = run(tmp_path, "--minutes", "0", "--parts", "peers,scale", "--only", "W1")
    assert (record["rows"], record["scale"]) == ([], [])
    assert record["left_out"][:2] == ["W1", "1 models 2->1 on autograd"]
    assert "Not begun, as the time was up: W1" in page


class Known:
    """A side whose first two steps take a second, and every step after them as long as is said."""

    name, density = "known", 0.0

    def __init__(self, step: float) -> None:
        self.step = step

    def run(self, steps: int) -> Any:
        """Its seconds, which the clock of the test hands on."""
        return 1.0 + self.step * (steps - 2)

    def close(self) -> None:
        """Nothing is held."""


def test_what_is_too_short_to_be_timed_says_so_and_is_in_no_ratio_and_no_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is drowned by what comes before the first is no result; one that is not is what it was."""
    monkeypatch.setattr(timing, "clock", lambda _, work: work())
    w, sizes = Workload("W1", 2, 4, 2, 8), Sizes()

    def compared(**steps: float) -> list[dict[str, Any]]:
        return list(
            compare(w, {name: lambda *_, s=step: Known(s) for name, step in steps.items()}, "cpu", sizes, PEAKS)
        )

    row, _ = compared(ours=0.25, recipe=0.5, short=0.0, backwards=-1e-9)
    assert row["seconds"] == {"ours": 0.25, "recipe": 0.5}
    assert row["ratio"] == {"recipe": {"min": 2.0, "median": 2.0, "max": 2.0}}
    assert row["failed"] == dict.fromkeys(("short", "backwards"), "too short to time")
    rows = compared(ours=0.0, recipe=0.5)
    assert [(row["ratio"], row["reached"]) for row in rows] == [({}, {})] * 2
    assert geometric_means(rows) == {}
    record = {"machine": {"device": "d"}, "peaks": vars(PEAKS), "tiny": False, "rows": rows, "scale": []}
    page = markdown(record | {"left_out": [], "learning": [], "resources": {}, "geometric_mean": {}})
    assert "| ours | too short to time |" in page
    assert "Geometric mean" not in page
    monkeypatch.setattr(device, "Ours", lambda *_: Known(0.0))
    assert scale(w, 3, "fused", "cpu", sizes, PEAKS)["failed"] == {"fused": "too short to time"}


@pytest.mark.parametrize("step, steps", [(2.0, 2), (0.25, 4), (2**-5, 32), (2**-10, 1024), (0.0, 5000)])
def test_steps_take_as_long_together_as_what_comes_before_them(
    step: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is a second here; also where a step takes a thousandth of it, as of a million models on a GPU."""
    monkeypatch.setattr(timing, "clock", lambda _, work: work())
    assert timing.steps_for(Known(step), 0.5) == steps


def test_a_turn_of_several_that_cannot_be_timed_is_left_out_and_most_of_them_must_be() -> None:
    nan = float("nan")
    assert timing.told([3.0, nan, 1.0]) == [3.0, 1.0]
    assert timing.ratio([nan, 4.0, 6.0], [1.0, nan, 2.0]) == {"min": 3.0, "median": 3.0, "max": 3.0}
    for values in ([nan], [nan, 1.0], [nan, 1.0, nan]):
        with pytest.raises(timing.TooShort, match="too short to time"):
            timing.told(values)


def test_what_was_timed_is_kept_when_the_device_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second workload, and CUDA refuses whatever is asked then."""

    def breaking(workload: Workload, *_: Any) -> Any:
        if workload.name == "W2":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        yield {"workload": str(workload), "density": 0.3, "seconds": {}, "ratio": {}, "reached": {}, "failed": {}}

    monkeypatch.setattr(device, "compare", breaking)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(tmp_path, "--only", "W1,W2", "--parts", "peers")
    (kept,), (page,) = tmp_path.glob("*.json"), tmp_path.glob("*.md")
    assert [row["workload"] for row in json.loads(kept.read_text())["rows"]] == ["W1: 2 x 5->2, batch 64"]
    assert page.read_text().startswith("# Training on")


def test_why_a_side_could_not_is_noted_on_a_device_that_refuses_everything_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refusing() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", refusing)
    failed: dict[str, str] = {}
    with noting("it", failed):
        refusing()
    assert failed == {"it": "RuntimeError: CUDA error: an illegal memory access was encountered"}


def test_a_side_that_does_not_work_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Recipe):
        def run(self, steps: int) -> torch.Tensor:
            raise RuntimeError("no such thing\nin two lines")

    monkeypatch.setattr(device, "per_step", lambda *_: 1e-3)
    w, sizes = Workload("W1", 2, 4, 2, 8), Sizes(seconds=1e-4, repeats=1)
    makes = sides("cpu", ["autograd"]) | {"broken": Broken}
    rows = list(compare(w, makes, "cpu", sizes, PEAKS))
    assert [row["failed"] for row in rows] == [{"broken": "RuntimeError: no such thing"}] * 2
    assert all(row["seconds"].keys() == {"ours, autograd", "recipe"} for row in rows)
    failed: dict[str, str] = {}
    with noting("it", failed):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried")
    assert failed == {"it": "out of memory"}
    none = scale(w, 3, "no such engine", "cpu", sizes, PEAKS)
    assert list(none["failed"]) == ["no such engine"]
    record = {"machine": {"device": "d"}, "peaks": vars(PEAKS), "tiny": False, "rows": rows, "scale": [none]}
    page = markdown(record | {"left_out": [], "learning": [], "resources": TOLD, "geometric_mean": {"recipe": 2.0}})
    assert "| broken | RuntimeError: no such thing |" in page
    assert "| gpu, W9 | train | 16 | 4 | 255 | 1,024 | 51,200 | 2 | 12.5% | registers |" in page
    assert "| TFLOP/s | of peak | by memory |" in page
    assert "| gpu, W7 | Unsupported: too large | | | | | | | | |" in page.replace("  ", " ")
    assert "Geometric means of all workloads timed (densities, and kinds of W6, as one): 2.00 x recipe." in page


def test_what_kernels_take_is_told_by_engine_and_workload_or_why_not() -> None:
    w = SMALL[0]
    told = device.resources(["autograd", "gpu", "no such engine"], w, "cpu")
    assert told == {
        f"gpu, {w.name}": "Unsupported: the gpu engine: interpreted kernels are not compiled, and take no registers",
        f"no such engine, {w.name}": "KeyError: 'no such engine'",
    }


def test_a_million_models_are_told_from_a_step() -> None:
    row = {"workload": "2->1", "models": 10**6, "engine": "gpu", "seconds": 0.008, "failed": {}}
    row["reached"] = Step.of(Workload("2->1", 10**6, 2, 1, 64)).reached(PEAKS, 0.008)
    record = {"machine": {"device": "d"}, "peaks": vars(PEAKS), "tiny": False, "rows": [], "scale": [row]}
    page = markdown(record | {"left_out": [], "learning": [], "resources": {}})
    assert "6,000 steps of a million models 2 -> 1, batch 64, on gpu: 48 s, told from a step." in page


def test_means_take_the_kinds_of_a_workload_as_one() -> None:
    def row(name: str, ratio: float) -> dict[str, Any]:
        return {"workload": name, "ratio": {"recipe": {"median": ratio}}}

    rows = [row("W1: a", 8.0), row("W6 relu: b", 1.0), row("W6 gelu: c", 4.0)]
    assert geometric_means(rows)["recipe"] == pytest.approx(4.0)
    assert geometric_means([]) == {}


def test_records_of_other_machines_are_not_mixed() -> None:
    def record(name: str) -> dict[str, Any]:
        return {"machine": {"device": name}, "rows": [], "scale": [], "learning": [], "resources": {}}

    now, row = record("a"), {"workload": "W1", "density": 0.3}
    joined(now, record("b") | {"rows": [row]})
    assert now["rows"] == []
    joined(now, record("a") | {"rows": [row]})
    joined(now, record("a") | {"rows": [row]})
    assert now["rows"] == [row]


def test_the_engines_of_a_device_are_those_that_say_so() -> None:
    assert engines("cpu")[-1] == engines("cuda")[-1] == "autograd"
    assert "fused" in engines("cpu")
    assert "fused" not in engines("cuda")
    assert list(sides("cuda", ["autograd"])) == ["ours, autograd", "recipe", "CUDA graph", "torch.compile"]


@pytest.mark.cuda
def test_the_recipe_as_a_graph_learns_what_it_learns_without_one() -> None:
    w, last = Workload("graph", 64, 20, 5, 256), {}
    for make in (Recipe, Graphed):
        torch.manual_seed(0)
        losses = make(w, 0.1, "cuda").run(400).double()
        last[make] = losses.mean(), losses.std() / 8
    (graph, one), (eager, other) = last[Graphed], last[Recipe]
    assert (graph - eager).abs() < 4 * (one**2 + other**2).sqrt()
