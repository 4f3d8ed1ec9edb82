"""A run that is its tables: what a figure reads, without anything trained."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from toymodels.sweeps.results.reading import Run

STANDARD: dict[str, Any] = {
    "seed": 0,
    "features.n": 4,
    "features.density": 0.1,
    "model.hidden": 2,
    "model.activation": "solu",
    "model.layer_norm": False,
    "model.layer_norm_eps": "1e-05",
}
"""Settings that every run has."""


class Tabled(Run):
    """A run of these models: columns whose names have a dot, and the seed, are settings."""

    primary: Collection[int] | None = None
    """the models of the primary regime"""

    def __init__(self, models: pd.DataFrame, *, tuned: Sequence[str] = (), **tables: pd.DataFrame) -> None:
        self.path = Path("runs/tabled")
        plan = SimpleNamespace(is_primary=lambda model: self.primary is not None and model in self.primary)
        settings = tuple(name for name in models if "." in str(name) or name == "seed")
        self.__dict__.update(
            {"plan": plan, "models": models, "setting_columns": settings, "tuned": tuple(tuned)} | tables
        )

    def but(self, **columns: Any) -> Tabled:
        """The same with columns of the table of models set otherwise, or left out where None."""
        models = self.models.drop(columns=[name for name, value in columns.items() if value is None])
        models = models.assign(**{name: value for name, value in columns.items() if value is not None})
        tables = {name: self.__dict__[name] for name in ("features", "targets") if name in self.__dict__}
        return Tabled(models, tuned=self.tuned, **tables)

    def of(self, chosen: pd.Series) -> Tabled:
        """The same with some rows of the table of models alone."""
        tables = {name: self.__dict__[name] for name in ("features", "targets") if name in self.__dict__}
        return Tabled(self.models[chosen], tuned=self.tuned, **tables)


def models(axes: Mapping[str, Iterable[Any]], **measures: Any) -> pd.DataFrame:
    """A trained model for each combination of settings, the last varying fastest; a measure is a number for all of them
    or a list of numbers."""
    rows = [STANDARD | dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    table = pd.DataFrame(rows)
    return table.assign(model=range(len(table)), status="ok", **measures)


def written(figure: Figure) -> list[str]:
    """All that is written in a figure, the lines of each text joined."""
    return [text.get_text().replace("\n", " ") for text in figure.findobj(Text) if isinstance(text, Text)]


def all_lost() -> Tabled:
    """Models with LayerNorm and without that recover a feature, and none of whose features is in a tier but lost."""
    table = models({"model.layer_norm": (False, True), "seed": (0, 1)}, features_recovered=1, features_neuron=0)
    table["eval.samples"] = 64
    return Tabled(table, features=table[["model"]].assign(tier="lost"))


def without_tier_column() -> Tabled:
    """The same with features in tier neuron, of which the table of features does not say which."""
    table = all_lost().models
    return Tabled(table.assign(features_neuron=1), features=table[["model"]].assign(feature=0))
