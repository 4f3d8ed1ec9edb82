"""The blinded test: which neurons of a run a person is shown, at which place, and what is shown of them.

So many neurons of each arm, drawn at random from those that can be shown, in one random order; of each its strongest
examples (`toymodels.metrics.inspection`), and not its arm. What could tell the arm, and how that is closed:

* *activations*: SoLU's are convex in z, GeLU's have negative ends, LayerNorm's a scale of its own. None is shown: the
  order of the examples is all, so that two activations which rank alike show the same, byte for byte.
* *LayerNorm's gauge*: the order is that of mid about its median over neurons, which adding c(x) 1 does not change.
* *chance*: where ReLU is 0 equal examples come in random order, and other activations have none. A neuron in whose list
  a tie has a part is not shown, in whatever arm; nor is a dead one.
* *how many*: as many neurons of each arm, as many examples of each neuron: distinct active sets are the data's, which
  arms of a seed share.
* *neighbours*: models of a seed share data and features, so that places might be put side by side. Features are
  numbered anew at each place, and places are shuffled over arms, models and neurons.
* *time*: everything is measured before the first neuron is shown, and no time is kept.
* *the file* has a verdict a place, no arm, model or neuron (`toymodels.sweeps.studies.judgements`).
* *what is left out* is counted by arm, and told at the end.

What remains is the content itself: if an arm's neurons look different, a judge may come to guess it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from toymodels.hypotheses.arms import ARMS, MAIN, PLAIN
from toymodels.metrics.inspection import strongest
from toymodels.sweeps.errors import FolderError, SpecError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.judgements import Judgements, path_of
from toymodels.sweeps.verdict.regimes import RunRegime, regimes

USUAL = (PLAIN, f"{PLAIN} + LN", MAIN)
"""The arms of P8, which are shown unless others are named."""
TOLD_FROM = 2
"""A feature's frequency is told where it is active in so many of the examples."""


@dataclass(frozen=True)
class Place:
    """A neuron that is shown, and what is shown of it."""

    arm: str
    model: int
    neuron: int
    examples: tuple[tuple[str, ...], ...]
    """the active features of each example, the strongest first, with values unless all are 1; none for an empty one"""
    frequencies: tuple[tuple[str, float], ...]
    """features and in which share of all examples they are active; none where all features are alike"""
    by_rule: bool | None
    """whether the rule calls it interpretable; None in a model of which it could call no neuron so"""


@dataclass(frozen=True)
class BlindTest:
    """What a person is shown, in order, and what was left out."""

    regime: RunRegime
    eps: str
    arms: tuple[str, ...]
    places: tuple[Place, ...]
    dead: dict[str, int]
    """how many neurons of each arm are dead"""
    tied: dict[str, int]
    """and how many others have ties among their strongest examples"""

    @property
    def digest(self) -> str:
        """The SHA-256 of which neuron is at which place."""
        said = repr([(place.arm, place.model, place.neuron) for place in self.places])
        return hashlib.sha256(said.encode()).hexdigest()


def arms_of(run: Run, wanted: Sequence[str] | None) -> tuple[RunRegime, str, tuple[str, ...]]:
    """The regime that is shown, the primary or first one, its first eps, and its arms that are ``wanted``, by default
    those of `USUAL` that there are. Raises `SpecError` for an arm that it has not, `FolderError` where there is
    none."""
    regime = regimes(run)[0][0]
    eps = next(iter(regime.arms))
    there = regime.arms[eps]
    for name in wanted or ():
        if name not in there:
            raise SpecError(f"--arms: expected some of {', '.join(there)}, got '{name}'")
    return regime, eps, tuple(name for name in ARMS if name in there and name in (wanted or USUAL))


def draw(run: Run, wanted: Sequence[str] | None, neurons: int, seed: int) -> BlindTest:
    """``neurons`` of each arm, or as many as the arm with the fewest has, in an order that ``seed`` draws."""
    regime, eps, arms = arms_of(run, wanted)
    rng = np.random.default_rng([seed, 16])
    numbers = {arm: regime.arms[eps][arm] for arm in arms}
    batches = {arm: run.batch(models) for arm, models in numbers.items()}
    found = {arm: strongest(*batch, samples=regime.settings["eval.samples"]) for arm, batch in batches.items()}
    can_be = {arm: (~(of.dead | of.tied)).nonzero().tolist() for arm, of in found.items()}
    fewest = min([neurons, *map(len, can_be.values())])
    if fewest == 0:
        raise FolderError(f"{run.path}: an arm of {', '.join(arms)} has no neuron that can be shown")
    drawn = [
        (arm, *can_be[arm][k]) for arm in arms for k in rng.choice(len(can_be[arm]), fewest, replace=False).tolist()
    ]
    places = []
    for k in rng.permutation(len(drawn)).tolist():
        arm, row, neuron = drawn[k]
        of = found[arm]
        x = of.x[row, neuron][of.sample[row, neuron] >= 0]
        examples, frequencies = told(x, batches[arm][0][row].features.probabilities(), rng)
        by_rule = bool(of.interpretable[row, neuron]) if of.testable[row] else None
        places.append(Place(arm, numbers[arm][row], neuron, examples, frequencies, by_rule))
    dead = {arm: int(of.dead.sum()) for arm, of in found.items()}
    tied = {arm: int((of.tied & ~of.dead).sum()) for arm, of in found.items()}
    return BlindTest(regime, eps, arms, tuple(places), dead, tied)


def drawn_again(run: Run, held: Judgements) -> BlindTest:
    """The test that a person has begun. Raises `FolderError` where the run gives another one now."""
    path = path_of(run, held.judge)
    try:
        test = draw(run, held.arms, held.neurons, held.seed)
    except SpecError:  # of an arm that the file names: no option is at fault
        raise FolderError(f"{path}: of arms that the run has not: judge again under another --judge") from None
    if test.digest != held.digest or len(test.places) != len(held.verdicts):
        raise FolderError(f"{path}: of other models, or of another version: judge again under another --judge")
    return test


def left_out(test: BlindTest) -> list[str]:
    """A sentence for each arm with neurons that were not shown, and why."""
    return [
        f"{arm}: {test.dead[arm]} dead neurons, and {test.tied[arm]} with ties among their strongest examples, left out"
        for arm in test.arms
        if test.dead[arm] or test.tied[arm]
    ]


def told(
    x: Tensor, p: np.ndarray, rng: np.random.Generator
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, float], ...]]:
    """What is told of the examples x [example, feature] of a neuron, and how frequent their features are, p [feature]:
    `Place.examples` and `Place.frequencies`, in features' numbers that ``rng`` draws."""
    numbers = rng.permutation(len(p)) + 1
    binary = bool(((x == 0) | (x == 1)).all())

    def said(example: Tensor) -> tuple[str, ...]:
        on = sorted(example.nonzero()[:, 0].tolist(), key=lambda i: numbers[i])
        return tuple(f"f{numbers[i]}" if binary else f"f{numbers[i]}={float(example[i]):.2f}" for i in on)

    often = ((x != 0).sum(0) >= TOLD_FROM).nonzero()[:, 0].tolist() if np.ptp(p) > 0 else []
    frequencies = tuple((f"f{numbers[i]}", float(p[i])) for i in sorted(often, key=lambda i: numbers[i]))
    return tuple(said(example) for example in x), frequencies
