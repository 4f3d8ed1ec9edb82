"""What a step of training sparse dictionaries takes beside plain PyTorch, on one core, in one run.

    python -m benchmarks.dictionaries [--out benchmarks/results]

Ours is batched over models. Plain is a model after the other, the loss as it is written, autograd, Adam (fused) and
columns brought back to norm 1: no gradients by hand, no memory kept. Both are given the same activations, and take the
same steps.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.timing import RESULTS, clock, keep_to_one_core, machine, write
from toymodels.metrics.dictionaries import L1, BatchTopK, JumpReLU, Matryoshka, Sparsity, TopK, fit

MODELS, SAMPLES, STEPS, REPEATS = 4, 16_384, 600, 3
SIZES = {"16 -> 24": (16, 24, 256), "32 -> 64": (32, 64, 512)}
"""hidden -> latents, and the batch"""
K = 3


def kinds(latents: int) -> dict[str, tuple[Sparsity, Callable[[Tensor, Tensor], Tensor]]]:
    """Each kind of ours, and how plain PyTorch makes latents of z [batch, latent] and a threshold."""

    def top_k(z: Tensor, threshold: Tensor) -> Tensor:
        values, index = z.relu().topk(K, dim=1)
        return torch.zeros_like(z).scatter(1, index, values)

    def batch_top_k(z: Tensor, threshold: Tensor) -> Tensor:
        values, index = z.relu().flatten().topk(K * len(z))
        return torch.zeros_like(z).flatten().scatter(0, index, values).view_as(z)

    def jump_relu(z: Tensor, threshold: Tensor) -> Tensor:
        return z * _step(z, threshold).detach() + threshold.detach() * (_step(z, threshold) - (z > threshold).float())

    return {
        "L1": (L1(0.1), lambda z, _: z.relu()),
        "TopK": (TopK(K), top_k),
        "BatchTopK": (BatchTopK(K), batch_top_k),
        "JumpReLU": (JumpReLU(K), jump_relu),
        "Matryoshka, 3 levels": (Matryoshka(BatchTopK(K), (latents // 4, latents // 2)), batch_top_k),
    }


def _step(z: Tensor, threshold: Tensor, width: float = 0.4) -> Tensor:
    ramp = ((z.detach() - threshold) / width + 0.5).clamp(0, 1)
    return (z > threshold).float() + ramp - ramp.detach()


def plain(kind: Sparsity, select: Callable[[Tensor, Tensor], Tensor], a: Tensor, latents: int, batch: int) -> None:
    """Train a dictionary of one model on ``a [sample, hidden]``."""
    u = a / a.square().sum(1).mean().sqrt()
    D = torch.nn.functional.normalize(torch.randn(latents, a.shape[1])).requires_grad_()
    E, c = D.detach().T.clone().requires_grad_(), torch.zeros(latents, requires_grad=True)
    d, threshold = torch.zeros(a.shape[1], requires_grad=True), torch.full((latents,), 0.05, requires_grad=True)
    parameters = [E, c, D, d] + [threshold] * isinstance(kind, JumpReLU)
    optimizer = torch.optim.Adam(parameters, lr=2e-3, betas=(0.0, 0.999), fused=True)
    for step in range(STEPS):
        first = step * batch % (len(u) - batch)
        seen = u[first : first + batch]
        z = seen @ E + c
        f = select(z, threshold)
        errors = [(f[:, : g.stop] @ D[: g.stop] + d - seen).square().sum(1).mean() for g in kind.levels(latents)]
        loss = torch.stack(errors).mean()
        if isinstance(kind, L1):
            loss = loss + 0.1 * f.sum(1).mean()
        if isinstance(kind, JumpReLU):
            loss = loss + (_step(z, threshold).sum(1).mean() / K - 1) ** 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            D.div_(D.norm(dim=1, keepdim=True))


def measured(name: str, hidden: int, latents: int, batch: int) -> dict[str, float]:
    """Microseconds of processor time a step of a model, medians, one side after the other."""
    kind, select = kinds(latents)[name]
    a = torch.randn(MODELS, hidden, SAMPLES, generator=torch.Generator().manual_seed(0)).relu()
    rows = a.transpose(1, 2).contiguous()
    fit(a, kind, latents, range(MODELS), 2, batch)  # compiles what is compiled
    ours, theirs = [], []
    for _ in range(REPEATS):
        ours.append(clock("core", lambda: fit(a, kind, latents, range(MODELS), STEPS, batch)))
        theirs.append(clock("core", lambda: [plain(kind, select, each, latents, batch) for each in rows]))
    of_ours, of_theirs = (1e6 * statistics.median(each) / MODELS / STEPS for each in (ours, theirs))
    return {"ours, us": of_ours, "plain, us": of_theirs, "plain / ours": of_theirs / of_ours}


def page(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        f"# Sparse dictionaries, {record['machine']['device']}",
        "",
        f"A step of one model: {MODELS} models together, {STEPS} steps with all that `fit` does (revivals, the "
        f"threshold at the end), beside a loop of plain PyTorch a model in the same run. Processor time on "
        f"{record['machine']['threads']} thread, median of {REPEATS}.",
        "",
        "| hidden -> latents | batch | kind | ours, us | plain, us | plain / ours |",
        "|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        numbers = f"{row['ours, us']:,.0f} | {row['plain, us']:,.0f} | {row['plain / ours']:.1f}"
        lines.append(f"| {row['size']} | {row['batch']} | {row['kind']} | {numbers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    keep_to_one_core()
    rows = [
        {"size": size, "batch": setting[2], "kind": name, **measured(name, *setting)}
        for size, setting in SIZES.items()
        for name in kinds(setting[1])
    ]
    record = {"machine": machine(), "rows": rows}
    write(out, "dictionaries-cpu", page(record), record)


if __name__ == "__main__":
    main()
