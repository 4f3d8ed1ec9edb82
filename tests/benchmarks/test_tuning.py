"""The choices of the gpu engine, tried: that the program works interpreted, and what its page says of a record."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engines.gpu.conftest import interpreter as interpreter

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # benchmarks are in no wheel

from benchmarks import compiled, tuning, tuning_page  # noqa: E402
from benchmarks.compiled import NotCompiled, formed, one  # noqa: E402
from benchmarks.tuning import FULL, SMALL, Formed, Grid, Tuned, choices, compiling, forms, waited  # noqa: E402
from benchmarks.tuning_page import EXPECTED, markdown  # noqa: E402
from benchmarks.workload import WORKLOADS, Workload  # noqa: E402
from toymodels.engines.gpu import PROGRAMS  # noqa: E402
from toymodels.engines.gpu.form import Form, form_of  # noqa: E402

LITTLE = Workload("W1", 2, 5, 2, 32)
NEVER = float("inf")


def by_name(name: str) -> Workload:
    (found,) = (w for w in WORKLOADS if w.name == name)
    return found


def run(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    tuning.main(["--device", "cpu", "--tiny", "--out", str(folder), *arguments])
    (record,), (page,) = folder.glob("tuning-*-tiny.json"), folder.glob("tuning-*-tiny.md")
    return json.loads(record.read_text()), page.read_text()


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is taken, and said to take a millisecond: this machine may have others to serve meanwhile."""
    monkeypatch.setattr(tuning, "steps_for", lambda *_: 2)

    def per_step(side: Formed, steps: int, _: str) -> float:
        side.run(steps)
        return 1e-3

    monkeypatch.setattr(tuning, "per_step", per_step)


@pytest.mark.usefixtures("taking")
def test_the_program_works_interpreted_and_a_record_is_of_several_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "SMALL", replace(SMALL, workloads=SMALL.workloads[:1]))
    first, _ = run(tmp_path)
    (rule, other, *rest), models = first["forms"], first["models"]
    assert (rule["rule"], other["rule"], rest[0]["rule"]) == (True, False, False)
    assert {(row["tile"], row["warps"]) for row in first["forms"]} == {(16, 1), (16, 2), (32, 1), (32, 2)}
    assert [row["failed"] for row in first["forms"] if row["tile"] == 32] == ["a batch has 16 samples"] * 2
    assert (rule["best other"]["tile"], rule["best other"]["warps"]) == (16, 2)
    assert all(row["seconds"]["median"] > 0 for row in (rule, *models))
    assert [(row["workload"], row["programs"]) for row in models] == [
        ("2->1", 1),
        ("2->1", 2),
        ("20->5", 1),
        ("20->5", 2),
    ]
    monkeypatch.setattr(tuning, "SMALL", replace(SMALL, workloads=(by_name("W7"),)))
    second, page = run(tmp_path, "--only", "W7")
    assert second["forms"] == first["forms"]
    assert second["models"] == models
    assert "holds a model in one multiprocessor" in second["left_out"][str(by_name("W7"))]
    for said in ("nothing follows about speed", "| 16 | 1 | rule |", "Not measured here", "* W7: 4 x 512->256"):
        assert said in page, said


def test_nothing_is_begun_when_the_time_is_up(tmp_path: Path) -> None:
    record, page = run(tmp_path, "--minutes", "0", "--only", "W1")
    assert record["forms"] == record["models"] == []
    assert record["left_out"] == {"W1: 2 x 5->2, batch 16": "not begun, as the time was up"}
    assert "not begun, as the time was up" in page
    late = list(forms(LITTLE, "cpu", SMALL, {}, time.monotonic() - 1))
    assert {row["failed"] for row in late if row["tile"] == 32} == {"not begun, as the time was up"}
    assert late[0]["best other"] is None


@pytest.mark.parametrize("workload", [w for w in WORKLOADS if w.name != "W7"], ids=lambda w: w.name)
def test_the_rules_form_is_tried_first_and_every_other_is_tried_or_left_out_with_its_reason(
    workload: Workload,
) -> None:
    grid = Grid()
    tried = choices(workload, grid)
    rule = form_of(one(workload))
    assert next(iter(tried)) == rule
    assert tried[rule] is None
    assert {(form.tile, form.warps) for form in tried} == {(tile, w) for tile in grid.tiles for w in grid.warps}
    for form, why in tried.items():
        assert replace(form, tile=rule.tile, warps=rule.warps) == rule
        if form.tile > max(workload.batch, rule.tile):
            assert why == f"a batch has {workload.batch} samples"
        elif why:
            assert form.held > FULL * 32 * form.warps
    assert 4 <= sum(why is None for why in tried.values()) <= 20


@pytest.mark.usefixtures("taking")
def test_a_form_that_computes_something_else_is_not_timed() -> None:
    """Here one whose models have another output, which no tile and no warps give them."""
    of, rule = Tuned(LITTLE, "cpu", SMALL), form_of(one(LITTLE))
    of.time(rule)
    of.time(formed(LITTLE, 16, 2))
    with pytest.raises(ArithmeticError, match=r"the loss of the first step is .*, and .* with the rule's form"):
        of.time(replace(rule, output="linear"))


@pytest.mark.usefixtures("taking")
def test_what_was_timed_is_kept_when_the_device_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second form: the first is in the record, and the page can be made of it."""
    timed = Tuned.time

    def breaking(self: Tuned, form: Form) -> dict[str, float]:
        if self.found:
            raise KeyboardInterrupt
        return timed(self, form)

    monkeypatch.setattr(Tuned, "time", breaking)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "--only", "W1")
    (kept,), (page,) = tmp_path.glob("*.json"), tmp_path.glob("*.md")
    (row,) = json.loads(kept.read_text())["forms"]
    assert (row["rule"], row["failed"]) == (True, None)
    assert "| 16 | 1 | rule |" in page.read_text()


def test_forms_whose_steps_are_too_short_to_be_timed_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = replace(SMALL, tiles=(16,), warps=(2,))
    monkeypatch.setattr(tuning, "steps_for", lambda *_: 2)
    monkeypatch.setattr(tuning, "per_step", lambda *_: float("nan"))
    rule, other = forms(LITTLE, "cpu", grid, {}, NEVER)
    assert [row["failed"] for row in (rule, other)] == ["too short to time"] * 2
    assert (rule["best other"], "seconds" in rule) == (None, False)
    assert tuning.models(LITTLE, 1, "cpu", grid)["failed"] == "too short to time"
    seconds = iter([1e-3, 2e-3, *[float("nan")] * 2])  # both at first, then neither in turns
    monkeypatch.setattr(tuning, "per_step", lambda *_: next(seconds))
    rule, other = forms(LITTLE, "cpu", grid, {}, NEVER)
    assert rule["best other"] == {"tile": 16, "warps": 2, "rule over it": None}
    record = recorded(filled)
    record["forms"][-1] = {**record["forms"][-1], "best other": rule["best other"]}
    assert "| W4: such | 64 x 1 | 16 x 2 | too short to time |" in markdown(record)
    assert EXPECTED[3].holds(record) is None


def test_a_side_begins_again_with_each_form() -> None:
    side, rule = Formed(LITTLE, "cpu"), form_of(one(LITTLE))
    side.take(rule)
    loss = side.run(1)
    side.run(3)
    assert side.going.t == 4
    side.take(formed(LITTLE, 16, 4))
    assert side.going.t == 0
    assert side.run(1).allclose(loss, rtol=1e-5)


@pytest.mark.usefixtures("taking")
def test_a_kernel_that_did_not_compile_is_left_out_with_its_reason() -> None:
    failing: Future[dict[str, Any]] = Future()
    failing.set_exception(NotCompiled("ValueError: arange's range must be a power of 2"))
    ready: Future[dict[str, Any]] = Future()
    ready.set_result({"registers": 98})
    grid = replace(SMALL, tiles=(16,), warps=(2,))
    rule, row = forms(LITTLE, "cpu", grid, {form_of(one(LITTLE)): ready, formed(LITTLE, 16, 2): failing}, NEVER)
    assert (rule["kernel"], rule["failed"], rule["best other"]) == ({"registers": 98}, None, None)
    assert (row["tile"], row["warps"], "seconds" in row) == (16, 2, False)
    assert row["failed"] == "NotCompiled: ValueError: arange's range must be a power of 2"
    with pytest.raises(NotCompiled, match="not when the time was up"):
        waited(Future(), time.monotonic())


def test_a_form_that_takes_too_long_to_compile_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "SECONDS", 0.01)
    with pytest.raises(NotCompiled, match=r"not in 0\.01 s"):
        compiled.compiled(by_name("W4"), 32, 1, 90)


@pytest.mark.slow
def test_forms_are_compiled_in_processes_of_their_own_or_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    grid = Grid(tiles=(32, 48), warps=(1,))
    with ThreadPoolExecutor(1) as processes:
        ahead = compiling([by_name("W4")], grid, processes)[by_name("W4")]
    rule, shorter, odd = ahead.values()
    assert [form.tile for form in ahead] == [64, 32, 48]
    for tile, kernel in ((64, rule.result()), (32, shorter.result())):
        assert (kernel["tile"], kernel["warps"], kernel["spilled"]) == (tile, 1, 0)
        assert kernel["occupancy"]["limit"] == "registers"
    with pytest.raises(NotCompiled, match="ValueError: arange's range must be a power of 2"):
        odd.result()


@pytest.mark.cuda
def test_what_was_compiled_ahead_is_what_is_launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a record is made of it: nothing is compiled twice, so that the time of a device goes into timing."""
    from triton import knobs

    hits: list[bool] = []

    def heard(*, cache_hit: bool, **_: Any) -> None:
        hits.append(cache_hit)

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(knobs.compilation, "listener", heard)
    grid = Grid(workloads=(by_name("W8"),), tiles=(16, 32), warps=(4,), seconds=0.01, repeats=1)
    monkeypatch.setattr(tuning, "Grid", lambda: grid)
    tuning.main(["--only", "W8", "--out", str(tmp_path)])
    (kept,) = tmp_path.glob("tuning-*.json")
    rule, other = json.loads(kept.read_text())["forms"]
    assert hits
    assert all(hits)
    assert rule["best other"]["tile"] == other["tile"] == 16
    assert rule["kernel"]["occupancy"]["programs"] >= 1


def row(name: str, tile: int, warps: int, us: float, spilled: int, other: Any = None) -> dict[str, Any]:
    occupancy = {"programs": 2, "share": 0.125, "limit": "registers"}
    kernel = {"registers": 255, "spilled": spilled, "shared": 1024, "occupancy": occupancy}
    row = {"workload": f"{name}: such", "tile": tile, "warps": warps, "rule": other is not None, "kernel": kernel}
    seconds = {"min": 1e-6 * us, "median": 1e-6 * us, "max": 1e-6 * us}
    if other:
        tile, warps, ratio = other
        row["best other"] = {
            "tile": tile,
            "warps": warps,
            "rule over it": {"min": ratio, "median": ratio, "max": ratio},
        }
    return row | {"seconds": seconds, "failed": None}


def recorded(
    per_model: Callable[[str, int], float], w8: float = 1.2, w2: float = 0.9, w1: int = 8, w4: float = 1.04
) -> dict[str, Any]:
    """A record in which every prediction holds, unless told otherwise."""
    rows = [row(f"W{i}", 16, 8, 10, 500, (32, 8, w2)) for i in (2, 3, 5, 9, 10)]
    rows += [row("W6 relu", 32, 8, 10, 300, (16, 8, 1.2)), row("W6 relu", 16, 8, 8, 8)]
    rows += [row("W8", 32, 4, 10, 160, (16, 4, w8)), row("W8", 16, 4, 8, 0)]
    rows += [row("W1", 64, 2, 10, 0, (256, w1, 1.5)), row("W4", 64, 1, 10, 0, (32, 1, w4))]
    counts = [(size, programs) for size in ("2->1", "20->5") for programs in (1, 2, 4, 8, 16, 32, 64)]
    models = [
        {
            "workload": size,
            "programs": programs,
            "models": 132 * programs,
            "rule": programs == PROGRAMS,
            "seconds": {"median": 132 * programs * per_model(size, programs)},
            "failed": None,
        }
        for size, programs in counts
    ]
    return {"machine": {"device": "d"}, "tiny": False, "forms": rows, "models": models, "left_out": {}}


def filled(size: str, programs: int) -> float:
    return 1e-6 / min(programs, {"2->1": 16, "20->5": 2}[size])


@pytest.mark.parametrize(
    "record, holds",
    [
        (recorded(filled), [True] * 5),
        (recorded(filled, w8=1.01), [False, True, True, True, True]),
        (recorded(filled, w2=1.1), [True, False, True, True, True]),
        (recorded(filled, w1=1), [True, True, False, True, True]),
        (recorded(filled, w4=1.1), [True, True, True, False, True]),
        (recorded(lambda *_: 1e-6), [True, True, True, True, False]),
        ({"forms": [], "models": []}, [None] * 5),
    ],
)
def test_a_prediction_is_held_against_what_was_measured(record: dict[str, Any], holds: list[bool | None]) -> None:
    assert [expected.holds(record) for expected in EXPECTED] == holds


def test_the_page_has_the_fastest_form_first_and_what_kernels_take() -> None:
    page = markdown(recorded(filled, w8=1.01))
    assert page.count("**It was so.**") == 4
    assert page.count("**It was not so.**") == 1
    assert "| W8: such | 32 x 4 | 16 x 4 | 1.01 (1.01 to 1.01) |" in page
    fast, slow = (f"| W8: such | {tile} | 4 |" for tile in (16, 32))
    assert 0 < page.index(fast) < page.index(slow)
    assert "| 32 | 4 | rule | 10 | 1.25 | 255 | 160 | 1,024 | 2 | 12.5% | registers |" in page
    assert "| 20->5 | 1 | 132 |  | 1000 | 2.00 |" in page
    assert "| 20->5 | 32 | 4,224 | rule | 500 | 1.00 |" in page
    assert tuning_page.HEAD in page
