"""Scores: what `toymodels score` says of dictionaries, as the terminal shows it."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from rich.markup import escape

from toymodels.hosts.hosted import HostedModel
from toymodels.sweeps.console import documents
from toymodels.sweeps.console.door import say
from toymodels.sweeps.console.printing import stdout
from toymodels.sweeps.console.replies import print_tables
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.results.arms import label
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.scoring import ALL, OF_FEATURES, OF_MODELS, ScoredRun, score_host, score_run
from toymodels.sweeps.studies.reply import estimates

IN_BRIEF = ("mcc", "mcc_by_chance", "mmcs", "f1", "precision", "recall", "uniqueness", "l0", "r2", "shrinkage")
"""the measures that a row of the table of several models has room for"""
SHARES = ("mcc", "mcc_by_chance", "f1", "precision", "recall", "uniqueness", "classification_f1")
COSINES = ("mmcs", "mmcs_by_chance")
ENDS = dict.fromkeys(SHARES, (0.0, 1.0)) | dict.fromkeys(COSINES, (-1.0, 1.0)) | {"r2": (-math.inf, 1.0)}
"""the least and the largest that measures can be"""
LEGEND = (
    "mcc: mean |cosine| of each feature's direction and the latent matched to it, one to one, and what random "
    "directions have; mmcs: mean largest cosine with any latent that fires; f1, precision, recall: of the matched "
    "latent as a detector of its feature, on fresh samples; l0: mean number of latents that are on, where "
    "active_features are there. See docs/DICTIONARIES.md."
)


def say_scores(
    of: Run | HostedModel, named: Path, path: Path, model: int | None, tap: str, samples: int, *, as_json: bool
) -> None:
    """Score the dictionary of a model, or those of all models of a run, or that of a host; print what comes of it."""
    if isinstance(of, Run):
        scored = score_run(of, path, model, tap, samples)
        means = over_seeds(of, scored)
    else:
        if model:
            raise SpecError(f"MODEL: {named} is a host, which is one model: expected none, got {model}")
        scored, means = score_host(of, path, tap, samples), pd.DataFrame()
    if as_json:
        documents.print_document(documents.of_scores(named, tap, samples, scored, means))
        return
    for sentence in scored.notes:
        say(sentence)
    if len(scored.models) == 1:
        (row,) = scored.models.to_dict("records")
        title = f"model {row['model']}, seed {row['seed']}: {row['dictionary']}, read as '{row['architecture']}'"
        print_tables({f"{title}, at {tap}, on {samples:,} samples": by_measure(scored)})
    else:
        rows = scored.models[["model", "seed", "latents", "active_features", *IN_BRIEF, "dead_latents"]]
        tables = {f"a model, at {tap}, on {samples:,} samples": rows, "an arm, over its models' seeds": means}
        print_tables(tables, all_in="--json")
    stdout.print(f"[dim]{escape(LEGEND)}[/dim]", highlight=False)


def by_measure(scored: ScoredRun) -> pd.DataFrame:
    """A row a measure of a single model, a column of all its features and one of each tier."""
    columns = {row["tier"]: [row[name] for name in ("features", *OF_FEATURES)] for _, row in scored.tiers.iterrows()}
    columns = {tier: [*column, *[None] * (len(OF_MODELS) + 2)] for tier, column in columns.items()}
    whole = ("latents", "active_features", *OF_MODELS)
    columns[ALL][-len(whole) :] = [scored.models.iloc[0][name] for name in whole]
    return pd.DataFrame({"measure": ["features", *OF_FEATURES, *whole], **columns}, dtype=object)


def over_seeds(run: Run, scored: ScoredRun) -> pd.DataFrame:
    """The mean of every measure over the models of an arm, of all features and of every tier, with its 95 % interval
    over seeds; without rows for a single model."""
    if len(scored.models) < 2:
        return pd.DataFrame()
    arms = {
        int(model): label(arm.settings) or "all models"
        for arm in run.arms(run.models[run.models["model"].isin(scored.models["model"])])
        for model in arm.models["model"]
    }
    whole, tiers = (
        table.assign(arm=table["model"].map(arms)) for table in (scored.models.assign(tier=ALL), scored.tiers)
    )
    by, tiers = ["arm", "tier"], tiers[tiers["tier"] != ALL]
    means = [
        estimates(whole, by, [*OF_FEATURES, *OF_MODELS], ENDS),
        estimates(tiers, by, list(OF_FEATURES), ENDS),
    ]
    order = {arm: place for place, arm in enumerate(arms.values())}
    return pd.concat(means).sort_values("arm", key=lambda arm: arm.map(order), kind="stable", ignore_index=True)
