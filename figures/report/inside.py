"""The inside of models as the explorer has it: rows of their tables, columns of W_in in a plane, and weights.

    D = W_in, or W_in E of a decoder    [hidden, feature]
    plane = U^T D,    U the two left singular vectors of D with the largest singular values s_1 >= s_2
    share = (s_1^2 + s_2^2) / sum_k s_k^2

The plane is through 0 and keeps most of sum_i |D_i|^2, so that lengths and angles of features are seen; with two hidden
neurons it is D itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters, directions
from toymodels.figures.report.carried import Carried, Size
from toymodels.figures.report.columns import of_rows
from toymodels.figures.report.packed import Packed
from toymodels.surroundings import undisturbed
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.tables import INDEX

RECOVERY = ("r2", "best_neuron_r2_post", "best_neuron_r2_post_percentile", "ridge_r2_post", "hiddenness")
COLUMNS = {
    "features": (
        "tier",
        *RECOVERY,
        "r2_ungated",
        "response_alignment",
        "norm",
        "dimensionality",
        "density",
        "importance",
    ),
    "targets": ("first", "second", "best_neuron", *RECOVERY, "density", "importance"),
    "neurons": ("main_feature", "monosemanticity", "dead"),
}
"""Of each table that has rows of models, which columns the explorer shows."""


def sizes(run: Run, models: Sequence[int]) -> dict[int, Size]:
    """How large each of these models is; packs hold models of one shape."""
    wanted, found = set(models), {}
    for pack in run.plan.packs:
        there = wanted.intersection(pack.models)
        if there:
            (like,) = run.plan.experiments(run.plan.settings(pack.models[:1]))
            of = like.sizes
            matrices = of.hidden * (of.feature + (0 if like.bottleneck.tied else of.target))
            own_targets = 0 if like.target.of_features else of.target
            size = Size(of.feature + of.hidden + own_targets, matrices)
            found |= dict.fromkeys(there, size)
    return found


def rows(run: Run, models: Sequence[int], packed: Packed) -> tuple[dict[str, Any], list[str]]:
    """By table its columns, and where the rows of each of ``models`` begin in them (``starts``, one more than there are
    models); and a sentence for each table that cannot be read. Of targets there is one only where they are no features.
    """
    tables, problems = {}, []
    for name, columns in COLUMNS.items():
        if name == "targets" and not (run.path / "targets.parquet").exists():
            continue
        try:
            held = run.rows(name, models, (INDEX[name], *columns))
        except FolderError as error:
            problems.append(str(error))
            continue
        held = held.sort_values(["model", *({INDEX[name]} & set(held))], kind="stable")
        starts = np.searchsorted(held["model"].to_numpy(np.int64), [*models, np.iinfo(np.int64).max])
        tables[name] = {
            "index": INDEX[name],
            "starts": packed.add(starts, "i4"),
            "columns": of_rows(packed, held, columns),
        }
    return tables, problems


@undisturbed
def matrices(run: Run, carried: Carried, packed: Packed) -> tuple[dict[str, Any], list[str]]:
    """``planes`` and ``weights`` by model, and a sentence where packs cannot be read, with the reason for the first.

    Of weights W_in (W_in E of a decoder) ``[hidden, feature]``, then W_out ``[target, hidden]`` unless that is tied.
    """
    planes: dict[str, Any] = {}
    weights: dict[str, Any] = {}
    unread: list[str] = []
    keep = set(carried.weights)
    for models, parameters in _batches(run, sorted({*carried.rows, *keep}), unread):
        D = torch.nan_to_num(directions(parameters), 0.0, 0.0, 0.0)
        points, shares = plane(D)
        for place, model in enumerate(models):
            planes[str(model)] = {
                "hidden": D.shape[1],
                "share": float(shares[place]),
                "points": packed.add(points[place].numpy(), "f2"),
            }
            if model in keep:
                weights[str(model)] = _weights(parameters, D, place, packed)
    more = f", and {len(unread) - 1} packs more" if len(unread) > 1 else ""
    return {"planes": planes, "weights": weights}, [f"No weights of some models: {unread[0]}{more}."] if unread else []


def plane(D: Tensor) -> tuple[Tensor, Tensor]:
    """The columns of D ``[model, hidden, feature]`` in their plane, float64 ``[model, 2, feature]``, and the share of
    their squared length that it keeps, ``[model]``; 1 where every column is zero. Each axis points to where the column
    that is longest along it does, as its sign is arbitrary.
    """
    D = D.double()
    total = D.square().sum((1, 2))
    if D.shape[1] <= 2:
        return torch.cat([D, D.new_zeros(len(D), 2 - D.shape[1], D.shape[2])], 1), torch.ones_like(total)
    _, vectors = torch.linalg.eigh(D @ D.transpose(1, 2))
    points = vectors[:, :, -2:].flip(2).transpose(1, 2) @ D
    farthest = points.gather(2, points.abs().argmax(2, keepdim=True))
    points = torch.where(farthest < 0, -points, points)
    return points, torch.where(total > 0, points.square().sum((1, 2)) / total, 1.0)


def _batches(run: Run, models: Sequence[int], unread: list[str]) -> Iterator[tuple[list[int], Parameters]]:
    """Those of ``models`` that each pack has, with their parameters; why a pack cannot be read is put in ``unread``."""
    wanted = set(models)
    for pack in run.plan.packs if wanted else ():
        there = sorted(wanted.intersection(pack.models))
        if not there:
            continue
        try:
            yield there, run.batch(there)[1]
        except FolderError as error:
            unread.append(str(error))


def _weights(parameters: Parameters, D: Tensor, place: int, packed: Packed) -> dict[str, Any]:
    W_out = None if parameters.W_out is None else parameters.W_out[place]
    parts = [D[place].flatten()] + ([] if W_out is None else [torch.nan_to_num(W_out, 0.0, 0.0, 0.0).flatten()])
    return {
        "hidden": D.shape[1],
        "features": D.shape[2],
        "targets": D.shape[2] if W_out is None else W_out.shape[0],
        "tied": W_out is None,
        "embedded": parameters.E is not None,
        "values": packed.add(torch.cat(parts).numpy(), "f2"),
    }
