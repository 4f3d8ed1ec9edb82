"""The record of `benchmarks.device` as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MILLION_STEPS = 6000
"""of the run whose length is told from a step of a million models 2 -> 1"""
TAKEN = (
    "registers a thread",
    "spilled, bytes a thread",
    "shared, bytes a program",
    "programs at once",
    "of the warps",
    "limited by",
)
"""of a multiprocessor, by a kernel: see `toymodels.engines.gpu.resources`"""
RATES = ("TFLOP/s", "of peak", "by memory")
COMPARED = (
    "*ms a step* is the median of a few turns, in each of which every side is timed once. *x ours* is a side's time "
    "over that of the first of our engines that ran there, turn by turn: the median (the least to the largest)."
)


def markdown(record: dict[str, Any]) -> str:
    """The page."""
    lines = [
        f"# Training on {record['machine']['device']}",
        "",
        ", ".join(f"{what} {value}" for what, value in record["machine"].items() if what != "device"),
        "",
        _measured(record["peaks"]),
    ]
    if record["tiny"]:
        lines += ["", "**Tiny sizes: a trial of the program, of which nothing follows about speed.**"]
    if record["rows"]:
        lines += ["", COMPARED]
        lines += table("workload", "density", "side", "ms a step", "x ours", *RATES)
        lines += [line for row in record["rows"] for line in _compared(row)]
        if means := ", ".join(f"{mean:.2f} x {peer}" for peer, mean in record["geometric_mean"].items()):
            lines += ["", f"Geometric means of all workloads timed (densities, and kinds of W6, as one): {means}."]
    if record["scale"]:
        lines += table("sizes", "models", "engine", "µs a step", "models x steps / s", *RATES)
        lines += [_scaled(row) for row in record["scale"]]
        lines += [said for row in record["scale"] if (said := _million(row))]
    if record["resources"]:
        lines += _resources(record["resources"])
    if record["left_out"]:
        lines += ["", f"Not begun, as the time was up: {', '.join(record['left_out'])}."]
    for row in record["learning"]:
        found = ", ".join(f"{side} {loss:.5f} ± {error:.5f}" for side, (loss, error) in row["losses"].items())
        of = f"mean batch loss at step {row['steps']:,} of {row['models']} models ± standard error"
        lines += ["", f"Same learning, {row['workload']}, {of}: {found}"]
    return "\n".join(lines) + "\n"


def _measured(peaks: dict[str, float]) -> str:
    return (
        f"Measured in the last call: {peaks['flop'] / 1e12:.3g} TFLOP/s of float32 products "
        f"({peaks['flop_tf32'] / 1e12:.3g} where tf32 is allowed), {peaks['bytes'] / 1e9:,.0f} GB/s of a copy, "
        f"{1e6 * peaks['launch']:.1f} µs an operation launched. *TFLOP/s* are those of a step's dense products, "
        "whatever is skipped. *Of peak* is the time that they take at the rate of float32 products over a step's, *by "
        "memory* the same with the time of writing and reading every array once, if it is longer; both times are of "
        "one call where the record is of several."
    )


def table(*titles: str) -> list[str]:
    """The head of a table."""
    return ["", line_of(titles), "|" + "---|" * len(titles)]


def line_of(cells: Sequence[str]) -> str:
    """A line of one."""
    return f"| {' | '.join(cells)} |"


def taken(kernel: dict[str, Any]) -> list[str]:
    """What a kernel takes of a multiprocessor, a cell for each of `TAKEN`."""
    occupancy = kernel["occupancy"]
    fits = [f"{occupancy['programs']}", f"{occupancy['share']:.1%}", occupancy["limit"]]
    return [*(f"{kernel[what]:,}" for what in ("registers", "spilled", "shared")), *fits]


def _resources(told: dict[str, Any]) -> list[str]:
    """A line a kernel; of what cannot be told why."""
    lines = table("engine, workload", "kernel", "tile", "warps", *TAKEN)
    for of, kernels in told.items():
        if isinstance(kernels, str):
            lines.append(line_of([of, kernels, *[""] * (2 + len(TAKEN))]))
            continue
        for name, kernel in kernels.items():
            lines.append(line_of([of, name, f"{kernel['tile']}", f"{kernel['warps']}", *taken(kernel)]))
    return lines


def _compared(row: dict[str, Any]) -> list[str]:
    """A line a side."""
    where, lines = [row["workload"], f"{row['density']:g}"], []
    for side, seconds in row["seconds"].items():
        ratio = row["ratio"].get(side)
        times = f"{ratio['median']:.1f} ({ratio['min']:.1f} to {ratio['max']:.1f})" if ratio else ""
        lines.append(line_of([*where, side, f"{1e3 * seconds:.4g}", times, *_rates(row["reached"].get(side))]))
    return lines + [line_of([*where, side, why, "", *_rates(None)]) for side, why in row["failed"].items()]


def _scaled(row: dict[str, Any]) -> str:
    which = [row["workload"], f"{row['models']:,}", row["engine"]]
    if "seconds" not in row:
        return line_of([*which, *row["failed"].values(), "", *_rates(None)])
    speed = [f"{1e6 * row['seconds']:.4g}", f"{row['models'] / row['seconds']:,.0f}"]
    return line_of([*which, *speed, *_rates(row["reached"])])


def _million(row: dict[str, Any]) -> str:
    """How long a whole run of a million models would take; empty of other rows."""
    if row["models"] != 10**6 or row["workload"] != "2->1" or "seconds" not in row:
        return ""
    whole = f"{MILLION_STEPS:,} steps of a million models 2 -> 1, batch 64, on {row['engine']}"
    return f"\n{whole}: {MILLION_STEPS * row['seconds']:,.0f} s, told from a step."


def _rates(reached: dict[str, float] | None) -> list[str]:
    if reached is None:
        return [""] * len(RATES)
    shares = (f"{reached[what]:.1%}" for what in ("of peak", "of by memory"))
    return [f"{reached['flop_per_s'] / 1e12:.3g}", *shares]
