"""two_tiers: alignment against recovery, one point a feature, a panel an arm, coloured by how often the feature occurs.

A dot is a feature of one model. Two tiers would show as two clouds: recovered features (high R^2) both at the right
edge, in one neuron, and at the left, in none. The dashed line is the threshold of "recovered". Of a sweep that names
its primary regime only that is shown, under every value law, and of several LayerNorm eps the first. Above stands what
a panel pools, what is left out, and how many of its features are drawn where they are too many.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace

import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter

from toymodels.metrics.recovery import RECOVERED
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import hidden_layer
from toymodels.sweeps.results.reading import Run

ROW = ["features.values", "model.layer_norm"]
COLUMN = "model.activation"
EPS = "model.layer_norm_eps"
MOST_POINTS = 6000
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)


def draw(run: Run) -> Figure:
    """Columns are activations, rows value law and LayerNorm; raises `FolderError` if nothing was trained, or no target
    is of features."""
    models = run.models[run.models["status"] == "ok"]
    if models.empty:
        raise FolderError(f"{run.path}: every model diverged: there is nothing to draw")
    others = int(models["features_recovered"].isna().sum())
    models = models[models["features_recovered"].notna()]
    if models.empty:
        raise FolderError(f"{run.path}: this figure needs models that say what each feature is, and there are none")
    models = _shown(run, models)
    columns = list(models[COLUMN].unique())
    rows = list(models[ROW].drop_duplicates().sort_values(ROW, ascending=[False, True]).itertuples(index=False))
    figure = Figure(figsize=(2.3 * len(columns) + 1, 1.9 * len(rows) + 0.5))
    axes = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    density = run.features["density"]
    norm = LogNorm(density.min(), max(density.max(), density.min() * 1.01))
    pooled: dict[str, None] = {}
    pools_seeds = sampled = False
    for (values, layer_norm), line in zip(rows, axes, strict=True):
        for activation, axis in zip(columns, line, strict=True):
            arm = models[(models[ROW] == [values, layer_norm]).all(axis=1) & (models[COLUMN] == activation)]
            pooled |= dict.fromkeys(run.varying(arm))
            pools_seeds |= arm["seed"].nunique() > 1
            features = run.features[run.features["model"].isin(arm["model"])].dropna(
                subset=["response_alignment", "r2"]
            )
            if len(features) > MOST_POINTS:
                features, sampled = features.sample(MOST_POINTS, random_state=0), True
            axis.scatter(
                features["response_alignment"],
                features["r2"].clip(lower=-0.25),
                c=features["density"],
                norm=norm,
                s=5,
                alpha=0.6,
                linewidths=0,
                rasterized=True,
            )
            axis.axhline(RECOVERED, color="0.5", linewidth=0.8, linestyle="--")
            axis.set_title(f"{hidden_layer(activation, layer_norm)}, {values} ({len(arm)} models)")
    axes[0, 0].set(xlim=(0, 1.03), ylim=(-0.3, 1.05))
    left_out = [name for name in run.varying() if name not in (*run.varying(models), *ROW, COLUMN)]
    over = [*pooled, *["seeds"] * pools_seeds]
    said = [f"pooled over {', '.join(over)}"] * bool(over)
    said += [f"{MOST_POINTS:,} features a panel at most"] * sampled
    said += [f"{name} {models.sort_values('model.layer_norm')[name].iloc[-1]}" for name in left_out]
    said += [f"{others} models whose targets are not features are left out"] * bool(others)
    figure.suptitle(textwrap.fill("; ".join(said), 40 * len(columns)), fontsize=8, color="0.4")
    figure.supxlabel("response alignment at mid  (1 = one neuron)", fontsize=9)
    figure.supylabel("R² of the model", fontsize=9)
    shades = ScalarMappable(norm)
    bar = figure.colorbar(shades, ax=axes, shrink=0.6, label="P(feature active)")
    bar.set_ticks([tick for tick in TICKS if density.min() <= tick <= density.max()], labels=None)
    bar.ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    bar.minorticks_off()
    return figure


def _shown(run: Run, models: pd.DataFrame) -> pd.DataFrame:
    """The models of the primary regime, if there are any, at one eps."""
    sweep = run.plan.sweep
    named = {name: value for name, value in sweep.primary.items() if name not in (*ROW, COLUMN)}
    if named:
        primary = replace(run.plan, sweep=replace(sweep, primary=named))
        of_it = models[[primary.is_primary(int(model)) for model in models["model"]]]
        models = models if of_it.empty else of_it
    eps = models.loc[models["model.layer_norm"], EPS]
    if eps.empty:
        return models
    without = models[~models["model.layer_norm"]]  # the same models at every eps
    same = [name for name in run.setting_columns if name != EPS]
    once = ~without[same].astype(str).duplicated()
    return pd.concat([without[once], models[models["model.layer_norm"] & (models[EPS] == eps.iloc[0])]]).sort_index()
