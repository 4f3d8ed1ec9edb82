"""Examples as columns or as rows: one training step's forward and backward pass, both ways, interleaved.

    python -m benchmarks.layout [--out benchmarks/results]

Why the batch is the last axis everywhere, and why a pack holds about 2^20 numbers of one batch. Microseconds a model.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

SHAPES = ((5, 2, 1024), (64, 16, 256), (64, 16, 1024), (200, 20, 1024))
MODELS = (1, 8, 32, 128)
LARGEST = 10**7
REPEATS = 5
STEPS = 10


def step(W: Tensor, x: Tensor, activation: str, columns: bool) -> None:
    """Loss and gradient of tied models with a ReLU output; x is [model, feature, batch], or [model, batch, feature]."""
    neurons = 1 if columns else 2
    z = W @ x if columns else x @ W.transpose(1, 2)
    a = z * torch.softmax(z, neurons) if activation == "solu" else torch.relu(z)
    y = torch.relu(W.transpose(1, 2) @ a if columns else a @ W)
    torch.autograd.grad((y - x).square().sum(), W)


def microseconds(n_models: int, n: int, m: int, batch: int, activation: str, columns: bool) -> float:
    """One step's time a model, over `STEPS` steps."""
    W = (torch.randn(n_models, m, n) / m**0.5).requires_grad_()
    x = torch.rand(n_models, n, batch) * (torch.rand(n_models, n, batch) < 0.06)
    x = x if columns else x.transpose(1, 2).contiguous()
    step(W, x, activation, columns)
    begin = time.perf_counter()
    for _ in range(STEPS):
        step(W, x, activation, columns)
    return (time.perf_counter() - begin) / STEPS / n_models * 1e6


def main() -> None:
    """Run, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    out = parser.parse_args().out
    lines = [
        "# Examples as columns or rows",
        "",
        f"Forward and backward pass, µs a model, median of {REPEATS} interleaved repeats, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}.",
        "",
        "| shape, batch | models | relu, columns / rows | solu, columns / rows |",
        "|---|---|---|---|",
    ]
    for n, m, batch in SHAPES:
        for n_models in MODELS:
            if n_models * n * batch > LARGEST:
                continue
            cells = []
            for activation in ("relu", "solu"):
                pairs = [
                    [microseconds(n_models, n, m, batch, activation, columns) for columns in (True, False)]
                    for _ in range(REPEATS)
                ]
                cells.append(" / ".join(f"{statistics.median(side):.0f}" for side in zip(*pairs, strict=True)))
            lines.append(f"| {n}->{m}, {batch} | {n_models} | {' | '.join(cells)} |")
    page = "\n".join(lines) + "\n"
    print(page)
    out.mkdir(parents=True, exist_ok=True)
    (out / "layout-cpu.md").write_text(page)


if __name__ == "__main__":
    main()
