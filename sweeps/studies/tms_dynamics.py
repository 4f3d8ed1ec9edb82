"""Learning dynamics: whether features jump from one dimensionality to another, and the loss falls where they do.

From the weights kept in training come D_i of every feature and the loss on fresh samples, step by step
(`toymodels.metrics.trajectory`). A jump of D_i, and a drop of the loss, is found by the rule of
`toymodels.metrics.jumps`. Drops that meet a jump of their own model are held against the same drops and the jumps of
the other models of the arm: these learn the same task at the same time, so what coincides because everything happens at
one stage of training coincides there too. Elhage et al. 2022 (*Toy Models of Superposition*) describe learning as
dominated by such jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from toymodels.metrics.jumps import TIMES, WINDOW, Jump, jumps, share_in_jumps, share_met
from toymodels.metrics.trajectory import Trajectory, trajectory
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import Reply, decimal, estimate, records, said

QUESTION = "As a model learns, do features jump from one dimensionality to another, and does the loss fall then?"
MEASURES = "a measure of an arm"
MODELS = "a model"
NAMED_BY = N, HIDDEN, DENSITY, START = "features.n", "model.hidden", "features.density", "model.init_scale"
"""what an arm is called by"""
HEIGHT = 0.1
"""the least change of a D_i that is a jump"""
FALL = 0.01
"""the least fall of the loss, in its logarithm, that is a drop"""
SAMPLES = 8192
"""on which every snapshot is evaluated, or ``eval.samples`` where these are fewer"""
SHOWN = ("jumps", "drops", "drops that meet a jump", "share of movement in jumps")
"""what is said of each model"""
MOSTLY = 0.5
"""the share of movement beyond which learning is said to be dominated by jumps"""
NOTES = (
    f"A jump: D_i changes by {HEIGHT:g} or more while the step grows by {WINDOW - 1:.0%}, and {TIMES:g} times as much "
    f"as in the windows before and after. A drop: the same of the logarithm of the loss, by {FALL:g} or more.",
    "'By others': the same share with the jumps, or drops, of the other models of the arm.",
)


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """Jumps and drops of every arm.

    Raises `FolderError` where no weights of any step were kept, or two arms would be called the same.
    """
    models = run.models[(run.models["status"] == "ok") & (run.models["train.snapshots"] > 1)]
    if models.empty:
        raise FolderError(f"{run.path}: tms_dynamics needs trained models whose weights were kept: set train.snapshots")
    run.require_named(models, NAMED_BY, "tms_dynamics")
    measures: list[dict[str, Any]] = []
    each: list[dict[str, Any]] = []
    for arm in run.arms(models):
        name = called(arm.models.iloc[0])
        say(f"{len(arm.models)} models of {name}")
        rows = of_arm([of_model(run, int(model)) for model in arm.models["model"]])
        each += [
            {"arm": name, "model": int(model), "seed": int(seed)} | {key: row[key] for key in SHOWN}
            for model, seed, row in zip(arm.models["model"], arm.models["seed"], rows, strict=True)
        ]
        of_rows = {key: [row[key] for row in rows] for key in rows[0]}
        measures += [{"arm": name, "measure": key} | estimate(of, **_ends(key)) for key, of in of_rows.items()]
    table = pd.DataFrame(measures)
    return Reply(QUESTION, _sentence(table), {MEASURES: table, MODELS: pd.DataFrame(each)}, NOTES)


def called(row: pd.Series) -> str:
    """What an arm is called: ``20 features in 10 neurons, density 0.1, start 1``."""
    return f"{row[N]} features in {row[HIDDEN]} neurons, density {row[DENSITY]:g}, start {row[START]:g}"


def of_model(run: Run, model: int) -> Trajectory:
    """The trajectory of a model of a run that kept weights."""
    loaded = run.model(model)
    assert loaded.snapshots is not None
    samples = min(SAMPLES, int(run.models["eval.samples"].iloc[0]))
    return trajectory(loaded.experiment, loaded.snapshot_step.numpy(), loaded.snapshots, samples)


def jumps_of(way: Trajectory) -> list[Jump]:
    """The jumps of its D_i."""
    return jumps(way.step, way.dimensionality, HEIGHT)


def drops_of(way: Trajectory) -> list[Jump]:
    """The drops of its loss."""
    return [jump for jump in jumps(way.step, np.log(way.loss_fraction)[None], FALL) if jump.change < 0]


def _ends(measure: str) -> dict[str, float]:
    """What a measure can be: a count, a difference of shares, or a share."""
    return {"least": 0} if measure in ("jumps", "drops") else {"least": -("difference" in measure), "most": 1}


def of_arm(ways: Sequence[Trajectory]) -> list[dict[str, float]]:
    """What is said of each model of an arm: how many jumps and drops, and which share of each meets the others."""
    jumped, dropped = [jumps_of(way) for way in ways], [drops_of(way) for way in ways]
    rows = []
    for place, (way, own, drops) in enumerate(zip(ways, jumped, dropped, strict=True)):
        met, met_by_others = share_met(drops, own), _mean_met(drops, jumped, place)
        led, led_by_others = share_met(own, drops), _mean_met(own, dropped, place)
        rows.append(
            {
                "jumps": float(len(own)),
                "drops": float(len(drops)),
                "drops that meet a jump": met,
                "drops that meet a jump, by others": met_by_others,
                "drops: difference": met - met_by_others,
                "jumps that meet a drop": led,
                "jumps that meet a drop, by others": led_by_others,
                "jumps: difference": led - led_by_others,
                "share of movement in jumps": share_in_jumps(way.step, way.dimensionality, own),
                "features that jump": len({jump.series for jump in own}) / len(way.dimensionality),
            }
        )
    return rows


def _mean_met(found: list[Jump], of_models: Sequence[list[Jump]], own: int) -> float:
    shares = [share_met(found, others) for place, others in enumerate(of_models) if place != own]
    return float(np.mean(shares)) if shares else float("nan")


def _sentence(table: pd.DataFrame) -> str:
    told = []
    for arm, rows in table.groupby("arm", sort=False):
        of = {str(row["measure"]): row for row in records(rows)}
        drops, others, difference = (
            of[name] for name in ("drops that meet a jump", "drops that meet a jump, by others", "drops: difference")
        )
        moved = of["share of movement in jumps"]
        mostly = "is" if moved["low"] > MOSTLY else "is not" if moved["high"] < MOSTLY else "may be"
        more, less = difference["low"] > 0, difference["high"] < 0
        verdict = "more than by chance" if more else "less than by chance" if less else "as by chance, or undetermined,"
        told.append(
            f"{arm}: loss drops meet a jump of D_i {verdict} ({said(drops, 2)}, by other models' jumps "
            f"{decimal(others['mean'], 2)}; {drops['seeds']} models with drops); learning {mostly} dominated by jumps "
            f"({said(moved, 2)} of movement, {moved['seeds']} models)"
        )
    return f"{'. '.join(told)}."
