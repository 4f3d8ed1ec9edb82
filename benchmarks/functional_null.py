"""What the null of functional alignment takes beside training the same models, on one core, in one run.

    python -m benchmarks.functional_null [--out benchmarks/results]

The null is that of `toymodels.metrics.functional_alignment`: 200 rotations and the identity, on 4,096 samples. Training
is 6,000 steps of batch 256 by the fused engine. Models are untied SoLU + LayerNorm of binary features.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import toymodels as tm
from benchmarks.timing import RESULTS, clock, keep_to_one_core, machine, write
from toymodels.hosts import Models
from toymodels.metrics.functional_alignment import DRAWS, NULL_ON, functional_null

RECIPE = tm.Training(steps=6000, batch=256, learning_rate=3e-3, schedule=tm.Cosine())
MODELS, REPEATS = 4, 5
SETTINGS = {
    "64 -> 16": (0.062, 16, 0),
    "64 -> 16 -> 32, decoder": (0.04, 32, 16),
    "64 -> 16 -> 64, decoder": (0.04, 64, 16),
}
"""density, neurons, rows of the embedding or 0 without one"""


def experiments(density: float, hidden: int, embedding: int) -> list[tm.Experiment]:
    """Models of one structure, a seed each."""
    decoder = tm.Embedding(embedding) if embedding else None
    bottleneck = tm.Bottleneck(
        hidden, tm.SoLU(), tm.LayerNorm(), tm.Linear(), tied=False, hidden_bias=bool(embedding), embedding=decoder
    )
    features = tm.Features(64, density, values=tm.Binary())
    return [tm.Experiment(features, bottleneck, RECIPE, seed=seed) for seed in range(MODELS)]


def measured(es: list[tm.Experiment]) -> dict[str, float]:
    """Milliseconds a model of processor time, medians of some repeats, one after the other."""
    trained = tm.train(es, engine="fused")
    functional_null(Models(es, trained.parameters), NULL_ON)  # draws the rotations, which are kept
    training, null = [], []
    for _ in range(REPEATS):
        training.append(clock("core", lambda: tm.train(es, engine="fused")) / len(es))
        null.append(clock("core", lambda: functional_null(Models(es, trained.parameters), NULL_ON)) / len(es))
    of_training, of_null = 1e3 * statistics.median(training), 1e3 * statistics.median(null)
    return {"training, ms": of_training, "null, ms": of_null, "null / training": of_null / of_training}


def page(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        f"# The null of functional alignment, {record['machine']['device']}",
        "",
        f"A model, on {record['machine']['threads']} thread: {DRAWS} rotations on {NULL_ON:,} samples, beside training "
        f"{RECIPE.steps:,} steps of batch {RECIPE.batch} by the fused engine in the same run. Processor time, median "
        f"of {REPEATS}; SoLU + LayerNorm, untied, binary.",
        "",
        "| model | density | training, ms | null, ms | null / training |",
        "|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        numbers = f"{row['training, ms']:,.0f} | {row['null, ms']:,.1f} | {row['null / training']:.2f}"
        lines.append(f"| {row['model']} | {row['density']} | {numbers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    keep_to_one_core()
    rows = [
        {"model": name, "density": setting[0], **measured(experiments(*setting))} for name, setting in SETTINGS.items()
    ]
    record = {"machine": machine(), "rows": rows}
    write(out, "functional-null-cpu", page(record), record)


if __name__ == "__main__":
    main()
