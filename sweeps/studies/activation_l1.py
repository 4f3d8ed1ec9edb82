"""An L1 cost of activations: does it put features into single neurons, and what does it cost?

Every activation at every cost against itself at cost 0, seed by seed: loss fraction, features in neurons (recovered,
and in tier ``neuron``), features recovered, and how many neurons take part in an example
(`toymodels.metrics.contributors`), which says whether the cost did anything. A cost is *at equal loss* where the
interval of what it adds to the loss fraction ends below `EQUAL`. An activation is judged at the largest of these, so
that its cost is chosen by the loss and not by the count: more features in neurons is *supported* where the interval of
the difference lies above `MORE` features, *not supported* below, else *undetermined*. Fixed after a look at two seeds
at fewer steps, before the run that is answered for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from toymodels.hypotheses.statistics.intervals import Status, against
from toymodels.metrics.contributors import effective_contributors
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import SEED_ALONE, label
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import ESTIMATE, Reply, estimate, estimates, said
from toymodels.training.experiment import sampler

QUESTION = "Does an L1 penalty on activations put features into single neurons, and at what loss?"
COST, ACTIVATION, NORM = "train.activation_l1", "model.activation", "model.layer_norm"
BY_COST = "an activation, a cost and a measure"
AGAINST_NONE = "an activation, a cost and a difference to no cost"
JUDGED = "an activation at the largest cost at equal loss"
LOSS, NEURONS, RECOVERED, CONTRIBUTORS = MEASURES = (
    "loss fraction",
    "features in neurons",
    "recovered",
    "neurons in an example",
)
COLUMNS = {LOSS: "loss_fraction", NEURONS: "features_neuron", RECOVERED: "features_recovered"}
EXAMPLES = 4096
EQUAL = 0.01
MORE = 3.0


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """Each cost against none. Raises `FolderError` where no activation has models with and without a cost."""
    trained = run.models[(run.models["status"] == "ok") & run.models["features_neuron"].notna()]
    trained = trained[~trained[NORM].astype(bool)]
    costs = trained.get(COST)
    if costs is None or not (costs > 0).any() or not (costs == 0).any():
        raise FolderError(f"{run.path}: activation_l1 needs trained models without LayerNorm, with a cost and without")
    parts = []
    for arm in run.arms(trained, over=(*SEED_ALONE, COST, *run.tuned)):
        name = label(arm.settings).removeprefix("activation ") or str(arm.models[ACTIVATION].iloc[0])
        say(f"counting the neurons that take part: {name}, {len(arm.models)} models")
        for cost, models in arm.models.groupby(COST):
            measured = {what: models[column].to_numpy(np.float64) for what, column in COLUMNS.items()}
            measured[CONTRIBUTORS] = _contributors(run, models)
            parts.append(pd.DataFrame({"activation": name, "cost": cost, "seed": models["seed"].to_numpy()} | measured))
    table = pd.concat(parts, ignore_index=True)
    differences = _differences(table)
    if differences.empty:
        raise FolderError(f"{run.path}: activation_l1 needs an activation that has models with a cost and without")
    judged, by_cost = _judged(differences), estimates(table, ["activation", "cost"], MEASURES)
    return Reply(QUESTION, _sentence(judged), {JUDGED: judged, BY_COST: by_cost, AGAINST_NONE: differences})


def _contributors(run: Run, models: pd.DataFrame) -> np.ndarray:
    experiments, parameters = run.batch(models["model"].tolist())
    x = sampler(experiments).evaluation(0, EXAMPLES)
    return effective_contributors(experiments[0].bottleneck, parameters, x).double().numpy()


def _differences(table: pd.DataFrame) -> pd.DataFrame:
    """Of models that share their seed, and so their data and their embedding."""
    rows: list[dict[str, Any]] = []
    for activation, models in table.groupby("activation", sort=False):
        by_cost = {cost: of.set_index("seed") for cost, of in models.groupby("cost")}
        if 0 not in by_cost:
            continue
        for cost, of in by_cost.items():
            if cost:
                rows += [
                    {"activation": activation, "cost": cost, "measure": measure}
                    | estimate((of[measure] - by_cost[0][measure]).dropna())
                    for measure in MEASURES
                ]
    return pd.DataFrame(rows)


def _judged(differences: pd.DataFrame) -> pd.DataFrame:
    """The largest cost at equal loss of each activation, and what it does to features in neurons there."""
    rows: list[dict[str, Any]] = []
    for activation, of in differences.groupby("activation", sort=False):
        added = of[of["measure"] == LOSS]
        equal = added[added["high"] < EQUAL]["cost"]
        if equal.empty:
            rows.append({"activation": activation, "cost": None, "status": Status.UNDETERMINED.value})
            continue
        cost = equal.max()
        found: list[Any] = of[(of["measure"] == NEURONS) & (of["cost"] == cost)].to_dict("records")
        (numbers,) = found
        rows.append(
            {"activation": activation, "cost": cost, "status": against(numbers["low"], numbers["high"], MORE).value}
            | {name: numbers[name] for name in ESTIMATE}
        )
    return pd.DataFrame(rows)


def _sentence(judged: pd.DataFrame) -> str:
    told, rows = [], judged.to_dict("records")
    for row in rows:
        cost: Any = row["cost"]
        if cost is None or math.isnan(cost):
            told.append(f"{row['activation']}: no cost is shown to leave the loss equal")
            continue
        numbers: Any = row
        told.append(f"{row['activation']} at {cost:g}: {said(numbers, 1)} more features in neurons, {row['status']}")
    seeds = judged["seeds"].max() if "seeds" in judged else 0
    return f"At the largest cost that leaves the loss equal, {'; '.join(told)}; {seeds:.0f} seeds."
