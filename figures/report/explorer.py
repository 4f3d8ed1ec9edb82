"""What the explorer is given: a document of names and places, and the arrays that these are of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from toymodels.figures.report import carried, columns, inside
from toymodels.figures.report.packed import Packed
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run

ACROSS = ("targets_recovered", "dimensionality_sum", "features_recovered")
"""Measures for the x axis at first, the first one that is there and varies; else a setting that is a number."""
OF_LAYERS = ("features_neuron", "affine_substitution")
"""Those before them where hidden layers are compared."""
UP = "loss_fraction"

MOST_NUMBER = 2**31 - 1
"""of a model, as the page has it"""


@dataclass(frozen=True)
class Explorer:
    """What a page has for its explorer."""

    document: dict[str, Any]
    """names, words and places of arrays, as JSON has them"""
    arrays: str
    """the arrays themselves, as `Packed` writes them"""
    sentences: list[str]
    """what the page does not carry, and what could not be read"""


def explorer(run: Run) -> Explorer | None:
    """The explorer of a run; None of one without a single model.

    Raises `FolderError` where the table of models does not say which model a row is of.
    """
    if run.models.empty:
        return None
    _check_numbered(run)
    packed, problems = Packed(), []
    try:
        size = inside.sizes(run, run.models["model"].tolist())
    except FolderError as error:  # sweep files that are not what made the folder: its tables still stand
        size, problems = {}, [str(error)]
    chosen = carried.choose(run.arms(), size)
    shown = run.models[run.models["model"].isin(chosen.points)].sort_values("model", kind="stable")
    of_models = columns.of_models(run, shown, packed)
    tables, no_tables = inside.rows(run, chosen.rows, packed)
    matrices, no_packs = inside.matrices(run, chosen, packed)
    document = {
        "run": str(run.path),
        "models": packed.add(shown["model"].to_numpy(), "i4"),
        "columns": of_models,
        "start": _start(of_models, shown),
        "rows": packed.add(np.array(chosen.rows), "i4"),
        "tables": tables,
        **matrices,
    }
    return Explorer(document, packed.text(), [*chosen.sentences, *problems, *no_tables, *no_packs])


def _check_numbered(run: Run) -> None:
    numbers = run.models.get("model", pd.Series(dtype=object))
    if not pd.api.types.is_integer_dtype(numbers) or not numbers.between(0, MOST_NUMBER).all() or not numbers.is_unique:
        raise FolderError(f"{run.path}/models.parquet: damaged: 'toymodels tables {run.path}' builds it")


def _start(of_models: list[dict[str, Any]], shown: Any) -> dict[str, str]:
    """Which columns the axes and colours are of at first."""
    names = [each["name"] for each in of_models]
    numbers = [each["name"] for each in of_models if "words" not in each]
    settings = [each["name"] for each in of_models if each["setting"]]
    across = (*OF_LAYERS, *ACROSS) if columns.LAYER in names else ACROSS
    x = [name for name in across if name in numbers and shown[name].nunique() > 1]
    x += [name for name in settings if name in numbers]
    return {
        "x": (x or numbers or names)[0],
        "y": UP if UP in numbers else (numbers or names)[-1],
        "colour": (settings or numbers or names)[0],
    }
