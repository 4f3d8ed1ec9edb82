"""What groups of models cost, told from the few of them that were timed.

A group's *reference* is arithmetic on its sizes: seconds on an imagined machine of `SPEED`. How many times longer this
machine takes is its *ratio*, which changes with the sizes and with the kind of model (activation, LayerNorm, embedding,
optimizer, values, firing, target, loss) less than the cost does. A group that was not timed is given the ratio of the
nearest one that was. How far that is off is seen on those that were timed: each of them told from the others.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from toymodels.features import Features
from toymodels.metrics.rotation_null import DRAWS
from toymodels.training.experiment import Experiment

SPEED = 2e9
"""operations a second of the imagined machine: slow, so that what is not known yet is thought to take long"""
PARTS = ("training", "measuring", "beginning")
"""of a model: its training; its measuring; and, once where the width changes, the rotations that measures need"""
TIMES = ("idle", "now")
"""on this machine if nothing else ran, and as busy as it is"""
OTHER_KIND = 1.0
"""how far a group of another kind is away: as far as one of e times the size"""
NOISE = 1.1
"""the factor by which a timing is off by itself"""
UNKNOWN = 3.0
"""the factor by which a cost may be off that is told from a single group"""


def of_step(e: Experiment) -> float:
    """Operations of one training step of one model."""
    sizes = e.sizes
    width = sizes.said + sizes.embedding + sizes.hidden
    return e.training.batch * (5 * sizes.weights + 60 * width) + 30 * sizes.weights


def reference(e: Experiment, samples: int) -> np.ndarray:
    """Seconds on the imagined machine: float64 [part]."""
    n, m = e.features.n, e.bottleneck.hidden
    measuring = samples * (4 * e.sizes.weights + 6 * m * m) + DRAWS * (2 * m * m * n + 60 * m * n)
    beginning = DRAWS * (12 * m**3 + 60_000)
    return np.array([e.training.steps * of_step(e), measuring, beginning]) / SPEED


def kind(e: Experiment) -> Hashable:
    """What a model is, apart from its sizes."""
    f, b = e.features, e.bottleneck
    assert isinstance(f, Features)
    parts = (b.activation, b.layer_norm, b.embedding, e.training.optimizer, f.values, f.firing, e.target, e.cost)
    moves = b.embedding is not None and b.embedding.trained
    by_design = (b.blocks > 0, b.top_k > 0, b.experts > 0, b.gated)
    return (b.tied, moves, *by_design, *(type(part) for part in parts))


@dataclass(frozen=True)
class Costs:
    """Seconds of every group, of those that were timed as they were: both arrays ``[group, part, time]``."""

    references: np.ndarray
    """[group, part]"""
    kinds: np.ndarray
    """[group], equal where groups are of one kind"""
    ratios: dict[int, np.ndarray] = field(default_factory=dict)
    """[part, time] of each group that was timed; NaN for a part that was not"""

    @staticmethod
    def of(likes: Sequence[Experiment], samples: Sequence[int]) -> Costs:
        """Of groups by one model of each and on how many samples it is measured; none of them timed yet."""
        numbers: dict[Hashable, int] = {}
        kinds = np.array([numbers.setdefault(kind(e), len(numbers)) for e in likes])
        return Costs(np.stack([reference(e, n) for e, n in zip(likes, samples, strict=True)]), kinds)

    def know(self, group: int, seconds: np.ndarray) -> None:
        """Take in what a model of this group costs: [part, time]."""
        self.ratios[group] = seconds / self.references[group][:, None]

    def seconds(self, without: int | None = None) -> np.ndarray:
        """What one model of each group costs: [group, part, time]; ``without`` what one of the timed groups says."""
        ratios = np.ones((*self.references.shape, len(TIMES)))
        for part in range(len(PARTS)):
            timed = [group for group, ratio in self.ratios.items() if group != without and not np.isnan(ratio[part, 0])]
            if timed:
                nearest = self._distances(timed).argmin(1)
                ratios[:, part] = np.stack([self.ratios[group][part] for group in timed])[nearest]
        return ratios * self.references[:, :, None]

    def farthest(self, left_out: set[int]) -> int | None:
        """The group that is farthest from all that were timed, the cheapest to begin with; None if none is left."""
        distances = self._distances(list(self.ratios)).min(1) if self.ratios else -self.references.sum(1)
        distances[list(left_out | set(self.ratios))] = -np.inf
        chosen = int(distances.argmax())
        return chosen if distances[chosen] > -np.inf else None

    def scatter(self) -> float:
        """The factor by which a group that was not timed is off, as a rule."""
        if len(self.ratios) < 2:
            return UNKNOWN
        whole = self.seconds()
        errors = [
            math.log(self.seconds(without=group)[group, :2].sum() / whole[group, :2].sum()) for group in self.ratios
        ]
        return max(NOISE, math.exp(float(np.sqrt(np.mean(np.square(errors))))))

    def _distances(self, timed: Sequence[int]) -> np.ndarray:
        """[group, timed]"""
        sizes = np.log(self.references[:, :2])
        apart = np.abs(sizes[:, None] - sizes[timed]).max(2)
        return apart + OTHER_KIND * (self.kinds[:, None] != self.kinds[timed])
