"""The record of `benchmarks.tuning` as a page, under what was expected before a GPU had run any of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.device_page import TAKEN, line_of, table, taken

Row = dict[str, Any]
HEAD = (
    "**Predictions**, written on 2026-11-28 of what Triton 3.9 makes of the kernels for an H100, before any "
    "GPU had run them; what came of them is said by this program:"
)


@dataclass(frozen=True)
class Expected:
    """What was written down before it was measured."""

    sentence: str
    holds: Callable[[Row], bool | None]
    """whether it does in a record; None where the record does not have what it speaks of"""


def markdown(record: Row) -> str:
    """The page."""
    lines = [
        f"# Choices of the gpu engine on {record['machine']['device']}",
        "",
        ", ".join(f"{what} {value}" for what, value in record["machine"].items() if what != "device"),
    ]
    if record["tiny"]:
        lines += ["", "**Tiny sizes: a trial of the program, of which nothing follows about speed.**"]
    lines += ["", HEAD, "", *(f"* {each.sentence} **{_said(each, record)}.**" for each in EXPECTED)]
    if record["forms"]:
        lines += [
            "",
            "## Tile and warps",
            "",
            "Medians. The best other form was timed once more, in turns with the rule's.",
        ]
        lines += table("workload", "the rule's form", "the best other", "rule's time over it")
        lines += [_compared(row) for row in record["forms"] if row.get("best other")]
        lines += table("workload", "tile", "warps", "", "µs a step", "x least", *TAKEN)
        lines += [line for rows in _by_workload(record["forms"]).values() for line in _forms(rows)]
    if record["models"]:
        lines += ["", "## Models a launch"]
        lines += table("sizes", "models a multiprocessor", "models", "", "ns a step and model", "x least")
        lines += [line for rows in _by_workload(record["models"]).values() for line in _models(rows)]
    lines += ["", *(f"* {workload}: {why}" for workload, why in record["left_out"].items())]
    return "\n".join(lines).rstrip() + "\n"


def _by_workload(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["workload"], []).append(row)
    return found


def _size(row: Row) -> str:
    return f"{row['tile']} x {row['warps']}"


def _compared(row: Row) -> str:
    other = row["best other"]
    ratio = other["rule over it"]
    times = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else "too short to time"
    return line_of([row["workload"], _size(row), _size(other), times])


def _forms(rows: list[Row]) -> list[str]:
    """A line a form, the fastest first and those without a time last."""
    times = [row["seconds"]["median"] for row in rows if "seconds" in row]
    lines: list[str] = []
    for row in sorted(rows, key=lambda row: row["seconds"]["median"] if "seconds" in row else float("inf")):
        cells = [row["workload"], f"{row['tile']}", f"{row['warps']}", "rule" if row["rule"] else ""]
        if "seconds" in row:
            seconds = row["seconds"]["median"]
            cells += [f"{1e6 * seconds:.4g}", f"{seconds / min(times):.2f}"]
        else:
            cells += [row["failed"], ""]
        lines.append(line_of([*cells, *(taken(row["kernel"]) if "kernel" in row else [""] * len(TAKEN))]))
    return lines


def _models(rows: list[Row]) -> list[str]:
    """A line a number of models."""
    per_model = {row["programs"]: row["seconds"]["median"] / row["models"] for row in rows if "seconds" in row}
    lines: list[str] = []
    for row in rows:
        cells = [row["workload"], f"{row['programs']}", f"{row['models']:,}", "rule" if row["rule"] else ""]
        if "seconds" in row:
            seconds = per_model[row["programs"]]
            lines.append(line_of([*cells, f"{1e9 * seconds:.4g}", f"{seconds / min(per_model.values()):.2f}"]))
        else:
            lines.append(line_of([*cells, row["failed"], ""]))
    return lines


def _said(expected: Expected, record: Row) -> str:
    holds = None if record["tiny"] else expected.holds(record)
    return "Not measured here" if holds is None else "It was so" if holds else "It was not so"


def _rules(record: Row, *names: str) -> list[Row] | None:
    """The rows of the rule's form of these workloads; None where one is missing or has no other timed beside it."""
    compared = [row for row in record["forms"] if (other := row.get("best other")) and other["rule over it"]]
    named = [(row["workload"].split(":")[0].split()[0], row) for row in compared]
    return [row for name, row in named if name in names] if {name for name, _ in named} >= set(names) else None


def _ratio(row: Row) -> float:
    return row["best other"]["rule over it"]["median"]


def _spills_less(record: Row) -> bool | None:
    rules = _rules(record, "W6", "W8")
    if rules is None:
        return None
    spilled = {(row["workload"], _size(row)): row["kernel"]["spilled"] for row in record["forms"] if "kernel" in row}
    other = [spilled[row["workload"], _size(row["best other"])] < row["kernel"]["spilled"] for row in rules]
    return all(other) and all(1.05 <= _ratio(row) <= 1.5 for row in rules)


def _rule_is_best(record: Row) -> bool | None:
    rules = _rules(record, "W2", "W3", "W5", "W9", "W10")
    return None if rules is None else all(_ratio(row) <= 1.02 for row in rules)


def _more_warps(record: Row) -> bool | None:
    rules = _rules(record, "W1")
    return None if rules is None else all(row["best other"]["warps"] >= 4 and _ratio(row) >= 1.3 for row in rules)


def _one_warp(record: Row) -> bool | None:
    rules = _rules(record, "W4")
    if rules is None:
        return None
    best = [row["best other"] if _ratio(row) > 1 else row for row in rules]
    return all(form["warps"] == 1 for form in best) and all(_ratio(row) <= 1.05 for row in rules)


def _fill(record: Row) -> bool | None:
    """Of seconds a step and model by models a multiprocessor, of each size."""
    times = {
        size: {row["programs"]: row["seconds"]["median"] / row["models"] for row in rows if "seconds" in row}
        for size, rows in _by_workload(record["models"]).items()
    }
    if times.keys() != {"2->1", "20->5"} or any(not {1, 2, 16, 32} <= of.keys() for of in times.values()):
        return None
    small, large = times["2->1"], times["20->5"]
    filled = small[1] >= 8 * small[16] and large[1] >= 1.5 * large[2]
    return filled and all(of[32] <= 1.1 * min(of.values()) for of in times.values())


EXPECTED = (
    Expected(
        "W6 and W8: the rule's form spills (64 -> 16 with SoLU and LayerNorm 328 bytes a thread, 20 -> 5 "
        "160); with half its tile it spills 8 and 0, and registers let as many warps on a multiprocessor, 8 "
        "of 64. So the best form spills less than the rule's, and the rule's takes 1.05 to 1.5 times as long.",
        _spills_less,
    ),
    Expected(
        "W2, W3, W5, W9 and W10: the rule's form has the least tile and the most warps that are tried, and "
        "still spills 470 to 1,560 bytes; the other forms that were compiled, of 100 -> 20 and of the "
        "decoder, spill 1.9 to 7 times as much. So the rule's is the best, within 2 %.",
        _rule_is_best,
    ),
    Expected(
        "W1: ten models have a multiprocessor each, in which the two warps that the rule gives them leave two of four "
        "schedulers idle. So the best form has 4 warps or 8, and the rule's takes at least 1.3 times as long.",
        _more_warps,
    ),
    Expected(
        "W4: there are models for every place, products are taken number by number, and within one warp a sum over "
        "samples needs no shared memory and no barrier. So the best form has one warp, and the rule's, which has, is "
        "within 5 % of it.",
        _one_warp,
    ),
    Expected(
        "Models: 16 programs of 2 -> 1 and 2 of 20 -> 5 share a multiprocessor. So a step and model takes at "
        "least 8 times less with 16 models a multiprocessor than with one at 2 -> 1, and 1.5 times less with "
        "2 at 20 -> 5; and the rule's 32 are within 10 % of the least for both.",
        _fill,
    ),
)
