"""Packing: trained models to the tensors of a pack, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.metrics import LEVELS, Measures
from toymodels.sweeps.spec.settings import Settings, canonical_json, schema_defaults
from toymodels.training.experiment import Experiment
from toymodels.training.trained import Trained

OK, DIVERGED = 0, 1


def pack_tensors(models: Sequence[int], trained: Trained, loss: Tensor) -> dict[str, Tensor]:
    """The tensors of a pack. Every pack has them all: what an architecture lacks is 0, a gain it lacks is 1.

    ``model, W_in[k,m,n], W_out[k,n,m], b_in[k,m], b_out[k,n], ln_gain[k,m], ln_bias[k,m], ln_eps[k], curve_step[s],
    curve[k,s], loss[k], status[k]`` (0 ok, 1 diverged), ``diverged_step[k]`` and, with snapshots, ``snapshot_step[s]``
    and ``snapshot_<name>[k,s,...]``.
    """
    parameters = trained.parameters
    k, m, n = parameters.W_in.shape
    tensors = {
        "model": torch.tensor(models, dtype=torch.int64),
        "W_in": parameters.W_in,
        "W_out": parameters.decoder.clone(memory_format=torch.contiguous_format),  # never a view of W_in
        "b_in": torch.zeros(k, m),
        "b_out": torch.zeros(k, n),
        "ln_gain": torch.ones(k, m),
        "ln_bias": torch.zeros(k, m),
        "ln_eps": torch.zeros(k, dtype=torch.float64),
        **{name: tensor for name, tensor in parameters.present().items() if name not in ("W_in", "W_out")},
        "curve_step": torch.from_numpy(trained.curve_step),
        "curve": trained.curve,
        "loss": torch.where(trained.diverged, torch.nan, loss),
        "status": torch.where(trained.diverged, DIVERGED, OK).to(torch.uint8),
        "diverged_step": trained.diverged_step,
    }
    if trained.snapshots:
        tensors["snapshot_step"] = torch.from_numpy(trained.snapshot_step)
        tensors |= {f"snapshot_{name}": kept for name, kept in trained.snapshots.items()}
    return tensors


def pack_shapes(e: Experiment, models: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a pack of so many models like ``e``: what `pack_tensors` makes."""
    k, m, n, recipe = models, e.bottleneck.hidden, e.features.n, e.training
    points, kept = len(recipe.curve_steps()), len(recipe.snapshot_steps())
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("model", "ln_eps", "loss", "status", "diverged_step"), (k,)),
        **dict.fromkeys(("b_in", "ln_gain", "ln_bias"), (k, m)),
        **{"W_in": (k, m, n), "W_out": (k, n, m), "b_out": (k, n), "curve_step": (points,), "curve": (k, points)},
    }
    if kept:
        b = e.bottleneck
        affine = b.layer_norm is not None and b.layer_norm.affine
        there = {"W_in": True, "W_out": not b.tied, "b_in": b.hidden_bias, "b_out": b.output_bias}
        trained = [name for name, has in (there | {"ln_gain": affine, "ln_bias": affine}).items() if has]
        shapes |= {f"snapshot_{name}": (k, kept, *shapes[name][1:]) for name in trained} | {"snapshot_step": (kept,)}
    return shapes


def least_bytes(e: Experiment, models: int) -> int:
    """Less than a pack of so many models like ``e`` takes: its numbers, four bytes each but for flags."""
    shapes = pack_shapes(e, models)
    return sum(math.prod(shape) for shape in shapes.values()) * 4 - 3 * math.prod(shapes["status"])


def pack_metadata(settings: Sequence[Settings], keys: Sequence[str], trained: Trained) -> dict[str, Any]:
    """What a pack says of itself: the models' settings and keys, and how many trained together."""
    return {**common_and_varying(settings), "keys": list(keys), "sub_batches": list(trained.sub_batches)}


def common_and_varying(settings: Sequence[Settings]) -> dict[str, Any]:
    """The settings of several models, said once where they agree, as lists where they do not."""
    named = [s.said_in_packs() for s in settings]
    defaults, names = schema_defaults(), dict.fromkeys(name for each in named for name in each)
    flat = [{name: each.get(name, defaults.get(name)) for name in names} for each in named]
    first = {name: canonical_json(value) for name, value in flat[0].items()}
    common = {name for name in first if all(canonical_json(f[name]) == first[name] for f in flat)}
    varying = {name: [f[name] for f in flat] for name in first if name not in common}
    return {"settings": {name: flat[0][name] for name in first if name in common}, "varying": varying}


def parameters(tensors: Mapping[str, Tensor], e: Experiment) -> Parameters:
    """The parameters in a pack, as the architecture of ``e`` has them."""
    b = e.bottleneck
    affine = b.layer_norm is not None and b.layer_norm.affine
    return Parameters(
        W_in=tensors["W_in"],
        W_out=None if b.tied else tensors["W_out"],
        b_in=tensors["b_in"] if b.hidden_bias else None,
        b_out=tensors["b_out"] if b.output_bias else None,
        ln_gain=tensors["ln_gain"] if affine else None,
        ln_bias=tensors["ln_bias"] if affine else None,
        ln_eps=tensors["ln_eps"] if b.layer_norm is not None else None,
    )


def measure_tensors(measures: Measures) -> dict[str, Tensor]:
    """The columns of `Measures` as tensors named ``level.column``."""
    return {f"{level}.{name}": column for level in LEVELS for name, column in getattr(measures, level).items()}
