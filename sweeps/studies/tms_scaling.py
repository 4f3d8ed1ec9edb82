"""Scaling in superposition: how the loss goes with the dimensions, with few features represented and with all.

Liu, Liu and Gore 2025: where the most frequent features alone are represented (weak superposition) the loss is that of
the features left out, and follows the tail of their frequencies; where all are (strong superposition) it is made by
overlaps, whose mean square is 1 / m among random directions, and falls as 1 / m whatever the frequencies. Decay of
either sign, ``weight_decay`` minus ``weight_growth``, goes from the one to the other.

Of every model: its loss; the share of `represented` features, |W_i| > 1/2; the mean squared overlap of these; and the
*tail*, what the best constants would lose on the features that are not represented. A seed's exponents over its widths
m are those of y ~ m^a, over all widths and between neighbouring ones. Fixed after a look at one seed, before the run
that is answered for: *no power law* where the exponents between neighbours differ (`bends`); else *as 1 / m* where the
interval of the loss's exponent lies in `AS_ONE_OVER`, *steeper* or *flatter* where it lies to one side of -1.
Of fewer than three widths nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch

from toymodels.hypotheses.statistics.exponents import bends, exponent
from toymodels.metrics.geometry import least_squared_overlap, mean_squared_overlap, represented
from toymodels.objectives import constant_losses
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import SEED_ALONE, label
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import Reply, estimate, estimates, said

QUESTION = "Does the loss fall as one over the dimensions where all features are in superposition?"
WIDTH, DECAY, GROWTH = "model.hidden", "train.weight_decay", "train.weight_growth"
BY_WIDTH = "a regime, a decay, a width and a measure"
LAWS = "a regime, a decay and an exponent over all widths"
NEIGHBOURS = "a regime, a decay and the loss's exponent from a width to the next"
LOSS, SHARE, OVERLAP, AGAINST, TAIL = MEASURES = (
    "loss",
    "represented",
    "squared overlap",
    "overlap over the least",
    "tail",
)
EXPONENTS = {
    "loss on width": (WIDTH, LOSS),
    "overlap on width": (WIDTH, OVERLAP),
    "loss on overlap": (OVERLAP, LOSS),
    "tail on width": (WIDTH, TAIL),
}
"""What goes with what."""
AS_ONE_OVER = (-1.1, -0.9)
STRONG = 0.95
"""the share of features that must be represented, at every width, where superposition is called strong"""


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """The exponents of every regime. Raises `FolderError` where no regime has two widths at one decay."""
    trained = run.models[(run.models["status"] == "ok") & run.models["loss"].notna()]
    trained = trained[_of_features(trained)]
    regimes = run.arms(trained, over=(*SEED_ALONE, WIDTH, DECAY, GROWTH, *run.tuned))
    if not any(of[WIDTH].nunique() > 1 for regime in regimes for _, of in regime.models.groupby(_decay(regime.models))):
        raise FolderError(
            f"{run.path}: tms_scaling needs trained models without an embedding, of two widths at one decay"
        )
    parts = []
    for regime in regimes:
        say(f"measuring {label(regime.settings) or 'the only regime'}: {len(regime.models)} models")
        for (decay, width), models in regime.models.groupby([_decay(regime.models), WIDTH], sort=False):
            keys = {"regime": label(regime.settings), "decay": decay, WIDTH: width, "seed": models["seed"].to_numpy()}
            parts.append(pd.DataFrame(keys | _measured(run, models)))
    table = pd.concat(parts, ignore_index=True)
    laws, neighbours = _laws(table), _neighbours(table)
    by_width = estimates(table.rename(columns={WIDTH: "width"}), ["regime", "decay", "width"], MEASURES)
    tables = {LAWS: laws, NEIGHBOURS: neighbours, BY_WIDTH: by_width}
    return Reply(QUESTION, _sentence(laws, neighbours, table), tables)


def _of_features(models: pd.DataFrame) -> pd.Series:
    """Whether each model's columns of W_in stand for features."""
    embedded = models.get("model.embedding")
    return pd.Series(True, models.index) if embedded is None else embedded.isna()


def _decay(models: pd.DataFrame) -> pd.Series:
    """Decay of either sign, of each model."""
    return (models[DECAY] - models.get(GROWTH, 0.0)).rename("decay")


def _measured(run: Run, models: pd.DataFrame) -> dict[str, np.ndarray]:
    experiments, parameters = run.batch(models["model"].tolist())
    W = parameters.W_in.double()
    kept, overlap = represented(W), mean_squared_overlap(W)
    dropped = np.stack(
        [constant_losses(e.features, e.target, e.cost, e.importance(), e.seed) * e.importance() for e in experiments]
    )
    least = least_squared_overlap(kept.sum(1).double(), W.shape[1])
    return {
        LOSS: models["loss"].to_numpy(np.float64),
        SHARE: kept.double().mean(1).numpy(),
        OVERLAP: overlap.numpy(),
        AGAINST: torch.where(least > 0, overlap / least, torch.nan).numpy(),
        TAIL: (torch.from_numpy(dropped) * ~kept).sum(1).numpy(),
    }


def _laws(table: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for (regime, decay), models in table.groupby(["regime", "decay"], sort=False):
        for name, (x, y) in EXPONENTS.items():
            rows.append({"regime": regime, "decay": decay, "exponent": name} | estimate(_of_seeds(models, x, y)))
    return pd.DataFrame(rows)


def _of_seeds(models: pd.DataFrame, x: str, y: str) -> list[float]:
    """A seed's exponent each, of the seeds that have every width."""
    widths = models[WIDTH].nunique()
    return [exponent(seed[x], seed[y]) for _, seed in models.groupby("seed") if seed[WIDTH].nunique() == widths]


def _neighbours(table: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for (regime, decay), models in table.groupby(["regime", "decay"], sort=False):
        widths = sorted(models[WIDTH].unique())
        for pair in pairwise(widths):
            between = models[models[WIDTH].isin(pair)]
            rows.append(
                {"regime": regime, "decay": decay, "from": pair[0], "to": pair[1], "exponent": "loss on width"}
                | estimate(_of_seeds(between, WIDTH, LOSS))
            )
    return pd.DataFrame(rows)


def verdict(low: float, high: float, between: Sequence[float]) -> str:
    """What the interval of the loss's exponent says, and the exponents ``between`` neighbouring widths.

    Two widths have one exponent between them, which could not show that there is no power law: it takes three.
    """
    bent = bends(between)
    if math.isnan(low) or bent is None:
        return "undetermined"
    if bent:
        return "no power law"
    if AS_ONE_OVER[0] <= low and high <= AS_ONE_OVER[1]:
        return "as 1 / m"
    return "steeper than 1 / m" if high < -1 else "flatter than 1 / m" if low > -1 else "undetermined"


def _sentence(laws: pd.DataFrame, neighbours: pd.DataFrame, table: pd.DataFrame) -> str:
    local = neighbours.groupby(["regime", "decay"])["mean"].agg(list)
    share = table.groupby(["regime", "decay"])[SHARE].min()
    losses: list[Any] = laws[laws["exponent"] == "loss on width"].to_dict("records")
    told = [
        f"{law['regime'] or 'the only regime'}, decay {law['decay']:g}: {said(law, 2)}, "
        f"{verdict(law['low'], law['high'], local.get((law['regime'], law['decay']), []))}"
        for law in losses
        if share[law["regime"], law["decay"]] >= STRONG
    ]
    seeds = int(laws["seeds"].max())
    if not told:
        return f"No regime has {STRONG:.0%} of its features represented at every width; {seeds} seeds."
    return f"In strong superposition the loss goes with the width as m^a, a: {'; '.join(told)}; {seeds} seeds."
