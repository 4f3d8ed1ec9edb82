"""Evidence tables: what a verdict rests on, feature by feature and neuron by neuron, as Parquet.

    evidence.parquet                 a row a regime x LayerNorm eps x arm x seed x feature
    evidence_neurons.parquet         a row a regime x LayerNorm eps x arm x seed x neuron x class of activation
    evidence_dictionaries.parquet    a row a regime x LayerNorm eps x arm x seed x dictionary

``tier`` is that of the feature in SoLU + LN of the same seed, in every arm. What is undefined or was not measured is
null. Rows are written as they are measured, so any number of them may come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from toymodels.hypotheses.evidence import mean_over
from toymodels.hypotheses.measuring import Evidence, Measured
from toymodels.hypotheses.predictions import p9_harder_to_find
from toymodels.hypotheses.tiers import Setting, Tiers
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unwritable

TIERS = np.array(["lost", "one", "two"], dtype=object)
MEASURED = {
    "active_examples": ("recovery", "active"),
    "r2": ("recovery", "r2"),
    "response_alignment_percentile": ("p1", "percentile"),
    "change_mid": ("p2", "mid"),
    "change_post": ("p2", "post"),
    "effect_alone": ("p3", "alone"),
    "affine_r2": ("p4", "live"),
    "drop_geometric": ("p4", "geometric"),
    "drop_optimal": ("p4", "optimal"),
    "drop_optimal_r2": ("p4", "optimal, R² as it is"),
    "drop_keep_1": ("p4", "keep 1"),
    "drop_keep_2": ("p4", "keep 2"),
    "drop_keep_4": ("p4", "keep 4"),
    "best_neuron_r2": ("p9", "best neuron"),
    "f1_top_k": ("p9", "F1 of TopK"),
    "f1_l1": ("p9", "F1 of L1"),
}
"""column: where in what was measured of an arm; each [model, feature]"""
COMPANY = ("effect_with_tier_one", "effect_with_tier_two")
WORDS = pa.dictionary(pa.int16(), pa.string())
INDEX = [("regime", WORDS), ("primary", pa.bool_()), ("eps", WORDS), ("arm", WORDS), ("seed", pa.int64())]
FEATURE_SCHEMA = pa.schema(
    [
        *INDEX,
        ("model", pa.int64()),
        ("feature", pa.int32()),
        ("tier", WORDS),
        ("density", pa.float64()),
        ("importance", pa.float64()),
        *[(name, pa.float32()) for name in (*MEASURED, *COMPANY)],
    ]
)
NEURON_SCHEMA = pa.schema(
    [*INDEX, ("model", pa.int64()), ("neuron", pa.int32()), ("class", pa.int8())]
    + [(f"others_{tap}", pa.float32()) for tap in ("mid", "post")]
)
DICTIONARY_SCHEMA = pa.schema(
    [*INDEX, ("model", pa.int64()), ("tap", WORDS), ("kind", WORDS)]
    + [(name, pa.float32()) for name in p9_harder_to_find.SCORES]
)
SCHEMAS = {
    "evidence": FEATURE_SCHEMA,
    "evidence_neurons": NEURON_SCHEMA,
    "evidence_dictionaries": DICTIONARY_SCHEMA,
}


@dataclass(frozen=True)
class Writer:
    """The tables, open."""

    folder: Path
    features: pq.ParquetWriter
    neurons: pq.ParquetWriter
    dictionaries: pq.ParquetWriter

    def add(self, evidence: Evidence, primary: bool, seeds: Sequence[int], models: Mapping[str, Sequence[int]]) -> None:
        """The rows of some seeds of a regime at one eps; ``models`` by arm."""
        tiers = Tiers.of(evidence, Setting(evidence.eps))
        of_both = {"regime": evidence.regime, "primary": primary, "eps": evidence.eps}
        for arm, measured in evidence.arms.items():
            common = {**of_both, "arm": arm, "seed": np.asarray(seeds), "model": np.asarray(models[arm])}
            with _said(self.folder):
                self.features.write_table(_feature_rows(common, measured, tiers, evidence.covariates))
                if "p7" in measured:
                    self.neurons.write_table(_neuron_rows(common, measured["p7"]))
                if "dictionaries" in measured:
                    self.dictionaries.write_table(_dictionary_rows(common, measured["dictionaries"]["scores"]))


@contextmanager
def writing(folder: Path) -> Iterator[Writer]:
    """Write the tables into a run folder: whole, or what was there before. Raises `FolderError`."""
    with ExitStack() as stack:
        writers = []
        for name, schema in SCHEMAS.items():
            with _said(folder):
                file = stack.enter_context(atomic.writing(folder / f"{name}.parquet"))
                writers.append(stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd")))
        yield Writer(folder, *writers)
        with _said(folder):
            stack.close()


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(folder / "evidence.parquet", error) from None


def _feature_rows(common: dict[str, object], measured: Measured, tiers: Tiers, covariates: np.ndarray) -> pa.Table:
    seeds, n = covariates.shape[:2]
    blank = torch.full((seeds, n), torch.nan)
    columns: dict[str, object] = {
        "feature": np.tile(np.arange(n), seeds),
        "tier": TIERS[(tiers.one.int() + 2 * tiers.two.int()).numpy().ravel()],
        "density": np.exp(covariates[:, :, 0]).ravel(),
        "importance": np.exp(covariates[:, :, 1]).ravel(),
    }
    for name, (prediction, quantity) in MEASURED.items():
        columns[name] = measured.get(prediction, {}).get(quantity, blank)
    for name, of_tier in zip(COMPANY, (tiers.one, tiers.two), strict=True):
        columns[name] = _in_company(measured["p3"], of_tier) if "p3" in measured else blank
    return _table({**_repeated(common, n), **columns}, FEATURE_SCHEMA)


def _in_company(p3: dict[str, Tensor], of: Tensor) -> Tensor:
    """Mean effect of each feature in the company of one of the features ``of`` a tier: a_i (1 - mean of gated)."""
    return p3["alone"] * (1 - mean_over(p3["gated"], of[:, None, :].expand_as(p3["gated"]), dim=2))


def _neuron_rows(common: dict[str, object], p7: dict[str, Tensor]) -> pa.Table:
    seeds, neurons, classes = p7["mid"].shape
    columns: dict[str, object] = {
        "neuron": np.tile(np.repeat(np.arange(neurons), classes), seeds),
        "class": np.tile(np.arange(1, classes + 1), seeds * neurons),
        **{f"others_{tap}": p7[tap] for tap in ("mid", "post")},
    }
    return _table({**_repeated(common, neurons * classes), **columns}, NEURON_SCHEMA)


def _dictionary_rows(common: dict[str, object], scores: Tensor) -> pa.Table:
    there = ~scores.isnan().all(2).flatten().numpy()
    taps, kinds = zip(*p9_harder_to_find.DICTIONARIES, strict=True)
    columns: dict[str, object] = {
        "tap": np.tile(np.array(taps, dtype=object), len(scores)),
        "kind": np.tile(np.array([kind.removeprefix("F1 of ") for kind in kinds], dtype=object), len(scores)),
        **dict(zip(p9_harder_to_find.SCORES, scores.flatten(0, 1).unbind(1), strict=True)),
    }
    return _table({**_repeated(common, len(taps)), **columns}, DICTIONARY_SCHEMA).filter(pa.array(there))


def _repeated(common: dict[str, object], width: int) -> dict[str, object]:
    """What is said once a model, once a row."""
    rows = len(np.asarray(common["seed"])) * width
    return {
        name: np.repeat(value, width) if isinstance(value, np.ndarray) else np.full(rows, value)
        for name, value in common.items()
    }


def _table(columns: dict[str, object], schema: pa.Schema) -> pa.Table:
    arrays = []
    for at in schema:
        values = columns[at.name]
        values = values.numpy().ravel() if isinstance(values, Tensor) else np.asarray(values)
        undefined = ~np.isfinite(values) if values.dtype.kind == "f" else None
        arrays.append(pa.array(values, mask=undefined).cast(at.type))
    return pa.Table.from_arrays(arrays, schema=schema)
