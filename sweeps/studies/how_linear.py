"""How linear are linear units: what an affine map leaves unexplained of what the activations of trained layers do.

Of every hidden layer of a run, 1 - R^2 of the best affine map of z to act(z) over each model's own data
(`toymodels.metrics.linearity`), and what it costs in loss fraction to put that map in the activation's place and refit
the read-out (`toymodels.metrics.manipulation`). Asked by readers of Elhage et al. 2022, *Softmax Linear Units*.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from toymodels.activations import Linear
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import HIDDEN_LAYER, SEED_ALONE, layers_by_regime
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import Reply, estimate, said

QUESTION = "They are all called linear units: how linear are they on the data they see?"
TABLE = "a hidden layer in a regime"
UNEXPLAINED, SUBSTITUTION = "unexplained", "substitution"
"""What a row of the table is of."""


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """The share of every hidden layer, regime by regime. Raises `FolderError` where no activation is left to ask of."""
    trained = run.models[run.models["status"] == "ok"]
    models = trained[trained["model.activation"] != Linear.name]
    if models.empty:
        raise FolderError(f"{run.path}: how_linear needs trained models whose activation is not linear")
    rows, regimes = [], run.arms(models, over=(*SEED_ALONE, *HIDDEN_LAYER, *run.tuned))
    for where, layer, arm in layers_by_regime(regimes):
        measured = {
            UNEXPLAINED: estimate(arm["unexplained_by_affine"], least=0, most=1),
            SUBSTITUTION: estimate(arm["affine_substitution"]),
        }
        rows += [{"regime": where, "layer": layer, "measure": of} | found for of, found in measured.items()]
    table = pd.DataFrame(rows)
    first = table[table["regime"] == table["regime"].iloc[0]]
    shares = first[first["measure"] == UNEXPLAINED].sort_values("mean", ascending=False).to_dict("records")
    told = ", ".join(f"{row['layer']} {said(row)}" for row in shares)
    where = f" ({first['regime'].iloc[0]})" if len(first) < len(table) else ""
    sentence = f"The best affine map of z leaves of act(z)'s variance{where}: {told}; {shares[0]['seeds']} seeds."
    return Reply(QUESTION, sentence, {TABLE: table})
