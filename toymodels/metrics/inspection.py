"""Inspection: what the strongest examples of a neuron show, as whoever looks at them would see it.

    a_k(x)      mid of neuron k; before a LayerNorm about its median over neurons (`toymodels.metrics.gauge`)
    X_k         the `EXAMPLES` examples that are strongest in a_k, one of each active set, equal ones in random order
    c_ki        in how many of X_k feature i is active
    q_i         the larger of P_i and the share of i among the distinct active sets of the data
    k shows i   where c_ki >= `OFTEN` and P(Bin(|X_k|, q_i) >= c_ki) < `LEVEL` / n

A neuron looks interpretable if it shows some feature: its strongest examples have one thing in common that chance does
not give them. q_i is what a neuron would find that picked its sets at random: rare features are more often in distinct
sets than in examples, and a frequent one, which is in 16 of 20 sets by chance, is shown by none. LEVEL / n is
Bonferroni's correction for n features. With signed features an active set does not say the signs.

Where no feature could pass, even if it were in as many of X_k as there are distinct sets with it, no neuron can look
interpretable whatever it does, and the rule says nothing: `Strongest.testable`. So it is of data in which one feature
is active at a time, as each active set occurs once, and of few features.

Strongest examples say what a neuron does when it is strong and nothing else (Elhage et al. 2022, *Softmax Linear
Units*, put people before them; its authors later warned of them): `toymodels.metrics.selectivity` is of all examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from toymodels.bottleneck import Parameters, mid_of, preactivation
from toymodels.metrics.evaluation import Evaluation
from toymodels.metrics.gauge import gauged
from toymodels.metrics.recovery import UNMOVED
from toymodels.random import Domain, words
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, sampler

EXAMPLES = 20
OFTEN = 16
LEVEL = 0.05
NUMBERS_AT_ONCE = 2**19
"""of one array over the examples that are looked at together, whatever the number of all"""
BLOCK = 64
"""Examples are looked at in multiples of it."""


@dataclass(frozen=True)
class Strongest:
    """The strongest examples of every neuron of a batch of models, the first the strongest."""

    sample: Tensor
    """int64 [model, hidden, example], which evaluation sample; -1 beyond the distinct sets that there are"""
    x: Tensor
    """[model, hidden, example, feature], the examples themselves"""
    strength: Tensor
    """a_k, [model, hidden, example]; -inf where there is no example"""
    tied: Tensor
    """bool [model, hidden]: whether chance decided which examples these are, or in what order"""
    dead: Tensor
    """bool [model, hidden]: a_k varies by no more than 1e-6 of what it does in the model's liveliest neuron"""
    base_rate: Tensor
    """q_i, float64 [model, feature]"""
    distinct: Tensor
    """in how many distinct active sets of the data each feature is, int64 [model, feature]"""

    @property
    def counts(self) -> Tensor:
        """c_ki, int64 [model, hidden, feature]."""
        return (self.x != 0).sum(2)

    @property
    def examples(self) -> Tensor:
        """|X_k|, int64 [model, hidden]."""
        return (self.sample >= 0).sum(2)

    @property
    def shows(self) -> Tensor:
        """Whether a neuron shows a feature, bool [model, hidden, feature]; a dead one shows none."""
        return self._by_rule(self.counts) & ~self.dead[:, :, None]

    @property
    def testable(self) -> Tensor:
        """Whether a neuron could show some feature, were it to pick its examples so: bool [model]."""
        most = torch.minimum(self.distinct[:, None], self.examples[:, :, None])
        return self._by_rule(most).any(2).any(1)

    def _by_rule(self, counts: Tensor) -> Tensor:
        chance = binom.sf(counts.numpy() - 1, self.examples.numpy()[:, :, None], self.base_rate.numpy()[:, None, :])
        return (counts >= OFTEN) & torch.from_numpy(chance < LEVEL / counts.shape[2])

    @property
    def interpretable(self) -> Tensor:
        """Whether a neuron shows some feature, bool [model, hidden]."""
        return self.shows.any(2)


@undisturbed
def strongest(
    experiments: Sequence[Experiment],
    parameters: Parameters,
    samples: int = Evaluation.samples,
    examples: int = EXAMPLES,
) -> Strongest:
    """The strongest of the first ``samples`` examples of each model's own evaluation data, for models of one structure.

    Of one active set the strongest example stands for it, of equal ones the first. Memory does not grow with samples.
    """
    parts = [_of_model(e, parameters[model : model + 1], samples, examples) for model, e in enumerate(experiments)]
    return Strongest(**{name: torch.stack([getattr(part, name) for part in parts]) for name in vars(parts[0])})


@dataclass
class _Best:
    """The strongest distinct sets so far, [hidden, example] each: strength, what tells the set, which sample."""

    strength: np.ndarray
    identity: np.ndarray
    sample: np.ndarray

    def merged(self, other: _Best, most: int) -> _Best:
        """The ``most`` strongest sets of both; of a set in both, the stronger example, of equal ones ours."""
        strength, identity, sample = (
            np.concatenate([ours, theirs], 1)
            for ours, theirs in zip(vars(self).values(), vars(other).values(), strict=True)
        )
        by_set = np.lexsort((-strength, identity), axis=1)  # stable, so ours come first
        same = np.take_along_axis(identity, by_set, 1)
        again = np.zeros_like(same, dtype=bool)
        again[:, 1:] = same[:, 1:] == same[:, :-1]
        np.put_along_axis(strength, by_set, np.where(again, -np.inf, np.take_along_axis(strength, by_set, 1)), 1)
        # What tells a set is a random number, so sets of equal strength come in random order.
        kept = np.lexsort((identity, -strength), axis=1)[:, :most]
        return _Best(*(np.take_along_axis(each, kept, 1) for each in (strength, identity, sample)))


def _of_model(e: Experiment, p: Parameters, samples: int, examples: int) -> Strongest:
    hidden, n, dtype = e.bottleneck.hidden, e.features.n, p.W_in.dtype
    data, salt = sampler([e]), _salt(e.seed, n)
    size = max(BLOCK, NUMBERS_AT_ONCE // max(hidden, n) // BLOCK * BLOCK)
    none = np.zeros((hidden, 0))
    best = _Best(none, none.astype(np.uint64), none.astype(np.int64))
    low, high = np.full(hidden, np.inf), np.full(hidden, -np.inf)
    sets, in_sets = np.zeros(0, np.uint64), np.zeros(n, np.int64)
    for first in range(0, samples, size):
        x = data.evaluation(first, min(size, samples - first)).to(dtype)
        a = gauged(e.bottleneck, mid_of(e.bottleneck, preactivation(p, x)))[0].detach().double().numpy()
        active = (x[0] != 0).numpy()
        identity = salt[0] + (active * salt[1:, None]).sum(0, dtype=np.uint64)
        low, high = np.minimum(low, a.min(1)), np.maximum(high, a.max(1))
        best = best.merged(_best_of(a, identity, first, examples + 1), examples + 1)
        new, where = np.unique(identity, return_index=True)
        unseen = where[~np.isin(new, sets, assume_unique=True)]
        sets, in_sets = np.concatenate([sets, identity[unseen]]), in_sets + active[:, unseen].sum(1)
    short = ((0, 0), (0, max(0, examples + 1 - best.strength.shape[1])))
    strength = np.pad(best.strength, short, constant_values=-np.inf)
    there = np.isfinite(strength)
    sample = np.where(there, np.pad(best.sample, short), -1)
    equal = (strength[:, 1:] == strength[:, :-1]) & there[:, 1:]
    rates = np.maximum(in_sets / len(sets), e.features.probabilities())
    of_first = torch.from_numpy(sample[:, :examples])
    return Strongest(
        sample=of_first,
        x=_drawn(e, of_first).to(dtype),
        strength=torch.from_numpy(strength[:, :examples]),
        tied=torch.from_numpy(equal.any(1)),
        dead=torch.from_numpy(high - low <= UNMOVED * (high - low).max()),
        base_rate=torch.from_numpy(rates),
        distinct=torch.from_numpy(in_sets),
    )


def _best_of(a: np.ndarray, identity: np.ndarray, first: int, most: int) -> _Best:
    """The ``most`` strongest sets of the samples from ``first`` on: ``a`` [hidden, sample], ``identity`` [sample]."""
    by_set = np.argsort(identity, kind="stable")
    sets, starts = np.unique(identity[by_set], return_index=True)
    strength = np.maximum.reduceat(a[:, by_set], starts, axis=1)
    # Sets are in the order of a random number: a stable sort leaves equal ones in random order.
    chosen = np.argsort(-strength, axis=1, kind="stable")[:, :most]
    ends = np.append(starts[1:], len(by_set))
    sample = np.empty(chosen.shape, np.int64)
    for k, rank in np.ndindex(*chosen.shape):
        start, end = starts[chosen[k, rank]], ends[chosen[k, rank]]
        sample[k, rank] = first + by_set[start + a[k, by_set[start:end]].argmax()]
    return _Best(np.take_along_axis(strength, chosen, 1), sets[chosen], sample)


def _salt(seed: int, n: int) -> np.ndarray:
    """Random 64-bit numbers, uint64 [1 + feature]. A set is told by the sum of the first and of its features': two sets
    have one sum with probability 2^-64."""
    low, high = words(np.array([seed]), n + 1, 4, 0, Domain.TIES)[0, :, :2].astype(np.uint64).T
    return low | high << np.uint64(32)


def _drawn(e: Experiment, sample: Tensor) -> Tensor:
    """The evaluation samples of these numbers, [hidden, example, feature]; 0 where there is none."""
    data = sampler([e])
    blocks = {block: data.evaluation(4 * block, 4)[0] for block in np.unique(sample[sample >= 0].numpy() // 4).tolist()}
    x = torch.zeros(*sample.shape, e.features.n)
    for place in np.ndindex(*sample.shape):
        number = int(sample[place])
        if number >= 0:
            x[place] = blocks[number // 4][:, number % 4]
    return x
