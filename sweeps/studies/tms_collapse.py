"""Collapse: whether the members of correlated pairs share one direction, beside what the best linear model does.

Of every size and density, for pairs that are always active together and for independent features: the share of pairs
that are one direction (`COLLAPSED`) and that are orthogonal, the cosine within pairs, the share of the variance that
principal components explain which the rows of W_in explain too (`toymodels.metrics.principal.captured`), and the loss
over that of the best linear model. The principal components of correlated pairs are the sums of their members: a model
that keeps these and nothing else has every pair in one direction, captures 1, and costs 1. Elhage et al. 2022 (*Toy
Models of Superposition*) saw pairs collapse where there is not enough room for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from toymodels.features import Features
from toymodels.firing import Correlated, Independent
from toymodels.hypotheses.statistics.intervals import Interval, Status, against, student_interval
from toymodels.hypotheses.statistics.shares import share_interval
from toymodels.laws import Uniform
from toymodels.metrics.arrangement import WITHIN, PairKind, angles, of_kind
from toymodels.metrics.gauge import gauged_directions
from toymodels.metrics.principal import captured, captured_by_chance, covariance, linear_loss
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import SEED_ALONE
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import Reply, columns_of, decimal, records, said

QUESTION = (
    "When do correlated features collapse to their principal component instead of having directions of their own?"
)
TABLE = "a measure of a size at a density"
N, HIDDEN, DENSITY, FIRING = "features.n", "model.hidden", "features.density", "features.firing"
GROUPS = "features.firing.groups"
LEAST = 0.25
"""The shortest column whose direction is asked for: on a principal component two members have at most .71 each, and
three pairs in two dimensions less."""
COLLAPSED, OWN, COSINE, CAPTURED, LOSS = "collapsed", "orthogonal", "cosine", "captured", "loss over linear"
WORSE, BEST = "worse than linear", "collapsed, best tenth"
BY = 1.02
"""a loss so many times that of the best linear model is called worse: sampled losses differ by less"""
MOST = 0.5
"""the share of a model's pairs that are one direction, on average over restarts, beyond which pairs are said to
collapse, and below which not"""
SAYS = {
    Status.SUPPORTED: "collapse",
    Status.NOT_SUPPORTED: "do not collapse",
    Status.UNDETERMINED: "may collapse or not",
}
NOTES = (
    "Intervals are Student's t over restarts; of the share worse than linear, Clopper and Pearson's.",
    f"One direction, orthogonal: within {WITHIN:g} degrees; of pairs whose columns are both at least {LEAST:g} long. "
    "Of random pairs in a plane 1 in 12 is one direction, 1 in 6 orthogonal.",
    "The density is a member's and its pair's. Values are each member's own, so the correlation of U(0, 1) values is "
    "3 (1 - p) / (4 - 3 p): .75 where pairs are rare, 0 at p = 1.",
)


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """What becomes of pairs, density by density.

    Raises `FolderError` where no features come in correlated pairs, or arms differ in more than their rows say.
    """
    models = run.models[(run.models["status"] == "ok") & (run.models["features.importance.law"] == Uniform.name)]
    pairs = models[(models[FIRING] == Correlated.name) & (2 * models[GROUPS] == models[N])]
    if pairs.empty:
        raise FolderError(
            f"{run.path}: tms_collapse needs trained models whose features are equally important and fire in "
            "correlated pairs"
        )
    control = models[(models[FIRING] == Independent.name) & models[N].isin(pairs[N])]
    asked = pd.concat([pairs, control]).sort_index()
    run.require_named(asked, (HIDDEN, DENSITY, FIRING), "tms_collapse")
    rows = [
        {"neurons": int(arm.models[HIDDEN].iloc[0]), "density": float(arm.models[DENSITY].iloc[0])}
        | {"firing": str(arm.models[FIRING].iloc[0])}
        | each
        for arm in run.arms(asked, over=(*SEED_ALONE, *run.tuned))
        for each in _measures(run, arm.models)
    ]
    table = pd.DataFrame(rows)
    return Reply(QUESTION, _sentence(table), {TABLE: table}, NOTES)


def _measures(run: Run, arm: pd.DataFrame) -> list[dict[str, Any]]:
    experiments, parameters = run.batch([int(model) for model in arm["model"]])
    features, W = experiments[0].features, gauged_directions(experiments[0].bottleneck, parameters)
    assert isinstance(features, Features)
    C, dimensions = covariance(features), W.shape[1]
    first = torch.arange(0, features.n - 1, 2)
    angle = angles(W, LEAST)[:, first, first + 1]
    there = (~angle.isnan()).sum(1)
    collapsed = of_kind(angle, PairKind.SAME).sum(1) / there
    over = arm["loss"].to_numpy() / linear_loss(C, dimensions)
    best = np.argsort(over, kind="stable")[: math.ceil(len(arm) / 10)]
    return [
        {"measure": COLLAPSED} | _over_restarts(collapsed.numpy()),
        {"measure": OWN} | _over_restarts((of_kind(angle, PairKind.ORTHOGONAL).sum(1) / there).numpy()),
        {"measure": COSINE} | _over_restarts(angle.deg2rad().cos().nanmean(1).numpy(), least=-1),
        {"measure": CAPTURED}
        | _over_restarts(captured(W, C).numpy())
        | {"by_chance": captured_by_chance(C, dimensions)},
        {"measure": LOSS} | _over_restarts(over, most=math.inf),
        {"measure": WORSE} | columns_of(share_interval(over > BY)),
        {"measure": BEST} | _over_restarts(collapsed.numpy()[best]),
    ]


def _over_restarts(values: np.ndarray, least: float = 0, most: float = 1) -> dict[str, float | int]:
    """The mean with Student's t interval, cut where the measure ends: of restarts that agree but for one the
    studentised bootstrap says nothing."""
    interval = student_interval(values) or Interval(math.nan, math.nan, math.nan, 0)
    return columns_of(interval, least=least, most=most)


def _sentence(table: pd.DataFrame) -> str:
    """At which densities pairs collapse, at which not, and what is captured where they do."""
    told = []
    of_pairs = table[table["firing"] == Correlated.name]
    for neurons, rows in of_pairs.groupby("neurons", sort=False):
        measured = {str(name): records(of) for name, of in rows.groupby("measure", sort=False)}
        verdicts: dict[str, list[str]] = {}
        for row in measured[COLLAPSED]:
            verdicts.setdefault(SAYS[against(row["low"], row["high"], MOST)], []).append(f"{row['density']:g}")
        parts = "; ".join(f"{verdict} at density {', '.join(each)}" for verdict, each in verdicts.items())
        least, most = (pick(measured[COLLAPSED], key=lambda row: row["mean"]) for pick in (min, max))
        where = next(row for row in measured[CAPTURED] if row["density"] == most["density"])
        told.append(
            f"In {neurons} neurons pairs {parts}: of pairs are one direction {said(least, 2)} at density "
            f"{least['density']:g} and {said(most, 2)} at {most['density']:g}, where the rows of W_in capture "
            f"{said(where)} of what principal components do ({decimal(where['by_chance'], 2)} by chance)."
        )
    return f"{' '.join(told)} {int(of_pairs['seeds'].max())} restarts of each."
