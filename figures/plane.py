"""The plane: features per neuron x size of the embedding x density, cell by cell, under each condition of a run.

A *condition* is what all other settings say, the hidden layer, the seed and tuned settings aside. Of a cell:

    substitution     affine substitution of SoLU + LN, mean over seeds; above `ENGAGED` its activation does something
    neurons          features of tier neuron in SoLU + LN, mean over seeds
    beyond[other]    the same minus the other arm's, paired by seed, with its 95 % interval over seeds (Student's t)
    hidden           features of tier hidden in SoLU + LN, mean over seeds
    answer           what ``toymodels verdict`` says of the regime, where it has been run

A cell of which an arm has no trained model lacks what is said by it: None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from toymodels.figures.shown import EPS, with_tiers
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.statistics.intervals import StudentInterval, student_interval
from toymodels.metrics.manipulation import ENGAGED
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import HIDDEN_LAYER, SEED_ALONE, as_python, condition, hidden_layers
from toymodels.sweeps.results.reading import Run

N, HIDDEN, DENSITY, EMBEDDING = "features.n", "model.hidden", "features.density", "model.embedding"
TRAINED = "model.embedding.trained"
OTHERS = ("gelu + LN", "relu")
"""The arms that neurons are compared with: one that has LayerNorm without SoLU, and one that has neither."""


@dataclass(frozen=True)
class Cell:
    """One cell under one condition; of the arms that were trained there."""

    features_per_neuron: float
    embedding: int | None
    density: float
    substitution: float | None
    neurons: float | None
    hidden: float | None
    beyond: Mapping[str, StudentInterval | None]
    answer: str | None

    @property
    def engaged(self) -> bool:
        """Whether SoLU + LN has use for its activation, as far as is known."""
        return self.substitution is not None and self.substitution > ENGAGED


@dataclass(frozen=True)
class Plane:
    """The cells under one condition, and what that is called beside the first one of the run."""

    condition: str
    cells: tuple[Cell, ...]


def planes(run: Run) -> tuple[list[Plane], list[str]]:
    """The planes of a run in the order of its plan, and a sentence for each thing that is not in them.

    Raises `FolderError` where no model of SoLU + LN has tiers: then there is nothing to say of any cell.
    """
    models, left_out = with_tiers(run)
    models = models.assign(arm=hidden_layers(models))
    if not (models["arm"] == MAIN).any():
        raise FolderError(f"{run.path}: this figure is about {MAIN}, and the run has no trained model of it")
    if TRAINED in models:  # a bottleneck has no embedding that could be trained: that alone is no other condition
        models[TRAINED] = models[TRAINED].eq(True)
    answers = _answers(run)
    over = (*SEED_ALONE, *HIDDEN_LAYER, EPS, N, DENSITY, EMBEDDING, *run.tuned)
    found = run.arms(models, over=over)
    first = found[0].settings
    planes = [
        Plane(
            condition(each.settings, None if each is found[0] else first) or "the only condition",
            tuple(
                _cell(cell.models, run, answers)
                for cell in run.arms(each.models, over=(*SEED_ALONE, *HIDDEN_LAYER, EPS, *run.tuned))
            ),
        )
        for each in found
    ]
    return planes, [*left_out, *_absent(run, models)]


def judged(planes: list[Plane]) -> bool:
    """Whether ``toymodels verdict`` says something of any cell."""
    return any(cell.answer is not None for plane in planes for cell in plane.cells)


def _cell(rows: pd.DataFrame, run: Run, answers: Mapping[str, str]) -> Cell:
    of = {str(name): arm.set_index("seed") for name, arm in rows.groupby("arm")}
    main, row = of.get(MAIN), rows.iloc[0]
    beyond: dict[str, StudentInterval | None] = dict.fromkeys(OTHERS)
    if main is not None:
        for name in OTHERS:
            if name in of:
                beyond[name] = student_interval((main["features_neuron"] - of[name]["features_neuron"]).to_numpy(float))
    return Cell(
        features_per_neuron=float(row[N] / row[HIDDEN]),
        embedding=as_python(row[EMBEDDING]) and int(row[EMBEDDING]),
        density=float(row[DENSITY]),
        substitution=_mean(main, "affine_substitution"),
        neurons=_mean(main, "features_neuron"),
        hidden=_mean(main, "features_hidden"),
        beyond=beyond,
        answer=_answer(run, int(row["model"]), answers),
    )


def _mean(main: pd.DataFrame | None, column: str) -> float | None:
    return None if main is None else as_python(main[column].mean())


# ------------------------------------------------------------------------------------------------------------- verdicts


def _answers(run: Run) -> dict[str, str]:
    """The answers of ``verdicts.json`` by what it says of a regime's settings; none before ``toymodels verdict`` ran,
    and none of a version that gave no answer."""
    try:
        regimes = run.verdicts["regimes"]
    except FolderError:
        return {}
    return {_spelled(regime["settings"]): regime["answer"] for regime in regimes if "answer" in regime}


def _answer(run: Run, model: int, answers: Mapping[str, str]) -> str | None:
    """The answer of the regime of a model, whose settings are spelled as the verdict spells them."""
    if not answers:
        return None
    named = json.loads(next(iter(answers)))
    (row,) = run.models.loc[run.models["model"] == model].to_dict("records")
    return answers.get(_spelled({name: as_python(row.get(name)) for name in named}))


def _spelled(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _absent(run: Run, models: pd.DataFrame) -> list[str]:
    """A sentence for each arm of which the run has no trained model."""
    there, planned = set(models["arm"]), set(hidden_layers(run.models))
    return [
        f"every model of {name} diverged" if name in planned else f"no models of {name}"
        for name in OTHERS
        if name not in there
    ]
