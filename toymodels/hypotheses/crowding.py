"""Crowding: what a feature loses to the company of certain others, beyond what any company of that size costs it.

Other active features hurt everybody. So a feature i is compared with itself in equally large company: with c other
features active, u of them among the ones in question, samples with u = 0 against samples with u >= 1,

    n_g(c)  = samples with c others active, g = 0 where u = 0, g = 1 where u >= 1,    w(c) = min(n_0(c), n_1(c)), c >= 1
    E_g     = the mean over samples of group g, each weighing w(c) / n_g(c)
    R^2_g   = 1 - E_g (t_i - y_i)^2 / (E_g t_i^2 - (E_g t_i)^2)
    drop_i  = R^2_0 - R^2_1

Weighted so, both groups have the same distribution of c, each c as often as its rarer group has it. Where the variance
of t_i does not change with the company (independent firing), drop_i is sum_c w(c) (R^2_0(c) - R^2_1(c)) / sum_c w(c),
the mean of the differences in R^2 at each c. It is not computed as that mean: with a handful of samples in a cell
Var(t_i) comes close to 0 there, and a ratio to it is anything. (In eight simulated models of 128 features, values
U(0,1), density .02, 45 of them in question, 8192 samples and no gate, the mean over 12 features minus that over the 45
has a standard deviation of 80 as a mean of ratios, and of .03 as it is computed.)

A feature needs `FEWEST` examples in which it is active in either group; else its drop is undefined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.hosts import Models
from toymodels.hypotheses.evidence import Quantities
from toymodels.training.experiment import target_of

NUMBERS = 2**19
"""How many squared errors of one model are kept, for any tiers to be asked about: 8,192 samples of 64 features."""
FEWEST = 5
"""Examples in which a feature is active, below which nothing is said of it in a group of samples."""
COMPANY = 4
"""How many sizes of company `explained_in_company` tells apart: 0, 1, 2, and 3 or more."""
ROWS = 5
"""What is summed over the samples of a cell: 1, squared error, t, t^2, and whether the feature is active."""

FEWEST_TOGETHER = 20
"""The same of all the features of a tier together, in `equal_company`."""

Cell = Callable[[Tensor, Tensor], Tensor]
"""The cell of samples with c other features active, and u of them among the ones in question."""


def observe(arm: Models, first: int, last: int) -> Quantities:
    """By sample, [model, feature, sample] each, of as many samples from ``first`` to ``last`` as make up `NUMBERS`:
    ``squared_error`` (t - y)^2, ``target`` t minus what it is where the feature is inactive, and ``present``, where it
    is active; and ``crowd`` [model, sample], how many are. On the CPU."""
    samples = max(1, min(NUMBERS // arm.experiments[0].features.n, last - first))
    parts = [_observe(part, first, samples) for part in arm.slices(samples)]
    return {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}


def _observe(arm: Models, first: int, samples: int) -> Quantities:
    examples = arm.examples(first, samples)
    x, t, present = examples.x, examples.t, examples.active
    y = arm.cost.prediction(arm.taps(x).out)
    at_rest = target_of(arm.experiments)(torch.zeros_like(x[:, :, :1]))
    return {
        "squared_error": (t - y).square().float(),
        "target": (t - at_rest).float(),
        "present": present,
        "crowd": present.sum(1),
    }


def drops(observed: Quantities, gates: Tensor) -> Tensor:
    """drop_i for the features ``gates``, bool [..., model, feature], as the ones in question: float64, shaped as they
    are. A model's samples are laid out once for all its gates, and gates that are alike are asked once."""
    sizes, found = int(observed["crowd"].max()) + 1, []
    for k, of in enumerate(gates.unbind(-2)):
        samples = _Samples.of(observed, k)
        distinct, place = torch.unique(of.reshape(-1, of.shape[-1]), dim=0, return_inverse=True)
        found.append(torch.stack([_drop(samples, each, sizes) for each in distinct])[place.reshape(of.shape[:-1])])
    return torch.stack(found, -2)


def _drop(samples: _Samples, gates: Tensor, sizes: int) -> Tensor:
    """drop_i of one model, [feature], for gates [feature]; ``sizes`` of company are told apart."""
    sums = samples.sums(gates, 2 * sizes, lambda c, u: 2 * c + (u > 0)).unflatten(2, (sizes, 2))[:, :, 1:]
    number = sums[0]  # [feature, c, group]
    rarer = number.amin(2, keepdim=True)
    weights = torch.where(number > 0, rarer / number.clamp(min=1), 0.0)
    enough = torch.where(weights > 0, sums[4], 0.0).sum(1) >= FEWEST
    r2 = _r2((sums * weights).sum(2), enough)
    return r2[:, 0] - r2[:, 1]


def explained_in_company(observed: Quantities, of: Tensor) -> Tensor:
    """R^2 of each feature on samples in which 0, 1, 2, and 3 or more *other* features of these, bool [model, feature],
    are active: float64 [model, feature, `COMPANY`]."""
    sums = _sums(observed, of, COMPANY, lambda c, u: u.clamp(max=COMPANY - 1))
    return _r2(sums, sums[4] >= FEWEST)


def by_company(observed: Quantities, gates: Tensor) -> Tensor:
    """What `equal_company` is made of, which adds up over samples: float64 [`ROWS`, model, feature, c, `COMPANY`], c
    other features active, and so many of them among the ``gates``."""
    sizes = observed["present"].shape[1] + 1

    def cell(c: Tensor, u: Tensor) -> Tensor:
        return COMPANY * c + u.clamp(max=COMPANY - 1)

    return _sums(observed, gates, COMPANY * sizes, cell).unflatten(3, (sizes, COMPANY))


def equal_company(sums: Tensor, of: Tensor) -> Tensor:
    """R^2 of the features ``of``, bool [model, feature], together, in company with k of the gates, and in company of
    the same size with none of them: float64 [model, 2, k = 0 ... `COMPANY` - 1]; for k = 0 the two are one.

        R^2 = 1 - sum_i W_i E (t_i - y_i)^2 / sum_i W_i Var t_i

    over the features, each weighing and weighed as in `drops`; the last k is that many or more. NaN where features
    ``of`` are active in fewer than `FEWEST_TOGETHER` examples of either kind.
    """
    none, found = sums[..., :1].expand_as(sums), []
    rarer = torch.minimum(none[0], sums[0])
    for group in (sums, none):
        weights = torch.where(group[0] > 0, rarer / group[0].clamp(min=1), 0.0)
        together, error, t, tt, _ = (group * weights).sum(3)  # [model, feature, k]
        variance = tt - t.square() / together.clamp(min=torch.finfo(torch.float64).tiny)
        active = torch.where(weights > 0, group[4], 0.0).sum(2)
        error, variance, active = ((each * of[:, :, None]).sum(1) for each in (error, variance, active))
        enough = (active >= FEWEST_TOGETHER) & (variance > 0)
        found.append(torch.where(enough, 1 - error / variance, torch.nan))
    both = torch.stack(found, 1)
    return torch.where(both.isnan().any(1, keepdim=True), torch.nan, both)


def _sums(observed: Quantities, gates: Tensor, cells: int, cell: Cell) -> Tensor:
    """Sums over the samples of each cell, float64 [`ROWS`, model, feature, cell]."""
    return torch.stack([_Samples.of(observed, k).sums(of, cells, cell) for k, of in enumerate(gates)], 1)


@dataclass(frozen=True)
class _Samples:
    """The samples of one model, and what of them is the same whichever features are in question."""

    present: Tensor
    """bool [feature, sample]"""
    crowd: Tensor
    """how many features are active, [sample]"""
    error: Tensor
    """the squared error where a feature is inactive, 0 where it is active: [feature, sample]"""
    active: tuple[Tensor, Tensor]
    """the feature and the sample of each example in which one is active, [example] each"""
    rows: tuple[Tensor, ...]
    """what is summed over these, `ROWS` of them, float64 [example] each"""

    @staticmethod
    def of(observed: Quantities, k: int) -> _Samples:
        """Those of the k-th model."""
        present, error, target, crowd = (observed[name][k] for name in ("present", "squared_error", "target", "crowd"))
        i, s = present.nonzero(as_tuple=True)
        t, one = target[i, s].double(), torch.ones(len(i), dtype=torch.float64)
        rows = (one, error[i, s].double(), t, t.square(), one)
        return _Samples(present, crowd, torch.where(present, 0.0, error), (i, s), rows)

    def sums(self, gates: Tensor, cells: int, cell: Cell) -> Tensor:
        """Sums over the samples of each cell, float64 [`ROWS`, feature, cell]."""
        c, u, (i, s) = self.crowd, self.present[gates].sum(0), self.active
        out = torch.zeros(ROWS, len(self.present), cells, dtype=torch.float64)
        # Where a feature is inactive all others are as many as there are; and few cells have any sample at all.
        whole = cell(c, u)
        there, of_sample, samples = torch.unique(whole, return_inverse=True, return_counts=True)
        member = (of_sample[:, None] == torch.arange(len(there))).to(self.error.dtype)
        out[0][:, there] = samples.double()
        out[1][:, there] = (self.error @ member).double()
        flat, first = out.view(ROWS, -1), i * cells
        flat[0].index_add_(0, first + whole[s], -self.rows[0])
        others = first + cell(c[s] - 1, u[s] - gates[i].long())
        for row, values in zip(flat, self.rows, strict=True):
            row.index_add_(0, others, values)
        return out


def _r2(sums: Tensor, enough: Tensor) -> Tensor:
    """R^2 of the sums over samples [`ROWS`, ...], NaN where there are not ``enough`` or t does not vary."""
    _, error, t, tt, _ = sums / torch.where(enough, sums[0], torch.nan)
    variance = tt - t.square()
    return torch.where(variance > 1e-12 * tt, 1 - error / variance, torch.nan)
