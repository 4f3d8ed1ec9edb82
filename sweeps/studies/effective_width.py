"""Effective width: as good as a GeLU model of what width is a hidden layer, at every width, regime by regime (P5)?

Of a run in which ``model.hidden`` varies, each layer's losses by width are put beside GeLU's without LayerNorm
(`toymodels.hypotheses.effective_width`): x, a GeLU model so much smaller is as good, with its mean over widths, its
trend in width, and what LayerNorm takes off it. Losses are on fresh data, of settings that were chosen on other seeds;
where a run has the population loss, that is taken. With several eps a claim about a LayerNorm must hold at each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from toymodels.hypotheses.effective_width import FEWEST_WIDTHS, Losses, Reference, Smaller, complete
from toymodels.hypotheses.statistics.intervals import Interval, Status, against, unanimous
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import HIDDEN_LAYER, SEED_ALONE, as_python, hidden_layer, label, value_text
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import ESTIMATE, UNCORRECTED, Reply, columns_of, estimate

QUESTION = (
    "As good as a GeLU model of what width is SoLU, does LayerNorm win back what it costs, and do wider ones lose more?"
)
WIDTH, EPS = "model.hidden", "model.layer_norm_eps"
GELU, ASKED = "gelu", "solu"
AT_A_WIDTH = "an arm at a width: a gelu model so many % smaller is as good"
FIT = "the fit of gelu's loss by width"
CLAIMS = "an arm over its widths, in % of width"
COSTS, MORE, WON = "costs", "costs more per doubling of width", "LayerNorm wins back"
INTERVALS = (
    "Intervals of widths are quantiles over resampled seeds, GeLU fitted anew in each; > and < are out of GeLU's range."
)
AT_ENDS = "What is out of range has no part in what a doubling costs, and counts as at the end of the range in a mean."
MOST_DIVERGED = 0.25
"""of the seeds of an arm at a width, beyond which that width is left out"""


@dataclass(frozen=True)
class _Regime:
    """What is compared: losses by width of each layer, of the same seeds."""

    name: str
    layers: Mapping[str, Losses]
    left_out: tuple[str, ...]
    """sentences"""


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """x of every layer at every width. Raises `FolderError` where GeLU has not got two widths, or nothing beside it."""
    over = (*SEED_ALONE, *HIDDEN_LAYER, WIDTH, EPS, *run.tuned)
    widths: list[dict[str, Any]] = []
    fits: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    notes = [INTERVALS, AT_ENDS, UNCORRECTED, *run.tuned_at_ends]
    for replicates in run.arms(over=over):
        regime = _regime(label(replicates.settings), replicates.models)
        notes += regime.left_out
        if len(regime.layers) < 2 or GELU not in regime.layers or len(regime.layers[GELU].widths) < FEWEST_WIDTHS:
            continue
        reference = Reference(regime.layers[GELU])
        fits += [{"regime": regime.name} | row for row in _of_fit(reference)]
        smaller = {name: reference.smaller(of) for name, of in regime.layers.items() if name != GELU}
        for name, of in smaller.items():
            widths += [{"regime": regime.name} | row for row in _at_widths(name, regime.layers[name], of)]
        claims += [{"regime": regime.name} | row for row in _claims(smaller)]
    if not widths:
        raise FolderError(
            f"{run.path}: effective_width needs trained {GELU} models without LayerNorm of {FEWEST_WIDTHS} values of "
            f"{WIDTH} at least, and another layer beside them"
        )
    tables = {CLAIMS: pd.DataFrame(claims), AT_A_WIDTH: pd.DataFrame(widths), FIT: pd.DataFrame(fits)}
    return Reply(QUESTION, _sentence(tables[CLAIMS]), tables, (*notes, *_over_eps(tables[CLAIMS])))


def _regime(name: str, models: pd.DataFrame) -> _Regime:
    """Its layers, without the widths at which too many models diverged, and the seeds that then lack a model."""
    norms = models["model.layer_norm"].astype(bool)
    several = models.loc[norms, EPS].astype(str).nunique() > 1
    layers = [
        hidden_layer(activation, norm) + (f", eps {value_text(as_python(eps))}" if norm and several else "")
        for activation, norm, eps in zip(models["model.activation"], norms, models[EPS], strict=True)
    ]
    fraction = models["loss_fraction"].where(models["status"] == "ok")
    exact = models["loss_exact"] * models["loss_fraction"] / models["loss"]
    rows = pd.DataFrame(
        {
            "layer": layers,
            "seed": models["seed"],
            "width": models[WIDTH],
            "loss": exact if models["loss_exact"].notna().all() else fraction,
        }
    ).drop_duplicates(["layer", "seed", "width"])  # without LayerNorm a model may stand beside every eps
    found, left_out = {}, []
    for layer, of in rows.groupby("layer", sort=False):
        table = of.pivot(index="seed", columns="width", values="loss").reindex(rows["seed"].unique())
        lacking = table.isna().mean() > MOST_DIVERGED
        if lacking.any():
            at = ", ".join(str(width) for width in table.columns[lacking])
            left_out.append(f"{_where(name)}{layer} at width {at} is left out: too many models diverged.")
        found[str(layer)] = table.loc[:, ~lacking]
    found = {layer: table for layer, table in found.items() if table.shape[1]}
    there = complete([table.to_numpy() for table in found.values()])
    if not there.all():
        left_out.append(f"{_where(name)}{(~there).sum()} seeds are left out, in which a model diverged.")
    kept = found if there.any() else {}
    layers_ = {layer: Losses(table.columns.to_numpy(), table.to_numpy()[there]) for layer, table in kept.items()}
    return _Regime(name, layers_, tuple(left_out))


def _of_fit(reference: Reference) -> Iterator[dict[str, Any]]:
    for place, width in enumerate(reference.of.widths.tolist()):
        yield {"width": width, "fitted": float(np.exp(reference.fitted[0, place]))} | estimate(
            reference.of.losses[:, place]
        )


def _at_widths(name: str, of: Losses, smaller: Smaller) -> Iterator[dict[str, Any]]:
    for place, width in enumerate(of.widths.tolist()):
        found = smaller.at(place)
        yield {
            "layer": name,
            "width": width,
            "loss": float(np.exp(of.means[0, place])),
            "smaller, %": _in_words(found, smaller.least[place], smaller.most[place]),
        } | columns_of(_percent(found))


def _claims(smaller: Mapping[str, Smaller]) -> Iterator[dict[str, Any]]:
    for name, of in smaller.items():
        activation, _, norm = name.partition(" + ")
        cost = of.mean()
        found = {COSTS: cost, MORE: of.trend()}
        if norm and activation in smaller:
            found[WON] = of.less_than(smaller[activation])
        elif norm and activation == GELU:  # which costs nothing beside itself
            found[WON] = Interval(-cost.mean, -cost.high, -cost.low, cost.n)
        for claim, interval in found.items():
            inside, beyond = _listed(of.widths[of.inside]), _listed(of.widths[~of.inside])
            row = {"layer": name, "claim": claim, "widths": inside, "out of range": beyond}
            yield row | columns_of(_percent(interval)) | {"status": against(interval.low, interval.high, 0).value}


def _listed(widths: np.ndarray) -> str:
    return ", ".join(str(width) for width in widths.tolist())


def _percent(found: Interval) -> Interval:
    """In % of width; out of range, which is 1 or -infinity, is undefined here."""
    mean, low, high = (100 * x if -np.inf < x < 1 else np.nan for x in (found.mean, found.low, found.high))
    return Interval(mean, low, high, found.n)


def _in_words(found: Interval, least: float, most: float) -> str:
    """x with its interval in %; what is out of range as beyond what the reference reaches."""

    def word(x: float) -> str:
        beyond = f"> {100 * most:.0f}" if x == 1 else f"< {100 * least:z.0f}"
        return beyond if x == 1 or np.isinf(x) else f"{100 * x:z.0f}"

    ends = "" if np.isnan(found.low) else f" ({word(found.low)} to {word(found.high)})"
    return word(found.mean) + ends


def _sentence(claims: pd.DataFrame) -> str:
    """Of SoLU's layers in the first regime; of all where there are none."""
    first = claims[claims["regime"] == claims["regime"].iloc[0]]
    rows = first.set_index(["layer", "claim"]).to_dict("index")
    layers, told = list(dict.fromkeys(first["layer"])), []
    shown = [each for each in layers if each.startswith(ASKED)] or layers
    for layer in shown:
        told.append(f"{layer} {_as_good(rows[layer, COSTS])}")
        if not np.isnan(rows[layer, MORE]["mean"]):
            told[-1] += f", {_told(rows[layer, MORE])} points more a doubling"
        if (layer, WON) in rows:
            told[-1] += f" (LayerNorm wins back {_told(rows[layer, WON])})"
    where = f" ({first['regime'].iloc[0]})" if first["regime"].iloc[0] else ""
    wider = ", below 0 wider" * any(rows[layer, COSTS]["mean"] < 0 for layer in shown)
    return (
        f"As good as a {GELU} model so much smaller{wider}{where}: {'; '.join(told)}; {first['seeds'].iloc[0]} seeds."
    )


def _as_good(row: Mapping[str, Any]) -> str:
    within = f"widths {row['widths']}" if row["widths"] else ""
    beyond = f"{row['out of range']} out of range" if row["out of range"] else ""
    return f"{_told(row)} % ({'; '.join(filter(None, (within, beyond)))})"


def _told(row: Mapping[str, Any]) -> str:
    mean, low, high = (f"{row[end]:z.0f}" for end in ESTIMATE[:3])
    return mean if np.isnan(row["low"]) else f"{mean} ({low} to {high})"


def _over_eps(claims: pd.DataFrame) -> Iterator[str]:
    """What is said of a LayerNorm at several eps is said only where all of them say it."""
    at_eps = claims[claims["layer"].str.contains(", eps ")]
    layers = at_eps["layer"].str.replace(", eps .*", "", regex=True)
    for (regime, layer, claim), of in at_eps.groupby(["regime", layers, "claim"], sort=False):
        if len(of) > 1:
            status = unanimous([Status(each) for each in of["status"]])
            yield f"{_where(str(regime))}{layer}, {claim}, at all of {len(of)} eps: {status.value}."


def _where(regime: str) -> str:
    return f"{regime}: " if regime else ""
