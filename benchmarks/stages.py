"""Where a step of the fused engine goes: the stages of one tile, on one core, each the difference of two prefixes.

    python -m benchmarks.stages [--out benchmarks/results]

FLOP are those of dense products; bytes are what a stage reads and writes of rows, which the first caches hold.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks.timing import RESULTS, machine, sgemm, write
from benchmarks.workload import WORKLOADS, Workload
from toymodels.engines.fused.batch import Batch
from toymodels.kernels.bottleneck import backward, embed, error, forward, given_of, read_pitch
from toymodels.kernels.draw import draw_of, draw_tile
from toymodels.kernels.products import sort_rows
from toymodels.kernels.vector import LANES, pointer
from toymodels.kernels.workspace import room_of, workspace

STAGES = ("draw", "sort", "embed", "forward", "error", "backward")
CHOSEN = ("W2", "W3", "W5", "W6 solu+LN", "W8", "W4", "W9", "W10")
REPEATS = 7
SECONDS = 0.05


@numba.njit(error_model="numpy")
def prefix(last, shape, source, own, theta, work, tiles):
    """Every stage up to ``last``, on so many tiles."""
    room, draw, weights, given = room_of(work), draw_of(source, 0), pointer(theta), given_of(own, 0)
    for tile in range(tiles):
        draw_tile(draw, shape.n, 0, tile, 0, 1, room.x, room.group)
        if last == 0:
            continue
        x = sort_rows(room.x, shape.n, read_pitch(shape), room.input_lists, room.input_lanes)
        if last == 1:
            continue
        inputs = embed(shape, weights, given, x, room)
        if last == 2:
            continue
        post = forward(shape, weights, given.eps, inputs, room)
        if last == 3:
            continue
        error(shape, given, 0, room)
        if last == 4:
            continue
        backward(shape, weights, x, inputs, post, room)


def stages(workload: Workload, density: float) -> dict[str, float]:
    """Nanoseconds a tile of each stage, at the start of training."""
    batch = Batch.of(workload.experiments(density, 2)[:1])
    work = workspace(batch.shape)
    arguments, whole = (batch.shape, batch.source, batch.own, batch.state.theta[0], work), len(STAGES) - 1
    prefix(whole, *arguments, 10)
    begin = time.perf_counter()
    prefix(whole, *arguments, 100)
    tiles = max(10, int(SECONDS / (time.perf_counter() - begin) * 100))

    def once(last: int) -> float:
        begin = time.process_time()
        prefix(last, *arguments, tiles)
        return (time.process_time() - begin) / tiles * 1e9

    repeats = [[once(last) for last in range(len(STAGES))] for _ in range(REPEATS)]
    until = [statistics.median(times) for times in zip(*repeats, strict=True)]
    return dict(zip(STAGES, np.diff([0.0, *until]).tolist(), strict=True))


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    lines = [
        f"# The stages of a step, {record['machine']['device']}",
        "",
        f"ns a tile of {record['lanes']} samples on one core, processor time, median of {REPEATS}. Products: two "
        f"in forward, three in backward, 2 n m {record['lanes']} FLOP each, and one of a decoder in embed; torch's "
        f"sgemm on {record['machine']['threads']} threads {record['sgemm_gflop_per_s']:,.0f} GFLOP/s.",
        "",
        f"| workload | density | {' | '.join(STAGES)} | GFLOP/s of embed + forward + backward | rows, KiB |",
        "|" + "---|" * (len(STAGES) + 4),
    ]
    for row in record["rows"]:
        cells = " | ".join(f"{max(row['ns'][name], 0.0):,.0f}" for name in STAGES)
        lines.append(
            f"| {row['workload']} | {row['density']} | {cells} | {row['gflop_per_s']:,.0f} | {row['rows_kib']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    rows = []
    for workload in (w for name in CHOSEN for w in WORKLOADS if w.name == name):
        for density in workload.densities:
            ns = stages(workload, density)
            products = workload.flop() / workload.batch * LANES
            rows.append(
                {
                    "workload": str(workload),
                    "density": density,
                    "ns": ns,
                    "gflop_per_s": products / (ns["embed"] + ns["forward"] + ns["backward"]),
                    "rows_kib": 4 * LANES * (2 * workload.n + workload.embedding + 6 * workload.m) / 1024,
                }
            )
    record = {"machine": machine(), "lanes": LANES, "sgemm_gflop_per_s": sgemm() / 1e9, "rows": rows}
    write(out, "stages-cpu", markdown(record), record)


if __name__ == "__main__":
    main()
