"""Geometry: whether dimensionalities cluster on those of regular arrangements, and how often their mean is near two.

Of all models together and density by density: the share of features, of those present, whose D_i is within `WIDTHS` of
an exact plateau (`toymodels.metrics.plateaus`), beyond what the neighbourhood of the plateau has, and beside columns of
the same lengths in random directions. And of D* = m / |W|_F^2 over the densities, how much of their logarithm it spends
within `LEVEL` of 1 and of 1/2, beside what a straight line between its ends would: a plateau has more than that, and so
does a curve that flattens there. Elhage et al. 2022 (*Toy Models of Superposition*, section 4) report both kinds of
plateau.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import torch

from toymodels.hypotheses.statistics.intervals import Status, against
from toymodels.metrics.arrangement import PRESENT, present
from toymodels.metrics.gauge import gauged_directions
from toymodels.metrics.geometry import dimensionality
from toymodels.metrics.plateaus import PLATEAUS, dimensions_a_feature, on_plateaus, scattered
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import UNCORRECTED, Reply, decimal, estimate, records, said

QUESTION = (
    "Do features sit on the dimensionalities of regular arrangements, and is their mean near 1 and 1/2 at more "
    "densities than a straight line?"
)
FEATURES = "a plateau of features"
MODELS = "a density"
STAYS = "a level of the mean"
DENSITY = "features.density"
WIDTHS = (0.01, 0.02)
LEVEL = 0.05
LEVELS = (1.0, 0.5)
FEWEST = 6
"""densities: of fewer, how many are near a level is no share"""
CLUSTER = {
    Status.SUPPORTED: "D_i cluster on",
    Status.NOT_SUPPORTED: "they avoid",
    Status.UNDETERMINED: "undetermined are",
}
OFTEN = {Status.SUPPORTED: "more", Status.NOT_SUPPORTED: "fewer", Status.UNDETERMINED: "as many, more or fewer"}
NOTES = (
    f"Of features whose columns are at least {PRESENT:g} long. Expected: what the neighbourhood of a plateau has in a "
    "stretch as long; random: columns of the same lengths in random directions.",
    f"A level: D* within {LEVEL:g} of it. A straight line: what D* would spend there if it went from end to end evenly "
    "over the densities, in their order. A curve that flattens near a level spends more there as well: more densities "
    "than a straight line are not yet a plateau.",
    UNCORRECTED,
)


@dataclass(frozen=True)
class _Arm:
    """The models of one density, those of the seeds in their order."""

    density: float
    seeds: tuple[int, ...]
    D: torch.Tensor
    there: torch.Tensor
    scattered: torch.Tensor
    """D_i of columns of the same lengths in random directions"""
    mean: np.ndarray
    """D* of each model"""


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """Plateaus over all densities of a run.

    Raises `FolderError` where it varies in more than density and seed, has fewer than `FEWEST` densities, or these have
    no seed in common.
    """
    models = run.models[run.models["status"] == "ok"]
    if models.empty or set(run.varying(models)) - {DENSITY}:
        raise FolderError(f"{run.path}: tms_geometry needs trained models that differ in density and seed alone")
    if (densities := models[DENSITY].nunique()) < FEWEST:
        raise FolderError(f"{run.path}: tms_geometry needs {FEWEST} densities or more, the run has {densities}")
    arms = [_arm(run, arm.models) for arm in run.arms(models)]
    if not _seeds(arms):
        raise FolderError(f"{run.path}: tms_geometry needs a seed that was trained at every density, there is none")
    features, stays = pd.DataFrame(_plateaus(arms)), pd.DataFrame(_stays(arms))
    mean = pd.DataFrame([{"density": arm.density, "measure": "D*"} | estimate(arm.mean) for arm in arms])
    tables = {FEATURES: features, STAYS: stays, MODELS: mean}
    return Reply(QUESTION, _sentence(features, stays), tables, NOTES)


def _arm(run: Run, arm: pd.DataFrame) -> _Arm:
    experiments, parameters = run.batch([int(model) for model in arm["model"]])
    W = gauged_directions(experiments[0].bottleneck, parameters).double()
    turned = torch.stack([scattered(each, e.seed) for each, e in zip(W[:, None], experiments, strict=True)])[:, 0]
    seeds = tuple(e.seed for e in experiments)
    mean = dimensions_a_feature(W).numpy()
    return _Arm(float(arm[DENSITY].iloc[0]), seeds, dimensionality(W), present(W), dimensionality(turned), mean)


def _seeds(arms: list[_Arm]) -> list[int]:
    """Those that every density has."""
    return sorted(set.intersection(*(set(arm.seeds) for arm in arms)))


def _plateaus(arms: list[_Arm]) -> list[dict[str, Any]]:
    """A row a plateau and width, over the features of all densities of a seed."""
    seeds = _seeds(arms)

    def pooled(name: str) -> torch.Tensor:
        return torch.stack([torch.cat([getattr(arm, name)[arm.seeds.index(seed)] for arm in arms]) for seed in seeds])

    D, there, random = pooled("D"), pooled("there"), pooled("scattered")
    rows = []
    for width in WIDTHS:
        on, off = on_plateaus(D, there, width), on_plateaus(random, there, width)
        for place, (name, value) in enumerate(PLATEAUS.items()):
            excess = estimate(on.excess[:, place].numpy())
            rows.append(
                {"plateau": name, "D": value, "width": width}
                | estimate(on.share[:, place].numpy())
                | {"neighbourhood": on.expected[:, place].mean().item(), "excess": excess["mean"]}
                | {"excess_low": excess["low"], "excess_high": excess["high"]}
                | {"random": off.share[:, place].mean().item()}
            )
    return rows


def _stays(arms: list[_Arm]) -> list[dict[str, Any]]:
    """A row a level: the share of densities at which D* is near it, of each seed, beside a straight line's."""
    seeds = _seeds(arms)
    mean = np.array([[arm.mean[arm.seeds.index(seed)] for arm in arms] for seed in seeds])
    rows = []
    for level in LEVELS:
        near = np.abs(mean - level) <= LEVEL
        top, bottom = np.minimum(mean.max(1), level + LEVEL), np.maximum(mean.min(1), level - LEVEL)
        straight = np.clip(top - bottom, 0, None) / np.maximum(np.ptp(mean, axis=1), 1e-12)
        excess = estimate(near.mean(1) - straight)
        densities = [arm.density for arm, often in zip(arms, near.mean(0), strict=True) if often > 0.5]
        rows.append(
            {"level": level, "from": min(densities, default=None), "to": max(densities, default=None)}
            | estimate(near.mean(1))
            | {"straight_line": float(straight.mean()), "excess": excess["mean"]}
            | {"excess_low": excess["low"], "excess_high": excess["high"]}
        )
    return rows


def _sentence(features: pd.DataFrame, stays: pd.DataFrame) -> str:
    narrow = records(features[features["width"] == min(WIDTHS)])
    told: dict[str, list[str]] = {}
    for row in narrow:
        verdict = CLUSTER[against(row["excess_low"], row["excess_high"], 0)]
        numbers = f"{said(row)} of features against {decimal(row['neighbourhood'], 3)} expected"
        told.setdefault(verdict, []).append(f"{row['plateau']} {_fraction(row['D'])} ({numbers})")
    parts = [f"{verdict} {', '.join(each)}" for verdict, each in told.items()]
    for row in records(stays):
        verdict = OFTEN[against(row["excess_low"], row["excess_high"], 0)]
        line = f"a straight line {decimal(row['straight_line'], 2)}"
        parts.append(
            f"D* is near {row['level']:g} at {verdict} densities than a straight line ({said(row, 2)} of them, {line})"
        )
    return f"{'; '.join(parts)}; {narrow[0]['seeds']} seeds."


def _fraction(value: float) -> str:
    return str(Fraction(value).limit_denominator(10))
