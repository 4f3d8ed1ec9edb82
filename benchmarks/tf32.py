"""What products of factors rounded to TF32 change in what models learn, rounding emulated on a CPU.

    python -m benchmarks.tf32 [--seeds 8] [--steps 3000] [--out benchmarks/results]

TF32 has float32's exponent and 10 bits of its 23 of mantissa; products are summed in float32 (NVIDIA 2020, *A100 Tensor
Core GPU Architecture*). The decoder 64 -> 16 -> 64 of `toymodels` (density .04, batch 256) is trained by the autograd
engine with the factors of every matrix product, forward and backward, *rounded* to the nearest such number, ties away
from 0, or *cut* to it, as hardware does with factors that nobody rounded. Beside them what differences look like: those
of the fused engine, which sums in another order, and of factors rounded to bfloat16 (7 bits of mantissa) and to 4 bits.
Differences are paired by seed, with Student's interval; how products are summed on a GPU is not emulated.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.timing import RESULTS, machine, write
from toymodels import (
    Bottleneck,
    Embedding,
    Experiment,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    SoLU,
    Training,
    measure,
    train,
)
from toymodels.hypotheses.statistics.intervals import student_interval

aten = torch.ops.aten
PRODUCTS = (aten.mm.default, aten.bmm.default, aten.baddbmm.default, aten.addmm.default)
TF32, BFLOAT16, COARSE = 13, 16, 19
"""bits of float32's mantissa that these have not"""
SAMPLES = 50_000
CUT = 0.5
"""the R^2 above which a feature is recovered, or in one neuron"""
SETS = {"features recovered": "r2", "features in one neuron": "best_neuron_r2_post"}
"""sets of features, and the column of the table of features that says which are in"""


def cut(x: Tensor, bits: int = TF32) -> Tensor:
    """The number without the last ``bits`` that is next to x towards 0."""
    return (x.view(torch.int32) & -(1 << bits)).view(torch.float32)


def rounded(x: Tensor, bits: int = TF32) -> Tensor:
    """The number without the last ``bits`` that is nearest to x, the larger one of two."""
    return cut((x.view(torch.int32) + (1 << (bits - 1))).view(torch.float32), bits)


class Products(TorchDispatchMode):
    """Factors of matrix products are made other numbers while this is entered; what is added to them is not."""

    def __init__(self, made: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.made = made
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.count += 1
            args = (*args[:-2], *map(self.made, args[-2:]))
        return func(*args, **(kwargs or {}))


def arms(seeds: int, steps: int) -> dict[str, list[Experiment]]:
    """Decoders by name, a seed each."""
    recipe = Training(steps=steps, batch=256, learning_rate=3e-3)
    layers = {"gelu": (GeLU(), None), "solu": (SoLU(), None), "solu+LN": (SoLU(), LayerNorm())}
    return {
        name: [
            Experiment(
                Features(64, 0.04),
                Bottleneck(
                    64,
                    activation,
                    norm,
                    Linear(),
                    tied=False,
                    hidden_bias=True,
                    embedding=Embedding(16),
                    init_scale=2.0,
                ),
                recipe,
                seed=seed,
            )
            for seed in range(seeds)
        ]
        for name, (activation, norm) in layers.items()
    }


def learnt(
    experiments: list[Experiment], engine: str, made: Callable[[Tensor], Tensor] | None
) -> dict[str, np.ndarray]:
    """The loss fraction of every model, [model], and which features are in each of `SETS`, bool [model, feature]."""
    products = Products(made) if made else None
    with products or nullcontext():
        parameters = train(experiments, engine=engine).parameters
    assert products is None or products.count > experiments[0].training.steps
    found = measure(experiments, parameters, SAMPLES)
    return {"loss fraction": found.models["loss_fraction"].double().numpy()} | {
        of: (found.features[column] > CUT).numpy() for of, column in SETS.items()
    }


def apart(exact: np.ndarray, other: np.ndarray) -> str:
    """The mean difference, paired by seed, with its interval; of sets, of their sizes, and how many came and went."""
    if exact.dtype != bool:
        found = student_interval(other - exact)
        assert found is not None
        return f"{found.mean:+.2g} ({found.low:+.2g} to {found.high:+.2g})"
    came, went = int((other & ~exact).sum()), int((exact & ~other).sum())
    return f"{came} in, {went} out of {exact.size}"


def main(arguments: list[str] | None = None) -> None:
    """Train, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    ways = {
        "tf32, rounded": ("autograd", rounded),
        "tf32, cut": ("autograd", cut),
        "bfloat16": ("autograd", partial(rounded, bits=BFLOAT16)),
        "4 bits": ("autograd", partial(rounded, bits=COARSE)),
        "fused": ("fused", None),
    }
    rows, lines = [], ["| arm | of | float32 | " + " | ".join(ways) + " |", "|" + "---|" * (3 + len(ways))]
    for arm, experiments in arms(asked.seeds, asked.steps).items():
        exact = learnt(experiments, "autograd", None)
        others = {way: learnt(experiments, engine, made) for way, (engine, made) in ways.items()}
        for of, values in exact.items():
            found = {"float32": values} | {way: other[of] for way, other in others.items()}
            of_models = {way: each if each.ndim == 1 else each.sum(1) for way, each in found.items()}
            differences = {way: apart(values, found[way]) for way in others}
            numbers = {way: each.tolist() for way, each in of_models.items()}
            rows.append({"arm": arm, "of": of, "of models": numbers, "apart": differences})
            mean, spread = of_models["float32"].mean(), of_models["float32"].std(ddof=1)
            lines.append(f"| {arm} | {of} | {mean:.4g} ± {spread:.2g} | {' | '.join(differences.values())} |")
            print(lines[-1], flush=True)
    head = (
        f"# Products in TF32, emulated\n\nDecoders 64 -> 16 -> 64, density .04, {asked.steps:,} steps of 256, "
        f"{asked.seeds} seeds: float32's mean ± standard deviation over seeds; of the others what the loss fraction is "
        "more, paired by seed, with 95 % intervals, and how many features came into a set and left it. All are "
        "measured in float32. Emulated on a CPU: no GPU did this.\n"
    )
    write(asked.out, "tf32-emulated", head + "\n" + "\n".join(lines) + "\n", {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
