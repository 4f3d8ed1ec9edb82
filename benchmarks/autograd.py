"""The autograd engine against the standard recipe, interleaved in one run; and grouped against mixed activations.

    python -m benchmarks.autograd [--device cuda] [--out benchmarks/results]

Every model of ours has its own seed. First both sides train the same task, and unless their final losses agree
nothing is timed. Writes one Markdown and one JSON record.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import toymodels as tm
from benchmarks import recipe

WORKLOADS = {
    "W1: 10 x 5->2": (10, 5, 2, 1024),
    "W2: 20 x 100->20": (20, 100, 20, 1024),
    "W3: 20 x 200->20": (20, 200, 20, 1024),
    "W8: 200 x 20->5": (200, 20, 5, 1024),
}
LARGE = {
    "1,000 x 64->16": (1000, 64, 16, 256),
    "10,000 x 20->5": (10_000, 20, 5, 1024),
    "100,000 x 2->1": (100_000, 2, 1, 64),
}
DENSITY = 0.05
REPEATS = 3
SECONDS = 2.0
SHORT = 5
LEARNED_STEPS = 1500


def clock(device: str, work: Callable[[], Any]) -> float:
    """Seconds that ``work`` takes, to its last kernel."""
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def experiments(n_models: int, n: int, m: int, batch: int, steps: int) -> list[tm.Experiment]:
    """The recipe's task for our engine."""
    training = tm.Training(steps=steps, batch=batch)
    return [tm.Experiment(tm.Features(n, DENSITY), tm.Bottleneck(m), training, seed=seed) for seed in range(n_models)]


def compare(workload: tuple[int, int, int, int], device: str) -> dict[str, Any]:
    """Milliseconds a step of both sides, interleaved, with the ratio recipe / ours of each pair.

    A step's time is that of a long run less a short one: what is done once, before the first step, is not in it.
    """
    n_models, n, m, batch = workload
    built = {steps: experiments(n_models, n, m, batch, steps) for steps in (SHORT,)}

    def ours(steps: int) -> None:
        tm.train(built[steps], device=device)

    def theirs(steps: int) -> None:
        recipe.train(n_models, n, m, DENSITY, batch, steps, device)

    def per_step(side: Callable[[int], None], steps: int) -> float:
        short = clock(device, lambda: side(SHORT))
        return max(clock(device, lambda: side(steps)) - short, 1e-9) / (steps - SHORT)

    theirs(SHORT)
    ours(SHORT)
    probe = 4 * SHORT
    built[probe] = experiments(n_models, n, m, batch, probe)
    steps = probe + max(10, min(1000, int(SECONDS / per_step(ours, probe))))
    built[steps] = experiments(n_models, n, m, batch, steps)
    pairs = [(per_step(ours, steps), per_step(theirs, steps)) for _ in range(REPEATS)]
    ratios = [them / us for us, them in pairs]
    return {
        "steps": steps,
        "ours_ms": statistics.median(us for us, _ in pairs) * 1e3,
        "recipe_ms": statistics.median(them for _, them in pairs) * 1e3,
        "ratio": {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
        "models_x_steps_per_s": n_models / statistics.median(us for us, _ in pairs),
        "peak_device_bytes": peak_bytes(device, lambda: ours(SHORT)),
    }


def peak_bytes(device: str, work: Callable[[], Any]) -> int | None:
    """The most device memory that ``work`` holds at once; None on a CPU."""
    if device != "cuda":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated()


def same_learning(device: str) -> dict[str, float]:
    """Mean final batch loss of both sides on 20 x 20->5; raises unless they agree within 4 standard errors."""
    ours = tm.train(experiments(20, 20, 5, 1024, LEARNED_STEPS), device=device).curve[:, -1]
    theirs = recipe.train(20, 20, 5, DENSITY, 1024, LEARNED_STEPS, device).cpu()
    spread = (ours.var() / len(ours) + theirs.var() / len(theirs)).sqrt().item()
    if abs(ours.mean() - theirs.mean()) > 4 * spread:
        raise SystemExit(
            f"the two sides learn different things: {ours.mean():.5f} and {theirs.mean():.5f} ± {spread:.5f}"
        )
    return {"ours": ours.mean().item(), "recipe": theirs.mean().item(), "standard_error": spread}


def grouped_or_mixed(device: str) -> dict[str, float]:
    """Seconds for 300 steps of 4 x 8 models 64->16: one group an activation, or all in one batch with four slices."""
    arms = (tm.ReLU(), tm.GeLU(), tm.SoLU(), tm.Linear())

    class Mixed(tm.Activation):
        name = "mixed"

        def __call__(self, z: torch.Tensor, dim: int = -1) -> torch.Tensor:
            return torch.cat([arm(part, dim) for arm, part in zip(arms, z.chunk(len(arms)), strict=True)])

    def make(activation: tm.Activation, seeds: range) -> list[tm.Experiment]:
        features, training = tm.Features(64, DENSITY), tm.Training(steps=300, batch=256)
        return [tm.Experiment(features, tm.Bottleneck(16, activation), training, seed=seed) for seed in seeds]

    mixed = Mixed()
    grouped = lambda: [tm.train(make(arm, range(8)), device=device) for arm in arms]  # noqa: E731
    together = lambda: tm.train(make(mixed, range(32)), device=device)  # noqa: E731
    pairs = [(clock(device, grouped), clock(device, together)) for _ in range(REPEATS)]
    return {
        "grouped_s": statistics.median(g for g, _ in pairs),
        "mixed_s": statistics.median(t for _, t in pairs),
        "ratio_median": statistics.median(t / g for g, t in pairs),
    }


def machine(device: str) -> dict[str, Any]:
    """What this ran on."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "toymodels": tm.__version__,
    }


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    lines = [
        f"# Autograd engine against the standard recipe, {record['machine']['device']}",
        "",
        ", ".join(f"{name} {value}" for name, value in record["machine"].items() if name != "device"),
        "",
        f"Density {DENSITY}, tied, ReLU output, Adam 1e-3; {REPEATS} interleaved repeats; ratio = recipe / ours.",
        "",
        "| workload | ours, ms a step | recipe, ms a step | ratio min / median / max | models x steps / s | MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in record["workloads"].items():
        ratio = " / ".join(f"{row['ratio'][key]:.2f}" for key in ("min", "median", "max"))
        peak = "" if row["peak_device_bytes"] is None else f"{row['peak_device_bytes'] / 2**20:,.0f}"
        times = (f"{row['ours_ms']:.3g}", f"{row['recipe_ms']:.3g}", ratio, f"{row['models_x_steps_per_s']:,.0f}")
        cells = (name, *times, peak)
        lines.append(f"| {' | '.join(cells)} |")
    learned, mixed = record["same_learning"], record["grouped_or_mixed"]
    lines += [
        "",
        f"Same learning: mean batch loss after {LEARNED_STEPS} steps of 20 x 20->5 is {learned['ours']:.5f} (ours) and "
        f"{learned['recipe']:.5f} (recipe), standard error {learned['standard_error']:.5f}.",
        "",
        f"Activations: one group each takes {mixed['grouped_s']:.2f} s, mixed in one batch {mixed['mixed_s']:.2f} s "
        f"(median ratio {mixed['ratio_median']:.2f}).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    device = arguments.device
    workloads = WORKLOADS | LARGE if device == "cuda" else WORKLOADS
    record: dict[str, Any] = {"machine": machine(device), "same_learning": same_learning(device), "workloads": {}}
    for name, workload in workloads.items():
        record["workloads"][name] = compare(workload, device)
    record["grouped_or_mixed"] = grouped_or_mixed(device)
    page = markdown(record)
    print(page)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"autograd-{device}.md").write_text(page)
    (arguments.out / f"autograd-{device}.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
