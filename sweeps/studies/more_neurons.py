"""More neurons without a larger model: hidden layers that are not dense, against dense ones of the same budget.

Of every hidden layer of a run: its budget in parameters and in multiply-adds (`toymodels.metrics.budget`), its loss,
the features that it recovers, those in one neuron, and how monosemantic its neurons are. Each layer that is not dense
is then set against dense ones at its own budget, between whose widths measures are interpolated
(`toymodels.hypotheses.statistics.equal_budget`), paired by seed and meaned over its widths.

A feature is in a neuron if one neuron explains more than half of it over all data. Beside it: how many are once nulls
are asked as well, and how many are given that the neuron's expert works (`toymodels.metrics.routing`). By single
features, a neuron's monosemanticity is the share of its largest response. A router sends a feature that is alone to one
expert, so that it raises this of whatever neurons: beside it stands that of the same neurons if all of them worked.

Of networks of experts it is reported that the more experts there are, the more monosemantic they are (Chaudhari, Nuer,
Thorstenson 2025, arXiv 2510.23671): here that is read from each, at equal budgets and for twice the experts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from toymodels.activations import ReLU
from toymodels.hypotheses.statistics.equal_budget import at_budget
from toymodels.hypotheses.statistics.findings import from_seeds
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.layers import BUDGETS, COMPARED, MOST, OF_EXPERTS, WORK, layers_of
from toymodels.sweeps.studies.reply import Reply, chosen, estimate, more, records, said

QUESTION = "How do you get more neurons without a larger model, and do experts make features monosemantic?"
LAYERS = "a measure of a hidden layer"
EQUAL = "a measure of a hidden layer, less that of a dense one of the same budget"
CLAIM = "a reading of the claim that experts make features monosemantic"
REFERENCE = ReLU.name
"""the dense layer that the sentence compares with"""
MARGINS = {
    "in_neurons": 3.0,
    "in_neurons_beyond_null": 3.0,
    "in_neurons_given_expert": 3.0,
    "monosemanticity": 0.05,
}
"""By the measure that the claim is read from, the difference that counts: features, and a share of a response."""
READ_FROM = {
    "in_neurons": "what neurons say over all data",
    "in_neurons_beyond_null": "what they say beyond rotations of the neurons of an expert",
    "in_neurons_given_expert": "what they say where their expert works",
    "monosemanticity": "responses to single features",
}


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """Every layer's measures, their differences at equal budgets, and what they say of experts.

    Raises `FolderError` where there is no layer that is not dense, or no dense one in two widths beside it.
    """
    models = run.models[(run.models["status"] == "ok") & run.models["loss_fraction"].notna()]
    models = models[models["features_recovered"].notna()]
    measured = layers_of(run, models)
    if models.empty or measured["dense"].all() or not measured["dense"].any():
        raise FolderError(f"{run.path}: more_neurons needs trained layers that are dense and others, of features")
    shown = [*COMPARED, *OF_EXPERTS, *WORK]
    keys = ["regime", "layer", "hidden", "dense", *BUDGETS]
    layers = pd.DataFrame(
        dict(zip(keys, key, strict=True))
        | {"measure": measure}
        | estimate(rows[measure], least=0, most=MOST.get(measure, math.inf))
        for key, rows in measured.groupby(keys, sort=False)
        for measure in shown
        if rows[measure].notna().any()
    )
    differences = pd.DataFrame(_differences(measured))
    if differences.empty:
        raise FolderError(f"{run.path}: no layer that is not dense has a budget between those of two dense layers")
    claim = pd.DataFrame(_claim(measured, differences))
    pooled = differences.groupby(["regime", "layer", "budget", "reference", "measure"], sort=False)
    equal = pd.DataFrame(
        dict(zip(["regime", "layer", "budget", "reference", "measure"], key, strict=True))
        | {"widths": ", ".join(str(width) for width in rows["hidden"].unique())}
        | estimate(rows.groupby("seed")["difference"].mean())
        for key, rows in pooled
    )
    notes = [*run.tuned_at_ends, *_left_out(measured, differences), _skipping(measured)]
    tables = {LAYERS: layers, EQUAL: equal} | ({} if claim.empty else {CLAIM: claim})
    return Reply(QUESTION, _sentence(equal, claim), tables, tuple(notes))


# --------------------------------------------------------------------------------------------------------- differences


def _differences(measured: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Of every layer that is not dense and each kind of dense layer in two widths or more, at each budget."""
    for regime, rows in measured.groupby("regime", sort=False):
        dense, others = rows[rows["dense"]], rows[~rows["dense"]]
        for reference, widths in dense.groupby("layer", sort=False):
            for spent in BUDGETS:
                for measure in COMPARED:
                    table = widths.pivot_table(index=spent, columns="seed", values=measure)
                    for (layer, hidden), arm in others.groupby(["layer", "hidden"], sort=False):
                        there = at_budget(table.index.to_numpy(), table.to_numpy(), float(arm[spent].iloc[0]))
                        own = arm.set_index("seed")[measure].reindex(table.columns)
                        for seed, difference in (own - there).dropna().items():
                            yield {
                                "regime": regime,
                                "layer": layer,
                                "hidden": hidden,
                                "budget": spent,
                                "reference": reference,
                                "measure": measure,
                                "seed": seed,
                                "difference": difference,
                            }


def _left_out(measured: pd.DataFrame, differences: pd.DataFrame) -> Iterator[str]:
    """A sentence for each budget at which a layer has no dense one of the reference to be compared with."""
    others = measured[~measured["dense"]].drop_duplicates(["regime", "layer", "hidden"])
    for spent in BUDGETS:
        there = differences[(differences["budget"] == spent) & (differences["reference"] == REFERENCE)]
        compared = set(zip(there["regime"], there["layer"], there["hidden"], strict=True))
        every = zip(others["regime"], others["layer"], others["hidden"], strict=True)
        if out := dict.fromkeys(f"{each[1]} of {each[2]} neurons" for each in every if each not in compared):
            yield f"No dense {REFERENCE} layer has the {words_of(spent)} of {'; '.join(out)}."


def _skipping(measured: pd.DataFrame) -> str:
    """What layers of the first regime that have neurons at 0 multiply where these are skipped."""
    first = measured[measured["regime"] == measured["regime"].iloc[0]]
    means = first.groupby(["layer", "hidden"], sort=False, as_index=False)[[BUDGETS[1], WORK[1]]].mean()
    told = [
        f"{row['layer']} of {row['hidden']} {row[WORK[1]]:,.0f} of {row[BUDGETS[1]]:,.0f}" for row in records(means)
    ]
    return f"Multiply-adds count products with 0. Where read-outs of neurons that are 0 are skipped: {'; '.join(told)}."


# --------------------------------------------------------------------------------------------------------------- claim


def _claim(measured: pd.DataFrame, differences: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Readings of the claim: experts against dense layers at equal budgets, and twice the experts at equal width."""
    routed = differences[differences["layer"].str.contains("experts") & (differences["reference"] == REFERENCE)]
    for (regime, spent, measure), rows in routed.groupby(["regime", "budget", "measure"], sort=False):
        if measure in MARGINS:
            key = {"regime": regime, "at": f"equal {words_of(str(spent))}", "measure": measure}
            yield key | _found(rows.groupby("seed")["difference"].mean(), str(measure))
    for regime, rows in measured[measured["experts"] > 1].groupby("regime", sort=False):
        for measure in MARGINS:
            slopes = _slopes(rows, measure)
            if len(slopes):
                yield {"regime": regime, "at": "twice the experts", "measure": measure} | _found(slopes, measure)


def _slopes(rows: pd.DataFrame, measure: str) -> list[float]:
    """Of each seed the slope of a measure over log2 of how many experts there are, the mean over widths that have
    several numbers of them."""
    slopes = []
    for _, of_seed in rows.groupby("seed"):
        each = [
            np.polyfit(np.log2(of_width["experts"]), of_width[measure], 1)[0]
            for _, of_width in of_seed.groupby("hidden")
            if of_width["experts"].nunique() > 1
        ]
        slopes += [float(np.mean(each))] if each else []
    return slopes


def _found(values: Sequence[float] | pd.Series, measure: str) -> dict[str, Any]:
    finding = from_seeds(measure, torch.tensor(np.asarray(values, np.float64)), MARGINS[measure])
    return estimate(np.asarray(values)) | {"margin": MARGINS[measure], "status": finding.status.value}


# ------------------------------------------------------------------------------------------------------------ in words


def words_of(spent: str) -> str:
    """A budget as a sentence has it."""
    return spent.replace("_", "-")


def _sentence(equal: pd.DataFrame, claim: pd.DataFrame) -> str:
    """Of the first regime: the layer with most features in neurons at each budget; then the claim."""
    regime = equal["regime"].iloc[0]
    here = equal[(equal["regime"] == regime) & (equal["reference"] == REFERENCE)]
    parts = []
    for spent in BUDGETS:
        rows = here[here["budget"] == spent].set_index(["measure", "layer"])
        if "in_neurons" in rows.index.get_level_values(0):
            means = rows.loc["in_neurons"]["mean"]
            most = means.idxmax()
            neurons, loss = (rows.loc[(measure, most)].to_dict() for measure in ("in_neurons", "loss_fraction"))
            parts.append(
                f"at equal {words_of(spent)} {most} has most features in neurons, {more(neurons, 1)} than dense "
                f"{REFERENCE}{chosen('the largest', len(means))}, and a loss fraction {said(loss)} more"
            )
    where = f" ({regime})" if regime else ""
    seeds = int(here["seeds"].max()) if len(here) else 0
    told = f"Of layers that are not dense{where}: {'; '.join(parts)}; {seeds} seeds." if parts else "Nothing compares."
    if claim.empty:
        return told
    readings = "; ".join(f"{_counted(claim[claim['measure'] == name])} by {words}" for name, words in READ_FROM.items())
    return f"{told} That experts make features monosemantic is {readings}."


def _counted(claim: pd.DataFrame) -> str:
    counts = {status.value: int((claim["status"] == status.value).sum()) for status in Status}
    return f"{', '.join(f'{status} in {count}' for status, count in counts.items() if count)} of {len(claim)} readings"
