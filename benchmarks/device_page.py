"""The record of `benchmarks.device` as a page."""

from __future__ import annotations

from typing import Any

MILLION_STEPS = 6000
"""of the run whose length is told from a step of a million models 2 -> 1"""
RATES = ("TFLOP/s", "of peak", "on chip", "by memory")


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
        lines += _table("workload", "density", "side", "ms a step", "x ours", *RATES)
        lines += [line for row in record["rows"] for line in _compared(row)]
        means = ", ".join(f"{mean:.2f} x {peer}" for peer, mean in record["geometric_mean"].items())
        lines += ["", f"Geometric means of all workloads (densities, and kinds of W6, as one): {means}."]
    if record["scale"]:
        lines += _table("sizes", "models", "engine", "µs a step", "models x steps / s", *RATES)
        lines += [_scaled(row) for row in record["scale"]]
        lines += [said for row in record["scale"] if (said := _million(row))]
    if record["resources"]:
        lines += ["", *(f"* {of}: {told}" for of, told in record["resources"].items())]
    if record["left_out"]:
        lines += ["", f"Not begun, as the time was up: {', '.join(record['left_out'])}."]
    for row in record["learning"]:
        found = ", ".join(f"{side} {loss:.5f} ± {error:.5f}" for side, (loss, error) in row["losses"].items())
        lines += ["", f"Same learning, {row['workload']}: {found}"]
    return "\n".join(lines) + "\n"


def _measured(peaks: dict[str, float]) -> str:
    return (
        f"Measured in the last call: {peaks['flop'] / 1e12:.3g} TFLOP/s of float32 products "
        f"({peaks['flop_tf32'] / 1e12:.3g} where tf32 is allowed), {peaks['bytes'] / 1e9:,.0f} GB/s of a copy, "
        f"{1e6 * peaks['launch']:.1f} µs an operation launched. *On chip* is the time of a step's products at that "
        "peak, *by memory* that of writing and reading every array once, if it is longer; a share is that time over "
        "the measured one, both of one call where the record is of several."
    )


def _table(*titles: str) -> list[str]:
    return ["", _row(titles), "|" + "---|" * len(titles)]


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _compared(row: dict[str, Any]) -> list[str]:
    """A line a side."""
    where, lines = [row["workload"], f"{row['density']:g}"], []
    for side, seconds in row["seconds"].items():
        ratio = row["ratio"].get(side)
        times = f"{ratio['median']:.1f} ({ratio['min']:.1f} to {ratio['max']:.1f})" if ratio else ""
        lines.append(_row([*where, side, f"{1e3 * seconds:.4g}", times, *_rates(row["reached"].get(side))]))
    return lines + [_row([*where, side, why, "", *_rates(None)]) for side, why in row["failed"].items()]


def _scaled(row: dict[str, Any]) -> str:
    which = [row["workload"], f"{row['models']:,}", row["engine"]]
    if "seconds" not in row:
        return _row([*which, *row["failed"].values(), "", *_rates(None)])
    speed = [f"{1e6 * row['seconds']:.4g}", f"{row['models'] / row['seconds']:,.0f}"]
    return _row([*which, *speed, *_rates(row["reached"])])


def _million(row: dict[str, Any]) -> str:
    """How long a whole run of a million models would take; empty of other rows."""
    if row["models"] != 10**6 or row["workload"] != "2->1" or "seconds" not in row:
        return ""
    whole = f"{MILLION_STEPS:,} steps of a million models 2 -> 1, batch 64, on {row['engine']}"
    return f"\n{whole}: {MILLION_STEPS * row['seconds']:,.0f} s, told from a step."


def _rates(reached: dict[str, float] | None) -> list[str]:
    if reached is None:
        return [""] * len(RATES)
    shares = (f"{reached[what]:.1%}" for what in ("of peak", "of on chip", "of by memory"))
    return [f"{reached['flop_per_s'] / 1e12:.3g}", *shares]
