"""Sets of features that fire together or exclude each other: how restarts arrange them, against independent features.

Of every size and density the restarts whose sets all stand as Elhage et al. 2022 (*Toy Models of Superposition*) found
them: correlated sets orthogonal, or, where twice the dimensions do not hold all features, side by side in the plane;
anticorrelated sets antipodal. The control are independent features from the same starts, divided into the same sets.

Only features that are there can be arranged. So the *difference*, which is what firing together does, is paired by
start and of those starts from which both leave no feature out; there is none where the control always leaves one out.
Beside it that of all starts, to which leaving features out adds; the share that each arm would have if its features
were exchangeable; and that of the best tenth by loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from toymodels.firing import Anticorrelated, Correlated, Independent
from toymodels.hypotheses.statistics.intervals import Status, against
from toymodels.hypotheses.statistics.shares import share_interval
from toymodels.metrics.arrangement import (
    Arranged,
    PairKind,
    angles,
    of_kind,
    pairs_of,
    present,
    relabelled,
    sets_of_kind,
    side_by_side,
)
from toymodels.metrics.gauge import gauged_directions
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import SEED_ALONE
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import UNCORRECTED, Reply, columns_of, decimal, estimate, records, said

QUESTION = (
    "Are features that fire together represented orthogonally, and features that exclude each other as opposites?"
)
SHARES = "an arrangement of a size at a density"
PAIRS = "a kind of pair of a size at a density"
N, HIDDEN, DENSITY = "features.n", "model.hidden", "features.density"
FIRING, GROUPS = "features.firing", "features.firing.groups"
SIDE_BY_SIDE = "side by side"
BEST = 0.1
"""the share of restarts, by loss, that is called the best"""
SAYS = {
    Status.SUPPORTED: "more often than by chance",
    Status.NOT_SUPPORTED: "less often than by chance",
    Status.UNDETERMINED: "as often as by chance, or undetermined",
}
NOTES = (
    "The density is a member's: a correlated set is active as often as its members, an anticorrelated one twice so.",
    "Differences are paired by start, of those starts from which both have all features present; beside them of all.",
    "Four features in two antipodal pairs have sets orthogonal in 2 of 3 divisions into sets, and antipodal in 1 of 3.",
    UNCORRECTED,
)


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """How often each arrangement is found.

    Raises `FolderError` where no arm has sets, no control stands beside, or arms differ in more than their rows say.
    """
    models = run.models[run.models["status"] == "ok"]
    for laws in ((Correlated.name, Anticorrelated.name), (Independent.name,)):
        run.require_named(models[models[FIRING].isin(laws)], (N, HIDDEN, DENSITY), "tms_sets", over=(FIRING,))
    shares: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for regime in run.arms(models, over=(*SEED_ALONE, FIRING, GROUPS, *run.tuned)):
        arms = {str(name): rows for name, rows in regime.models.groupby(FIRING, sort=False)}
        control = arms.get(Independent.name)
        with_sets = [arms[name] for name in (Correlated.name, Anticorrelated.name) if name in arms]
        if control is None or not with_sets:
            continue
        where = {"size": f"{control[N].iloc[0]} in {control[HIDDEN].iloc[0]}", "density": control[DENSITY].iloc[0]}
        member = member_of(with_sets[0])
        shares += [where | _shares(run, arm, control, member_of(arm)) for arm in with_sets]
        pairs += [where | each for arm in (*with_sets, control) for each in _pairs(run, arm, member)]
    if not shares:
        raise FolderError(
            f"{run.path}: tms_sets needs trained models of correlated or anticorrelated sets and, of the same size and "
            "density, of independent features"
        )
    table = pd.DataFrame(shares)
    return Reply(QUESTION, _sentence(table), {SHARES: table, PAIRS: pd.DataFrame(pairs)}, NOTES)


def member_of(arm: pd.DataFrame) -> Tensor:
    """The set of every feature of an arm whose features have sets: int64 [feature]."""
    n, groups = int(arm[N].iloc[0]), int(arm[GROUPS].iloc[0])
    return torch.arange(n) // (n // groups)


def weights(run: Run, arm: pd.DataFrame) -> Tensor:
    """What each feature adds to the neurons of an arm's models: [model, hidden, feature]."""
    experiments, parameters = run.batch([int(model) for model in arm["model"]])
    return gauged_directions(experiments[0].bottleneck, parameters)


def _claim(arm: pd.DataFrame) -> tuple[str, Arranged]:
    """The arrangement that an arm's sets were found in, and what it is called."""
    row = arm.iloc[0]
    if row[FIRING] == Anticorrelated.name:
        return PairKind.ANTIPODAL.value, sets_of_kind(PairKind.ANTIPODAL)
    if row[N] > 2 * row[HIDDEN] and row[HIDDEN] == 2:
        return SIDE_BY_SIDE, side_by_side
    return PairKind.ORTHOGONAL.value, sets_of_kind(PairKind.ORTHOGONAL)


def _shares(run: Run, arm: pd.DataFrame, control: pd.DataFrame, member: Tensor) -> dict[str, Any]:
    claim, arranged = _claim(arm)
    W, other = weights(run, arm), weights(run, control)
    there, by_chance = arranged(W, member).numpy(), arranged(other, member).numpy()
    whole, other_whole = present(W).all(1).numpy(), present(other).all(1).numpy()
    of_start = pd.Series(there.astype(float), arm["seed"]) - pd.Series(by_chance.astype(float), control["seed"])
    both = pd.concat([pd.Series(whole, arm["seed"]), pd.Series(other_whole, control["seed"])], axis=1).all(axis=1)
    difference, of_all = (estimate(of, least=-1, most=1) for of in (of_start[both[of_start.index]], of_start))
    best = np.argsort(arm["loss"].to_numpy(), kind="stable")[: math.ceil(BEST * len(arm))]
    return {
        "firing": str(arm[FIRING].iloc[0]),
        "arrangement": claim,
        **columns_of(share_interval(there)),
        "independent": float(by_chance.mean()),
        "difference": difference["mean"],
        "difference_low": difference["low"],
        "difference_high": difference["high"],
        "starts": difference["seeds"],
        "difference_of_all": of_all["mean"],
        "of_all_low": of_all["low"],
        "of_all_high": of_all["high"],
        "exchangeable": relabelled(arranged, W, member).mean().item(),
        "all_present": float(whole.mean()),
        "of_those": share_interval(there[whole]).mean,
        "independent_of_those": share_interval(by_chance[other_whole]).mean,
        "best_tenth": float(there[best].mean()),
    }


def _pairs(run: Run, arm: pd.DataFrame, member: Tensor) -> list[dict[str, Any]]:
    """Which share of all pairs, within sets and between them, is of each kind."""
    angle = angles(weights(run, arm))
    of = {"within": angle[:, pairs_of(member, True)], "between": angle[:, pairs_of(member, False)]}
    return [
        {"firing": str(arm[FIRING].iloc[0]), "pairs": place, "models": len(arm)}
        | {kind.value: of_kind(chosen, kind).double().mean().item() for kind in PairKind}
        for place, chosen in of.items()
    ]


def _sentence(table: pd.DataFrame) -> str:
    """What the first size says of each claim, at the densities at which it says it."""
    first = table[table["size"] == table["size"].iloc[0]]
    told = []
    for (firing, arrangement), rows in first.groupby(["firing", "arrangement"], sort=False):
        verdicts: dict[str, list[str]] = {}
        for row in records(rows):
            shares = f"{decimal(row['of_those'], 2)} against {decimal(row['independent_of_those'], 2)}"
            difference = {"mean": row["difference"], "low": row["difference_low"], "high": row["difference_high"]}
            numbers = f"by {said(difference, 2)} at density {row['density']:g} ({shares})"
            status = against(row["difference_low"], row["difference_high"], 0)
            verdicts.setdefault(SAYS[status], []).append(numbers)
        parts = "; ".join(f"{verdict}: {', '.join(each)}" for verdict, each in verdicts.items())
        told.append(f"{firing.capitalize()} sets are {arrangement} {parts}.")
    size, seeds = first["size"].iloc[0].split(" in "), int(first["seeds"].min())
    where = (
        f"{size[0]} features in {size[1]} neurons, {seeds} restarts of each, against independent features, of those "
        "starts from which both have all features present."
    )
    return f"{' '.join(told)} {where}"
