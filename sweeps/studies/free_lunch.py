"""A free lunch: which arm has more features in neurons than another at no more loss, regime by regime.

A regime is a task and a size, an arm everything else that a run varies (`toymodels.sweeps.results.contests`);
`toymodels.hypotheses.free_lunch` says when a lunch is free. Beside it: what the candidates of a tuning say of the same
trade; cross-entropy against squared error, whose loss fractions are of other tasks and are not compared; dead neurons
with LayerNorm and without.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from toymodels.hypotheses.free_lunch import Lunch, any_free, front, lunches, near_best, share_on_front, slopes
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.metrics.recovery import RECOVERED
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import SEED_ALONE, condition, hidden_layer, label
from toymodels.sweeps.results.contests import Contest, contests
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.store.tuning import tuning_folder
from toymodels.sweeps.studies.reply import Reply, chosen, estimate, more, said

QUESTION = "Is there a free lunch: an arm with more features in single neurons than another, at no more loss?"
ARMS = "an arm in a regime"
OFFERS = "what every other arm offers whoever has the arm of least loss"
AGAINST = "an arm, and whether another is a free lunch for whoever has it"
SLOPES = "features in neurons per .01 of loss fraction"
CANDIDATES = "candidates of an arm's tuning within 1 % of its least loss, and their features in neurons"
ENTROPY = "cross-entropy minus squared error"
DEAD = "dead neurons with LayerNorm minus without"
LOSS, IN_NEURONS, DEAD_NEURONS = "loss fraction", "in neurons", "dead neurons"
CUTS = (0.5, 0.6, 0.7)
COUNTS = (IN_NEURONS, *(f"best neuron above {cut}" for cut in CUTS))
"""Ways of counting features in neurons: recovered and functionally aligned, or with a best neuron above a cut."""
CLOSE, NEAR_LEAST, THE_FRONT = 1.1, "arms within 10 % of the least loss", "arms on the front"
FREE, ON_FRONT = "a free lunch", "on the front, of resampled seeds"
R2, AFFINE = "mean R² of features", "affine substitution"
MEASURES = {
    LOSS: "loss_fraction",
    IN_NEURONS: "features_neuron",
    "recovered": "features_recovered",
    "hidden": "features_hidden",
    DEAD_NEURONS: "dead_neurons",
    AFFINE: "affine_substitution",
}
"""Beside the counts, by the column of ``models.parquet`` that has them."""
LOSS_SETTING, SQUARED, ENTROPY_LOSS = "task.loss", "squared", "cross_entropy"


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """Who offers what to whom. Raises `FolderError` where no model says what each feature is, or there is one arm."""
    regimes = _contests(run, run.tuned)
    if not any(len(contest.arms) > 1 for contest in regimes):
        raise FolderError(f"{run.path}: free_lunch compares arms, and no regime of this run has two trained ones")
    arms, offers, against, trades, told, elsewhere = [], [], [], [], [], Counter()
    for contest in (each for each in regimes if len(each.arms) > 1):
        say(f"comparing {len(contest.arms)} arms: {contest.name or 'the only regime'}")
        arms += _arm_rows(contest)
        losses, counts = contest.numbers(LOSS), {name: contest.numbers(name) for name in COUNTS}
        best = int(losses.nanmean(1).nan_to_num(torch.inf).argmin())
        for place, arm in enumerate(contest.arms):
            found = lunches(losses, counts, place)
            free = [contest.arms[k].name for k, of in found.items() if of.status is Status.SUPPORTED]
            named = {"regime": contest.name, "arm": arm.name, "least loss": "*" * (place == best)}
            against.append(named | {FREE: any_free(found).value, "arms": len(free), "such as": ", or ".join(free[:2])})
            if place == best:
                offers += [row for k, of in found.items() for row in _offer_rows(contest, k, best, of)]
                elsewhere[any_free(found).value] += bool(told)
                told += [] if told else [_told(contest, best, found)]
        trades += _slope_rows(contest, losses, counts)
    tables = {AGAINST: against, OFFERS: offers, SLOPES: trades, CANDIDATES: _candidate_rows(run)}
    entropy = _entropy_rows(regimes)
    tables |= {ENTROPY: entropy, DEAD: _dead_rows(regimes), ARMS: arms}
    shown = {title: pd.DataFrame(rows) for title, rows in tables.items() if rows}
    others = ", ".join(f"{status} in {count}" for status, count in elsewhere.most_common() if count)
    told += [f"In other regimes: {others}."] if others else []
    return Reply(QUESTION, " ".join([*told, *_entropy_told(entropy)]), shown, _notes(run, regimes))


def _contests(run: Run, tuned: Sequence[str]) -> list[Contest]:
    """The contests of a run, whose tables have every measure under its name here; NaN where a model diverged."""
    models = run.models[run.models["features_recovered"].notna()]
    if models.empty:
        raise FolderError(f"{run.path}: free_lunch needs trained models that say what each feature is")
    models = models.join(_cut_counts(run), on="model").rename(columns={of: name for name, of in MEASURES.items()})
    numbers = [*MEASURES, *COUNTS[1:], R2]
    models[numbers] = models[numbers].where(models["status"] == "ok")
    return contests(run, models, tuned)


def _tensor(numbers: pd.Series | pd.DataFrame) -> Tensor:
    return torch.tensor(numbers.to_numpy(float))


def _cut_counts(run: Run) -> pd.DataFrame:
    """By model: recovered features with a best neuron above each cut, and the mean R^2 over features."""
    features = run.features
    recovered, best = features["r2"] > RECOVERED, features["best_neuron_r2_post"]
    above = {name: recovered & (best > cut) for name, cut in zip(COUNTS[1:], CUTS, strict=True)}
    by_model = pd.DataFrame(above).groupby(features["model"]).sum()
    return by_model.join(features.groupby("model")["r2"].mean().rename(R2))


# --------------------------------------------------------------------------------------------------------------- tables

Rows = list[dict[str, Any]]


def _arm_rows(contest: Contest) -> Rows:
    """Every measure of every arm, and how often the arm is on the front of loss and each count."""
    losses, rows = contest.numbers(LOSS), []
    shares = {name: share_on_front(losses, contest.numbers(name)) for name in COUNTS}
    for place, arm in enumerate(contest.arms):
        named = {"regime": contest.name, "arm": arm.name, "layer": arm.layer, "kept": arm.kept}
        for name in (*MEASURES, *COUNTS[1:], R2):
            least = -math.inf if name in (R2, AFFINE) else 0
            rows.append(named | {"measure": name} | estimate(arm.models[name], least=least))
        for name, share in shares.items():
            only = {"mean": float(share[place]), "low": None, "high": None, "seeds": len(losses.T)}
            rows.append(named | {"measure": f"{ON_FRONT}: {name}"} | only)
    return rows


def _offer_rows(contest: Contest, arm: int, best: int, offer: Lunch) -> Rows:
    """What one arm offers whoever has the arm of least loss: by the loss it adds and the features it has more."""
    names = {"regime": contest.name, "against": contest.arms[best].name, "arm": contest.arms[arm].name}
    difference = {name: _difference(contest, arm, best, name) for name in (LOSS, *COUNTS)}
    says = {LOSS: offer.saved.status} | {name: of.status for name, of in offer.more.items()}
    rows = [names | {"measure": name} | estimate(of) | {"says": says[name].value} for name, of in difference.items()]
    nothing = {"mean": None, "low": None, "high": None, "seeds": rows[0]["seeds"]}
    return [*rows, names | {"measure": FREE} | nothing | {"says": offer.status.value}]


def _slope_rows(contest: Contest, losses: Tensor, counts: Mapping[str, Tensor]) -> Rows:
    """Over the arms near the least loss, and over those on the front of the means; a slope a seed."""
    rows, means = [], losses.nanmean(1)
    for name, of in counts.items():
        near = means <= CLOSE * means.nan_to_num(torch.inf).min()
        for along, some in ((NEAR_LEAST, near), (THE_FRONT, front(means, of.nanmean(1)))):
            slope = slopes(losses[some].T, of[some].T)
            slope += 0 * slopes(means[some], of.nanmean(1)[some])  # seeds in which alone losses differ are no sample
            points = {"along": along, "arms": len(losses[some]), "count": name}
            rows.append({"regime": contest.name} | points | estimate(slope.numpy()))
    return rows


def _candidate_rows(run: Run) -> Rows:
    """Of every arm of the run's tuning, by the means over its seeds; none of a run without one."""
    if not run.tuned or not tuning_folder(run.path).is_dir():
        return []
    rows = []
    for contest in _contests(Run(tuning_folder(run.path)), run.tuned):
        for arm in contest.arms:
            settings = [name for name in run.tuned if name in arm.models]
            means = arm.models.groupby(settings, sort=False)[[LOSS, *COUNTS]].agg(lambda of: of.mean(skipna=False))
            loss = _tensor(means[LOSS])
            for name in COUNTS:
                count = _tensor(means[name])
                of, named = near_best(loss, count), {"regime": contest.name, "arm": arm.name, "count": name}
                near = {"near": f"{of.near} of {of.candidates}", "at best": of.at_best, "least": of.least}
                rows.append(named | near | {"most": of.most, "slope": float(slopes(loss, count))})
    return rows


def _entropy_rows(regimes: Sequence[Contest]) -> Rows:
    """Of arms and seeds that were trained by both losses in regimes that are otherwise alike; none where none were."""
    rows = []
    for contest, other in ((a, b) for a in regimes for b in regimes):
        alike = {name: value for name, value in contest.settings.items() if name != LOSS_SETTING}
        same = alike == {name: value for name, value in other.settings.items() if name != LOSS_SETTING}
        if not same or (contest.settings.get(LOSS_SETTING), other.settings.get(LOSS_SETTING)) != (
            SQUARED,
            ENTROPY_LOSS,
        ):
            continue
        theirs = {arm.name: arm for arm in other.arms}
        for arm in (arm for arm in contest.arms if arm.name in theirs):
            named = {"regime": condition(alike), "arm": arm.name}
            for name in (R2, "recovered", *COUNTS, "hidden", DEAD_NEURONS, AFFINE):
                difference = theirs[arm.name].models[name] - arm.models[name]
                means = {"squared": arm.models[name].mean(), "cross-entropy": theirs[arm.name].models[name].mean()}
                rows.append(named | {"measure": name} | means | estimate(difference))
    return rows


def _dead_rows(regimes: Sequence[Contest]) -> Rows:
    """Of arms that differ in their LayerNorm alone, seed by seed."""
    rows = []
    for contest in regimes:
        theirs = {arm.name: arm for arm in contest.arms}
        for arm in contest.arms:
            with_norm = theirs.get(arm.name.replace(arm.layer, hidden_layer(arm.layer, True), 1))
            if with_norm is not None and with_norm is not arm:
                without, normed = arm.models[DEAD_NEURONS], with_norm.models[DEAD_NEURONS]
                means = {"without": without.mean(), "with": normed.mean()}
                rows.append({"regime": contest.name, "arm": arm.name} | means | estimate(normed - without))
    return rows


# ---------------------------------------------------------------------------------------------------------------- words


def _told(contest: Contest, best: int, offers: Mapping[int, Lunch]) -> str:
    """Whether some arm is a free lunch for whoever has the arm of least loss, and what the nearest to one offers."""
    arm = contest.arms[best]
    least = f"{arm.name} has the least loss, {said(estimate(arm.models[LOSS]))}"
    k, _ = min(offers.items(), key=lambda each: (each[1].p_above, -each[1].more[IN_NEURONS].mean))
    counts = {name: estimate(_difference(contest, k, best, name)) for name in COUNTS}
    first, others = more(counts[IN_NEURONS], 1, "features"), [more(counts[name], 1) for name in COUNTS[1:]]
    cuts = f"{', '.join(others)} with a best neuron above {', '.join(map(str, CUTS))}"
    loss = more(estimate(_difference(contest, k, best, LOSS)), 3, "of loss fraction", below_0="less")
    where = f"{contest.name}: " * bool(contest.name)
    return (
        f"{where}{least}; that another arm is a free lunch beside it is {any_free(offers).value}: the nearest of "
        f"{len(offers)}, {contest.arms[k].name}, has {first} in neurons ({cuts}), at "
        f"{loss}{chosen('the nearest', len(offers))}; {len(arm.models)} seeds."
    )


def _entropy_told(rows: Rows) -> list[str]:
    """What cross-entropy does to the first arm that was trained by both losses; nothing where none was."""
    first = [row for row in rows if all(row[name] == rows[0][name] for name in ("regime", "arm"))]
    by = {row["measure"]: said(row, 1) for row in first}
    return [
        f"By cross-entropy in place of squared error the features of {row['arm']} in neurons change by "
        f"{by[IN_NEURONS]}, those that are recovered by {by['recovered']}; {row['seeds']} seeds."
        for row in first[:1]
    ]


def _difference(contest: Contest, arm: int, other: int, name: str) -> Any:
    numbers = contest.numbers(name)
    return (numbers[arm] - numbers[other]).numpy()


def _notes(run: Run, regimes: Sequence[Contest]) -> tuple[str, ...]:
    """What should be known before any of it is believed."""
    diverged = run.models["status"] != "ok"  # of which the contests have none
    arms = run.arms(run.models, over=(*SEED_ALONE, *run.tuned))
    vanished = [label(arm.settings) for arm in arms if diverged[arm.models.index].all()]
    notes = [
        "An arm is a free lunch only if it has three features more by every way of counting, and no more than .005 of "
        "loss fraction; corrected for how many arms offer one.",
        *run.tuned_at_ends,
    ]
    if any(contest.settings.get(LOSS_SETTING) == ENTROPY_LOSS for contest in regimes):
        notes.append(
            "Loss fractions of cross-entropy and of squared error are of different tasks: they are not compared."
        )
    if not run.tuned:
        notes.append("Nothing is tuned: arms differ in the step size and the start that suit them.")
    if diverged.any():
        notes.append(f"{diverged.sum()} models that diverged are left out.")
    if vanished:
        notes.append(f"Of these arms every model diverged, so that they are in no table: {'; '.join(vanished)}.")
    return tuple(notes)
