"""The frozen mask: can an MLP be linearised by freezing it, is GeLU's like ReLU's, and how many bits are in it?

Every hidden layer of a run, regime by regime, is put to `toymodels.hypotheses.linearisation`: parts of it frozen at one
example and run at another; GeLU's mask replaced by ReLU's; masks and LayerNorm scales in as few levels as the loss
allows, and their entropy; affine maps, one a mask, as many as explain the data. How linear a layer is with nothing
frozen is the study ``how_linear``'s; what of it is stated here is the affine substitution, as a layer that could be an
affine map has no need of a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from toymodels.activations import GeLU, Linear
from toymodels.hosts import Models
from toymodels.hypotheses.linearisation import asked
from toymodels.hypotheses.linearisation.asked import Answers
from toymodels.hypotheses.linearisation.coverage import SHARE
from toymodels.metrics.manipulation import ENGAGED
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution import measuring
from toymodels.sweeps.results.arms import HIDDEN_LAYER, SEED_ALONE, layers_by_regime
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import Reply, estimate, said

QUESTION = "Can a layer be linearised by freezing its mask, and how much information is in the mask?"
FIDELITY = "what is frozen, by how the example changes"
DISTANCE = "what is frozen, by how far the example is"
REPLACED = "GeLU's mask replaced by ReLU's"
BITS = "what is frozen, in bits an example"
CROWD = "bits of the mask, by how many features are active"
MAPS = "affine maps, by how many there are"
LAYERS = "a hidden layer"
MARGIN = 0.9
"""Share of the change of the read-out, or of what GeLU does beyond an affine map, from which a yes is a yes."""
OTHERWISE = ("model.top_k", "model.gated", "model.experts")
"""Settings by which more than the activation multiplies z: such layers are not asked."""
LIMITED = ("to keep", "to match it")
"""Numbers of maps that may be more than were tried."""
BESIDE = ("loss_fraction", "affine_substitution", "unexplained_by_affine")
"""Columns of ``models.parquet`` that a hidden layer is told with."""


@dataclass(frozen=True)
class _Layer:
    """A hidden layer of a regime, with what was found of it."""

    regime: str
    name: str
    found: Answers
    models: pd.DataFrame

    @property
    def place(self) -> dict[str, str]:
        return {"regime": self.regime, "layer": self.name}


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """What freezing does to every hidden layer, regime by regime. Raises `FolderError` where there is none to ask."""
    trained = run.models[run.models["status"] == "ok"]
    more = trained[[name for name in OTHERWISE if name in trained]].astype(bool).any(axis=1)
    models = trained[(trained["model.activation"] != Linear.name) & ~more]
    if models.empty:
        raise FolderError(
            f"{run.path}: frozen_mask needs trained models whose activation is not linear and whose neurons are "
            "neither gated nor routed nor cut to the largest"
        )
    layers = list(_layers(run, models, say))
    tables = {
        title: table
        for title, rows in (
            (FIDELITY, _keyed(layers, lambda found: found.fidelity, ("frozen", "changed", "measure"))),
            (DISTANCE, _keyed(layers, lambda found: found.distance, ("by", "distance"))),
            (REPLACED, _keyed(layers, lambda found: found.replaced, ("measure",))),
            (BITS, _keyed(layers, lambda found: found.bits, ("of", "measure"))),
            (CROWD, _keyed(layers, lambda found: found.crowd, ("active", "measure"))),
            (MAPS, _maps(layers)),
            (LAYERS, _beside(layers)),
        )
        if not (table := pd.DataFrame(rows)).empty
    }
    return Reply(QUESTION, _sentence(layers[0].regime, tables), tables, _notes(tables))


def _layers(run: Run, models: pd.DataFrame, say: Callable[[str], None]) -> Iterator[_Layer]:
    regimes = run.arms(models, over=(*SEED_ALONE, *HIDDEN_LAYER, *run.tuned))
    for where, name, arm in layers_by_regime(regimes):
        say(f"{name}, {where}" if where else name)
        found = measuring.where_trained(run, arm["model"].tolist(), lambda *of: asked.ask(Models(*of)), say)
        yield _Layer(where, name, found, arm)


def _keyed(
    layers: list[_Layer], of: Callable[[Answers], asked.Numbers], names: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """A row a number, estimated over seeds, with what it is of in columns of these names."""
    for layer in layers:
        for key, values in of(layer.found).items():
            yield layer.place | dict(zip(names, key, strict=True)) | estimate(values)


def _maps(layers: list[_Layer]) -> Iterator[dict[str, Any]]:
    """Rows of `MAPS`. Of how many maps it takes there is no mean where a seed needs more than were tried: left out, it
    would leave too small a mean."""
    for layer in layers:
        for (measure, maps), values in layer.found.maps.items():
            more, of = int(np.isnan(values).sum()), len(values)
            row = layer.place | {"measure": measure, "maps": maps}
            if more and measure in LIMITED:
                nothing = {"mean": None, "low": None, "high": None, "seeds": of}
                yield row | nothing | {"censored": f"> {asked.CANDIDATES} in {more} of {of}"}
            else:
                yield row | estimate(values) | {"censored": ""}


def _beside(layers: list[_Layer]) -> Iterator[dict[str, Any]]:
    for layer in layers:
        for column in BESIDE:
            yield layer.place | {"measure": column} | estimate(layer.models[column])


def _sentence(regime: str, tables: dict[str, pd.DataFrame]) -> str:
    """The three answers, of the first regime; what new values of the same features do, of the first that has any."""

    def rows(title: str, **where: object) -> list[dict[Any, Any]]:
        table = tables.get(title, pd.DataFrame({"regime": []}))
        table = table[table["regime"] == regime]
        for name, value in where.items():
            table = table[table[name] == value]
        return table.to_dict("records")

    idle = _idle(tables[LAYERS])
    switched = [row for row in rows(FIDELITY, changed="one switched", measure="explained") if _affine(row)]
    parts = [
        f"Frozen at an example and run at one with one feature switched, it explains of the read-out's change "
        f"{_listed(switched)}: {_told(switched, idle, 'carries over', 'does not carry over')}"
    ]
    kept = tables[FIDELITY].query("changed == 'values' and measure == 'explained'").to_dict("records")
    if valued := [row for row in kept if _affine(row) and row["regime"] == kept[0]["regime"]]:
        told = _told(valued, idle, "carries over", "does not carry over")
        parts.append(f"with new values of the same features ({kept[0]['regime']}) {_listed(valued)}: {told}")
    if costs := rows(REPLACED, measure="added", layer=GeLU.name):
        parts.append(f"ReLU's mask in GeLU's place costs {said(costs[0])} of the loss fraction")
        (cost,) = rows(REPLACED, measure="added, refitted", layer=GeLU.name)
        like = rows(REPLACED, measure="kept of what it does, refitted", layer=GeLU.name)
        told = _told(like, idle, "well approximated", "not well approximated")
        some = f" in {like[0]['seeds']} of {cost['seeds']} seeds" if like[0]["seeds"] < cost["seeds"] else ""
        beyond = f" and keeps {said(like[0])} of what GeLU does beyond an affine map{some}" if like[0]["seeds"] else ""
        parts.append(f"with read-outs refitted it costs {said(cost)}{beyond}: {told}")
    source = rows(BITS, measure="bits", of="active set, exact")
    frozen = rows(BITS, measure="at most", of="map") if source else []
    of = f", of {source[0]['mean']:.2f} in the active set" if source else ""
    most = " at most" if frozen else ""
    parts.append(f"bits frozen an example{most}: {_listed(frozen or rows(BITS, measure='bits', of='map'))}{of}")
    where = f" ({regime})" if regime else ""
    seeds = switched[0]["seeds"] if switched else 0
    return f"{'; '.join(parts)}{where}; {seeds} seeds."


def _affine(row: dict[Any, Any]) -> bool:
    """Whether what a row is of is the least that must be frozen for an affine map."""
    return row["frozen"] == ("mask + scale" if row["layer"].endswith("+ LN") else "mask")


def _idle(layers: pd.DataFrame) -> set[tuple[str, str]]:
    """Regimes and layers whose affine substitution is at most `ENGAGED`: with nothing frozen an affine map does it."""
    of = layers[(layers["measure"] == "affine_substitution") & (layers["mean"] <= ENGAGED)]
    return set(zip(of["regime"], of["layer"], strict=True))


def _told(rows: list[dict[Any, Any]], idle: set[tuple[str, str]], yes: str, no: str) -> str:
    """The verdict on the layers whose activation does something; of the others that they cannot say."""
    judged = [row for row in rows if (row["regime"], row["layer"]) not in idle]
    affine = [f"not testable: {row['layer']}'s layer is affine" for row in rows if row not in judged]
    return ", ".join([*([_verdict(judged, yes, no)] if judged or not affine else []), *affine])


def _verdict(rows: list[dict[Any, Any]], yes: str, no: str) -> str:
    """Yes where every interval lies above `MARGIN`, no where every one lies below, else undetermined."""
    if rows and all(row["low"] > MARGIN for row in rows):
        return yes
    return no if rows and all(row["high"] < MARGIN for row in rows) else "undetermined"


def _listed(rows: list[dict[Any, Any]], digits: int = 2) -> str:
    return ", ".join(f"{row['layer']} {said(row, digits)}" for row in rows)


def _notes(tables: dict[str, pd.DataFrame]) -> tuple[str, ...]:
    """What must be known before the bits and the counts are believed."""
    notes = []
    held = tables[BITS].query("of == 'map' and measure == 'saturated' and mean < 1")
    if len(held):
        layers = held.groupby("regime", sort=False).size()
        where = "; ".join(f"{name} ({count} layers)".strip() for name, count in layers.items())
        notes.append(f"Bits still grow with the number of examples, so that they are too few: {where}.")
    notes.append(
        f"At most {asked.CANDIDATES} maps were tried to keep {SHARE:.0%} of the variance, or to match the best affine "
        "map: where a seed needs more there is no mean."
    )
    return tuple(notes)
