"""Persons: what people's finished judgements of a blinded test say of its arms, beside the rule's on the same
neurons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from toymodels.hypotheses.statistics.agreement import cohens_kappa
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import judgements
from toymodels.sweeps.studies.blinded import BlindTest, drawn_again
from toymodels.sweeps.studies.judgements import Judged, Judgements
from toymodels.sweeps.studies.reply import estimate

RULE = "the rule"
SCORES = "an arm: the share that looks interpretable, of the neurons that a person judged, unsure ones left out"
AGREEMENT = "two judges of the same neurons, unsure ones left out: Cohen's kappa and its interval over neurons"

Neuron = tuple[int, int]
"""the number of a model, and of a neuron in it"""


def scores(test: BlindTest, held: Judgements) -> dict[str, pd.DataFrame]:
    """The share of interpretable neurons in every arm, by the judge and by the rule: `SCORES`, over seeds."""
    seeds = {
        model: seed
        for arms in test.regime.arms.values()
        for of in arms.values()
        for model, seed in zip(of, test.regime.seeds, strict=True)
    }
    shown = pd.DataFrame(
        {
            "arm": [place.arm for place in test.places],
            "seed": [seeds[place.model] for place in test.places],
            RULE: [np.nan if place.by_rule is None else float(place.by_rule) for place in test.places],
            held.judge: [_as_number(verdict) for verdict in held.verdicts],
        }
    )
    rows = []
    for arm in test.arms:
        of_arm = shown[shown["arm"] == arm]
        unsure = int(of_arm[held.judge].isna().sum())
        for judge in (held.judge, RULE):
            decided = of_arm[of_arm[held.judge].notna()]
            by_seed = decided.groupby("seed")[judge].mean().to_numpy(np.float64)
            rows.append({"arm": arm, "judge": judge, "neurons": len(of_arm), "unsure": unsure} | estimate(by_seed))
    return {SCORES: pd.DataFrame(rows)}


def against_rule(test: BlindTest, held: Judgements) -> dict[str, pd.DataFrame]:
    """How far a judge and the rule agree: `AGREEMENT`."""
    return {AGREEMENT: pd.DataFrame([_agreement(held.judge, RULE, _by_person(test, held), _by_rule(test))])}


def of_run(run: Run) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """What every finished judgement of a run says, and a sentence for each that is not finished or is refused.

    No tables where none is left.
    """
    finished: list[tuple[BlindTest, Judgements]] = []
    notes: list[str] = []
    for judge in judgements.judges(run):
        try:
            held = judgements.read(run, judge)
            if held and held.finished:
                finished.append((drawn_again(run, held), held))
            elif held:
                done = f"{held.judged} of {len(held.verdicts)}"
                notes.append(f"{judge} has judged {done} neurons: not counted before the end")
        except FolderError as error:  # one judge's file: it does not silence the others
            notes.append(f"{judge} is not counted: {error}")
    if not finished:
        return {}, notes
    of_judges = [scores(test, held)[SCORES] for test, held in finished]
    agreements = [against_rule(test, held)[AGREEMENT] for test, held in finished]
    agreements += _between(finished)
    return {SCORES: pd.concat(of_judges, ignore_index=True), AGREEMENT: pd.concat(agreements, ignore_index=True)}, notes


def _between(finished: Sequence[tuple[BlindTest, Judgements]]) -> Iterator[pd.DataFrame]:
    for (test, held), (other_test, other) in combinations(finished, 2):
        first, second = _by_person(test, held), _by_person(other_test, other)
        if first.keys() & second.keys():
            yield pd.DataFrame([_agreement(held.judge, other.judge, first, second)])


def _agreement(
    first: str, second: str, by_first: dict[Neuron, bool], by_second: dict[Neuron, bool]
) -> dict[str, str | float | int]:
    both = [neuron for neuron in by_first if neuron in by_second]
    kappa = cohens_kappa([by_first[each] for each in both], [by_second[each] for each in both])
    return {
        "first": first,
        "second": second,
        "kappa": kappa.mean,
        "from": kappa.low,
        "to": kappa.high,
        "neurons": kappa.n,
    }


def _by_person(test: BlindTest, held: Judgements) -> dict[Neuron, bool]:
    decided = zip(test.places, held.verdicts, strict=True)
    return {
        (place.model, place.neuron): verdict is Judged.INTERPRETABLE
        for place, verdict in decided
        if verdict in (Judged.INTERPRETABLE, Judged.NOT)
    }


def _by_rule(test: BlindTest) -> dict[Neuron, bool]:
    return {(place.model, place.neuron): place.by_rule for place in test.places if place.by_rule is not None}


def _as_number(verdict: Judged | None) -> float:
    """1, 0, and NaN where a person could not say."""
    return {Judged.INTERPRETABLE: 1.0, Judged.NOT: 0.0}.get(verdict, np.nan) if verdict else np.nan
