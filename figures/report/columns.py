"""Columns as the explorer has them: numbers, or words by their place in a list; and the columns of the models' table.

{"name", "title", "setting": bool, "values": place}                    of numbers, NaN where undefined
{"name", "title", "setting": bool, "values": place, "words": [word]}   of words; the number of words where undefined
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from toymodels.figures.report.packed import Packed
from toymodels.sweeps.results.arms import HIDDEN_LAYER, as_python, hidden_layers, title, value_text
from toymodels.sweeps.results.reading import Run

LAYER = "hidden layer"
"""A column of the explorer's own: ``solu + LN``, in the place of the settings that say it."""
NOT_MEASURED = ("model", "key", "diverged_step", "layer_norm_eps")
"""What models.parquet says beside settings and measures, and the explorer does not show, or shows elsewhere."""


def column(packed: Packed, name: str, values: pd.Series, kind: str = "f4") -> dict[str, Any]:
    """A column of a table; numbers of type ``kind``. Truth values are words."""
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return {"name": name, "values": packed.add(values.to_numpy(np.float64, na_value=np.nan), kind)}
    said = [None if (value := as_python(each)) is None else _word(value) for each in values]
    words = list(dict.fromkeys(word for word in said if word is not None))
    places = {word: place for place, word in enumerate(words)}
    codes = np.array([len(words) if word is None else places[word] for word in said], np.int64)
    small = "u1" if len(words) < 2**8 else "i4"
    return {"name": name, "values": packed.add(codes, small), "words": words}


def of_models(run: Run, models: pd.DataFrame, packed: Packed) -> list[dict[str, Any]]:
    """The columns of the explorer: the hidden layer, what else varies, the seed, how training ended, and measures."""
    varying = run.varying()
    columns = []
    if set(HIDDEN_LAYER) & set(varying):
        layers = pd.Series(hidden_layers(models), index=models.index, dtype=object)
        columns.append(column(packed, LAYER, layers) | {"title": LAYER, "setting": True})
    settings = [name for name in varying if name not in HIDDEN_LAYER]
    shared = Counter(title(name) for name in settings)
    columns += [
        column(packed, name, models[name], "f8")
        | {"title": name if shared[title(name)] > 1 else title(name), "setting": True}
        for name in settings
    ]
    measures = [str(name) for name in models if name not in (*run.setting_columns, *NOT_MEASURED)]
    columns += [
        column(packed, name, models[name], "f8" if name == "seed" else "f4") | {"title": spoken(name), "setting": False}
        for name in ("seed", *measures)
        if name in models and models[name].notna().any()
    ]
    return columns


def of_rows(packed: Packed, rows: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    """Columns of a table of features, targets or neurons, in half precision unless they count; those in which nothing
    is said aside."""
    there = [name for name in names if name in rows and rows[name].notna().any()]
    return [column(packed, name, rows[name], _kind(rows[name])) | {"title": spoken(name)} for name in there]


def _kind(values: pd.Series) -> str:
    """The type of a column of rows. Which neuron is a float where some rows have none; half precision has no 3001."""
    if pd.api.types.is_integer_dtype(values.dtype):
        return "i4"
    known = values.dropna()
    counts = pd.api.types.is_float_dtype(known.dtype) and bool((known == known.round()).all())
    return "f4" if counts else "f2"


def spoken(name: str) -> str:
    """The name of a measure as a column's title: ``loss fraction``."""
    return name.replace("_", " ")


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value_text(value)
