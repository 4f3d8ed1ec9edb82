"""Which models of a run a figure shows: trained ones that have what it draws; of tiers, at one LayerNorm eps."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import (
    HIDDEN_LAYER,
    SEED_ALONE,
    Replicates,
    as_python,
    conditions,
    hidden_layers,
    value_text,
)
from toymodels.sweeps.results.reading import Run

EPS = "model.layer_norm_eps"
NORM = "model.layer_norm"


def trained(run: Run) -> pd.DataFrame:
    """The models of a run that did not diverge. Raises `FolderError` where all did."""
    models = run.models[run.models["status"] == "ok"]
    if models.empty:
        raise FolderError(f"{run.path}: every model diverged: there is nothing to draw")
    return models


def with_tiers(run: Run) -> tuple[pd.DataFrame, list[str]]:
    """Models of a run that have tiers, at the first eps that it names, and a sentence for each kind that is left out.

    Raises `FolderError` where there are none.
    """
    models = trained(run)
    diverged, others = len(run.models) - len(models), int(models["features_recovered"].isna().sum())
    models = models[models["features_recovered"].notna()]
    if models.empty:
        raise FolderError(f"{run.path}: this figure needs models that say what each feature is, and there are none")
    left_out = [f"{diverged} models that diverged are left out"] * (diverged > 0)
    left_out += [f"{others} models whose targets are not features are left out"] * (others > 0)
    at_eps = models.loc[models[NORM], EPS]
    if at_eps.nunique() > 1:
        models = _at(models, at_eps.iloc[0], [name for name in run.setting_columns if name != EPS])
        left_out.append(f"LayerNorm eps {value_text(as_python(at_eps.iloc[0]))}")
    return models, left_out


def regimes_with_tiers(run: Run) -> tuple[list[Replicates], bool, list[str]]:
    """The models that `with_tiers` finds by regime, the primary one first, with ``arm`` what their hidden layer is
    called; whether the first is primary; and what to say of all of them."""
    models, left_out = with_tiers(run)
    models = models.assign(arm=hidden_layers(models))
    regimes = run.arms(models, over=(*SEED_ALONE, *HIDDEN_LAYER, EPS, *run.tuned))
    is_primary = [run.plan.is_primary(int(each.models["model"].iloc[0])) for each in regimes]
    first = is_primary.index(True) if True in is_primary else 0
    tuned = " and ".join(name.rpartition(".")[2] for name in run.tuned)
    said = [f"each hidden layer at its best {tuned}"] * bool(run.tuned) + left_out
    return [regimes[first], *regimes[:first], *regimes[first + 1 :]], is_primary[first], said


def regime_title(regimes: Sequence[Replicates], primary: bool, place: int = 0) -> str:
    """Which of the regimes that `regimes_with_tiers` found a figure shows: ``primary: density 0.04``."""
    kind = "primary" if primary and place == 0 else "exploratory"
    name = conditions([regime.settings for regime in regimes])[place]
    return f"{kind}: {name or 'the only regime'}"


def _at(models: pd.DataFrame, eps: object, other_settings: list[str]) -> pd.DataFrame:
    """Those at this eps, and those without LayerNorm, which may stand beside every eps, once."""
    without = models[~models[NORM]]
    once = ~without[other_settings].astype(str).duplicated()
    return pd.concat([without[once], models[models[NORM] & (models[EPS] == eps)]]).sort_index()
