"""The population loss: what the loss on ever more fresh data tends to, where that is a small sum or integral.

    L = sum over active sets S of P(S) E [ l(x) | S ],    l(x) = sum_i I_i loss(t_i, y_i)

P(S) is what the firing law's thresholds give; E over the values of the active features is an integral over (0, 1) for
each, since a value is a function of one uniform, and a sum over both signs where they are signed. Binary values leave a
sum. It is computed where at most three features with values of their own are active at once: one at a time of up to
`MOST_ONE` (``firing = "one"``), two or three where the sets are few, as in up to three independent features; and of
binary values as far as `MOST_SUMMED` reaches, twelve features with signs.

Integrals are Gauss-Legendre sums with the ends as nodes (Gauss-Lobatto), on boxes that are halved where they disagree
with their halves: ReLU has kinks, along which only small boxes are exact. The first boxes crowd towards 0, where a
LayerNorm or a bias against a steep weight turns a response within a hair's breadth. So each loss comes with an error,
`SAFETY` times the sum of those disagreements. It is an estimate: generous where a kink is seen, and blind to what
happens and is undone between two neighbouring nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters, forward
from toymodels.features import Features, Sampler
from toymodels.firing import SCALE
from toymodels.quadrature import crowded, lobatto
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, importances

ORDER = {1: 8, 2: 5, 3: 4}
"""nodes along each side of a box, by its dimension"""
EDGES = {2: (0.0, 2.0**-6, 2.0**-3, 0.5, 1.0), 3: (0.0, 2.0**-3, 1.0)}
"""of the first boxes, along each side"""
MOST_FIRST = 2**11
"""boxes of equal width that all lines of a model begin with"""
MOST_SUMMED = 3**12
"""samples of binary values in a sum"""
MOST_SETS = 64
"""active sets, where two or three features vary in some of them"""
TOLERANCE = 1e-5
"""disagreement, as a share of the best constant predictor's loss, at which boxes are no longer halved"""
SAFETY = 4
"""The error stated is so many times the disagreement, which alone is now and then less than the true error."""
MOST_ONE = 2**10
"""features, where one at a time is active and has a value of its own"""
MOST_NODES = 2**19
"""of one model, beyond which the error is stated as it is"""
NUMBERS_AT_ONCE = 2**22
MOST_NUMBERS = 2**24
"""in a table of all cases: one of 4,096 features at a time"""
GATHERED = 2**8
"""weights of a model up to which a copy for every box is cheaper than a call for every model"""


@dataclass(frozen=True)
class Population:
    """Population losses and their numerical errors, float64 [model] each; NaN where they are not computed."""

    loss: Tensor
    error: Tensor


@dataclass(frozen=True)
class _Cases:
    """The ways in which features may be active together, with signs: a row a case."""

    signs: np.ndarray
    """+1, -1, or 0 for an inactive feature, [case, feature]"""
    probability: np.ndarray
    """float64 [case]"""


@undisturbed
def population_loss(
    experiments: Sequence[Experiment], parameters: Parameters, tolerance: float = TOLERANCE
) -> Population:
    """The population loss of models of one structure, in float64."""
    parameters = parameters.to("cpu", torch.float64)
    found = Population(*torch.full((2, len(experiments)), torch.nan, dtype=torch.float64))
    alike: dict[Features, list[int]] = {}
    for model, e in enumerate(experiments):
        if isinstance(e.features, Features):
            alike.setdefault(e.features, []).append(model)
    for features, models in alike.items():
        cases = _cases(features)
        if cases is None:
            continue
        of = _Models([experiments[model] for model in models], parameters[models], tolerance)
        sums = of.summed(cases) if features.values.binary else of.integrated(cases)
        found.loss[models], found.error[models] = sums
    return found


@lru_cache(maxsize=8)
def _cases(features: Features) -> _Cases | None:
    """The cases of positive probability; None where they are too many."""
    signs, summed = (1, -1) if features.signed else (1,), features.values.binary
    outcomes, sets, most = [], 1, 0
    for of_word in _outcomes(features):  # as far as need be: of many features the first few are too many
        outcomes.append(of_word)
        sets *= len(of_word)
        most += max(len(active) for _, active in of_word)
        if sets > MOST_SUMMED or sets * features.n > MOST_NUMBERS:
            return None
        if not summed and (most > max(ORDER) or sets > (MOST_SETS if most > 1 else MOST_ONE)):
            return None
    rows, probability = [], []
    for choice in product(*outcomes):
        active = [feature for _, members in choice for feature in members]
        share = float(np.prod([p for p, _ in choice])) / len(signs) ** len(active)
        if len(rows) + len(signs) ** len(active) > MOST_SUMMED:
            return None
        for of_active in product(signs, repeat=len(active)):
            row = np.zeros(features.n, np.int8)
            row[active] = of_active
            rows.append(row)
            probability.append(share)
    return _Cases(np.stack(rows), np.asarray(probability))


def _outcomes(features: Features) -> Iterator[list[tuple[float, tuple[int, ...]]]]:
    """Of every word that decides, a feature's own or a group's: which features it may make active, how probably."""
    source = Sampler([features], [0]).source
    low, end = source.low[0].astype(np.int64), source.high[0].astype(np.int64) + 1
    member = source.member if len(source.member) else np.arange(features.n)
    for members in np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1]):
        cuts = np.unique([0, int(SCALE), *low[members], *end[members]])
        active: list[tuple[int, ...]] = [()] * (len(cuts) - 1)
        first, last = np.searchsorted(cuts, [low[members], end[members]])
        for feature, *between in zip(members.tolist(), first, last, strict=True):
            for place in range(*between):
                active[place] += (feature,)
        chance: dict[tuple[int, ...], float] = {}
        for of_place, width in zip(active, np.diff(cuts).tolist(), strict=True):
            chance[of_place] = chance.get(of_place, 0.0) + width / SCALE
        yield [(p, of_set) for of_set, p in chance.items()]


def _edges(lines: int) -> tuple[float, ...]:
    """Of the first boxes where one feature varies: of equal width, as many as there is time for, and ever smaller ones
    towards 0."""
    count = max(4, min(32, MOST_FIRST // lines))
    equal = np.arange(1, count + 1) / count
    return (0.0, *(2.0**-k for k in range(30, 1, -3) if 2.0**-k < equal[0]), *equal.tolist())


class _Models:
    """Models whose x is distributed alike."""

    def __init__(self, experiments: Sequence[Experiment], parameters: Parameters, tolerance: float) -> None:
        self.first, self.parameters = experiments[0], parameters
        self.seeds = np.array([e.seed for e in experiments], np.int64)
        assert isinstance(self.first.features, Features)
        self.values = self.first.features.values
        self.importance = torch.from_numpy(importances(experiments))
        constant = torch.tensor([e.best_constant_loss() for e in experiments], dtype=torch.float64)
        self.tolerance = tolerance * constant
        self.n, self.m = self.first.features.n, self.first.bottleneck.hidden

    def __len__(self) -> int:
        return len(self.importance)

    def losses(self, models: Tensor, x: Tensor) -> Tensor:
        """l(x) [row, sample] of the model of each row, x [row, feature, sample]."""
        if self.n * self.m <= GATHERED:
            return self._losses(models, x)
        found = torch.empty(x.shape[::2], dtype=torch.float64)
        for model in models.unique().tolist():
            of_it = models == model
            rows = x[of_it].transpose(0, 1)
            found[of_it] = self._losses(torch.tensor([model]), rows.flatten(1)[None]).view(rows.shape[1:])
        return found

    def _losses(self, models: Tensor, x: Tensor) -> Tensor:
        out = forward(self.first.bottleneck, self.parameters[models], x).out
        t = self.first.target.of(self.n, self.seeds[models.numpy()])(x)
        return (self.importance[models][:, :, None] * self.first.cost(t, out)).sum(1)

    def summed(self, cases: _Cases) -> tuple[Tensor, Tensor]:
        """Losses and errors of binary values: a sum over the cases, whose error is rounding."""
        models = torch.arange(len(self))
        total = torch.zeros(len(self), dtype=torch.float64)
        at_once = max(1, NUMBERS_AT_ONCE // (len(self) * (self.n + self.m)))
        for first in range(0, len(cases.signs), at_once):
            signs = torch.from_numpy(cases.signs[first : first + at_once].T.astype(np.float64))
            x = self.values.from_uniform(signs).expand(len(self), -1, -1)
            total += self.losses(models, x) @ torch.from_numpy(cases.probability[first : first + at_once])
        return total, 1e-12 * total

    def integrated(self, cases: _Cases) -> tuple[Tensor, Tensor]:
        """Losses and errors where values vary: the cases by how many features do."""
        total = torch.zeros(2, len(self), dtype=torch.float64)
        counts = (cases.signs != 0).sum(1)
        for count in np.unique(counts).tolist():
            signs, p = cases.signs[counts == count], torch.from_numpy(cases.probability[counts == count])
            if count == 0:
                nothing = torch.zeros(len(self), self.n, 1, dtype=torch.float64)
                total[0] += self.losses(torch.arange(len(self)), nothing)[:, 0] * p.sum()
                continue
            total += self._over_boxes(signs, p, count)
        return total[0], SAFETY * total[1]

    def _over_boxes(self, signs: np.ndarray, p: Tensor, dims: int) -> Tensor:
        """The integrals of cases in which so many features vary, times their probability: [loss and error, model]."""
        edges = torch.tensor(_edges(len(signs)) if dims == 1 else EDGES[dims], dtype=torch.float64)
        sides = torch.stack([edges[:-1], edges.diff()], 1)
        first = torch.stack([torch.cartesian_prod(*[side] * dims).view(-1, dims) for side in sides.T])
        model, case = (
            each.flatten().repeat_interleave(first.shape[1])
            for each in torch.meshgrid(torch.arange(len(self)), torch.arange(len(signs)), indexing="ij")
        )
        corner, width = first.repeat(1, len(self) * len(signs), 1)
        halves = torch.tensor(list(product((0.0, 0.5), repeat=dims)), dtype=torch.float64)
        value = self._boxes(signs, p, model, case, corner, width)
        total, used = torch.zeros(2, len(self), dtype=torch.float64), torch.zeros(len(self))
        while len(model):
            corners = (corner[:, None] + width[:, None] * halves).flatten(0, 1)
            widths = (width / 2).repeat_interleave(len(halves), 0)
            parts = [each.repeat_interleave(len(halves)) for each in (model, case)]
            inside = self._boxes(signs, p, parts[0], parts[1], corners, widths)
            better = inside.view(len(model), -1).sum(1)
            error = (better - value).abs()
            used.index_add_(0, model, torch.full((len(model),), float(len(halves) * ORDER[dims] ** dims)))
            pending = torch.stack([error, torch.ones_like(error)])
            pending = torch.zeros(2, len(self), dtype=torch.float64).index_add_(1, model, pending)
            enough = (total[1] + pending[0] <= self.tolerance) | (used > MOST_NODES)
            small = error <= self.tolerance[model] / (4 * pending[1][model])
            done = enough[model] | small | ~error.isfinite()
            total.index_add_(1, model[done], torch.stack([better[done], error[done]]))
            open_ = (~done).repeat_interleave(len(halves))
            (model, case), corner, width = (each[open_] for each in parts), corners[open_], widths[open_]
            value = inside[open_]
        return total

    def _boxes(
        self, signs: np.ndarray, p: Tensor, model: Tensor, case: Tensor, corner: Tensor, width: Tensor
    ) -> Tensor:
        """The integral over each box, [box]: of ``case`` for ``model``, from ``corner`` on, ``width`` [box, side]."""
        dims = corner.shape[1]
        values, (nodes, weights) = self.values, lobatto(ORDER[dims])
        grid = torch.cartesian_prod(*[nodes] * dims).view(-1, dims)
        weight = torch.cartesian_prod(*[weights] * dims).view(-1, dims).prod(1)
        active = torch.from_numpy(np.stack([np.flatnonzero(row) for row in signs]))
        sign = torch.from_numpy(signs).gather(1, active).double()
        found = []
        at_once = max(1, NUMBERS_AT_ONCE // (len(grid) * (self.n + self.m) + 2 * self.n * self.m))
        for some in torch.arange(len(model)).split(at_once):
            s = corner[some][:, :, None] + width[some][:, :, None] * grid.T
            u, density = crowded(s)
            x = torch.zeros(len(some), self.n, len(grid), dtype=torch.float64)
            row = active[case[some]][:, :, None].expand_as(s)
            x.scatter_(1, row, values.from_uniform(u) * sign[case[some]][:, :, None])
            size = width[some].prod(1) * p[case[some]]
            found.append((self.losses(model[some], x) * density.prod(1)) @ weight * size)
        return torch.cat(found)
