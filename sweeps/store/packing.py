"""Packing: trained models to the tensors of a pack, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.metrics import LEVELS, Measures
from toymodels.sweeps.spec.schema import DEFAULTS
from toymodels.sweeps.spec.settings import Settings, canonical_json
from toymodels.sweeps.store.contents import LACKING, SNAPSHOT, tensors_of
from toymodels.training.experiment import Experiment
from toymodels.training.trained import Trained

OK, DIVERGED = 0, 1


def pack_tensors(like: Experiment, models: Sequence[int], trained: Trained, loss: Tensor) -> dict[str, Tensor]:
    """The tensors of a pack of these models, which are like ``like``: those of `toymodels.sweeps.store.contents`.

    ``loss[model]`` is on fresh data; it is NaN of a model that diverged, of which ``status`` is 1 and not 0.
    """
    parameters = trained.parameters
    known = parameters.present() | {
        "model": torch.tensor(models),
        "W_out": parameters.decoder.clone(memory_format=torch.contiguous_format),  # never a view of W_in
        "curve_step": torch.from_numpy(trained.curve_step),
        "curve": trained.curve,
        "loss": torch.where(trained.diverged, torch.nan, loss),
        "status": torch.where(trained.diverged, DIVERGED, OK),
        "diverged_step": trained.diverged_step,
    }
    if trained.snapshots:
        known[f"{SNAPSHOT}step"] = torch.from_numpy(trained.snapshot_step)
        known |= {f"{SNAPSHOT}{name}": kept for name, kept in trained.snapshots.items()}
    return {
        name: known[name].to(of.dtype) if name in known else torch.full(of.shape, LACKING[name], dtype=of.dtype)
        for name, of in tensors_of(like, len(models)).items()
    }


def pack_metadata(settings: Sequence[Settings], keys: Sequence[str], trained: Trained) -> dict[str, Any]:
    """What a pack says of itself: the models' settings and keys, and how many trained together."""
    return {**common_and_varying(settings), "keys": list(keys), "sub_batches": list(trained.sub_batches)}


def common_and_varying(settings: Sequence[Settings]) -> dict[str, Any]:
    """The settings of several models, said once where they agree, as lists where they do not."""
    named = [s.said_in_packs() for s in settings]
    names = dict.fromkeys(name for each in named for name in each)
    flat = [{name: each.get(name, DEFAULTS[name]) for name in names} for each in named]
    first = {name: canonical_json(value) for name, value in flat[0].items()}
    common = {name for name in first if all(canonical_json(f[name]) == first[name] for f in flat)}
    varying = {name: [f[name] for f in flat] for name in first if name not in common}
    return {"settings": {name: flat[0][name] for name in first if name in common}, "varying": varying}


def parameters(tensors: Mapping[str, Tensor], e: Experiment) -> Parameters:
    """The parameters in a pack, as the architecture of ``e`` has them."""
    return Parameters(**{name: tensors[name] for name in (*e.bottleneck.axes, *e.bottleneck.fixed)})


def snapshot_steps(tensors: Mapping[str, Tensor]) -> Tensor:
    """The steps after which the weights in a pack were kept, int64 [snapshot]; none where they were not."""
    return tensors.get(f"{SNAPSHOT}step", torch.zeros(0, dtype=torch.int64))


def snapshots(tensors: Mapping[str, Tensor], e: Experiment, place: int) -> Parameters | None:
    """What the parameters of the model at this place of a pack were after those steps, [snapshot, ...] each.

    None where no weights were kept. What training leaves alone is the same in every snapshot.
    """
    count = len(snapshot_steps(tensors))
    if not count:
        return None
    kept = {name: tensors[f"{SNAPSHOT}{name}"][place] for name in e.bottleneck.axes}
    return Parameters(
        **kept, **{name: tensors[name][place].expand(count, *tensors[name].shape[1:]) for name in e.bottleneck.fixed}
    )


def measure_tensors(measures: Measures) -> dict[str, Tensor]:
    """The columns of `Measures` as tensors named ``level.column``."""
    return {f"{level}.{name}": column for level in LEVELS for name, column in getattr(measures, level).items()}
