"""Features: how x is drawn.

x[model, feature, batch] is sparse: feature i is active with probability P_i (frequency law, density) and then takes a
value (value law); which features are active together is the firing law's. Importance I_i says how much an error in
feature i costs, and varies independently of frequency.

Drawn from the stream of `toymodels.random`: with T_i = clamp(round(P_i 2^32), 1, 2^32) and u the feature's word,
feature i is active iff u <= T_i - 1, and then r = u / T_i is U(0, 1) and serves the value. Elhage et al. 2022,
*Toy Models of Superposition*, section 2, has the uniform case.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from toymodels import random
from toymodels.checks import SEED, Flag, Number, OrNone, Part, Whole, expect_frozen, setting, settle
from toymodels.drawing import Drawing
from toymodels.firing import FIRINGS, SCALE, Firing, Independent
from toymodels.kernels import draw
from toymodels.kernels.draw import Source, whole_tiles
from toymodels.kernels.vector import LANES
from toymodels.laws import LAWS, Law, Uniform, probabilities
from toymodels.random import Domain
from toymodels.roles import OneOf
from toymodels.surroundings import undisturbed
from toymodels.values import VALUES, UniformValues, Values, check_odd

MAX_FEATURES = 10**6


AS_ASKED = 1e-8
"""How far from what is asked for a firing law may draw without being held to what it draws: some words of 2^32."""


@dataclass(frozen=True)
class Frequency:
    """P_i = min(cap, c w_i), w_i from ``law``, c such that the mean of P is the density."""

    law: Law = field(
        default_factory=Uniform,
        metadata=setting(OneOf(Law, "Zipf(1.0)", names=LAWS), "how P(active) falls off over the features"),
    )
    cap: float = field(default=1.0, metadata=setting(Number(), "the largest P(active), 0 < cap <= 1"))

    def __post_init__(self) -> None:
        settle(self)


@dataclass(frozen=True)
class Importance:
    """I_i = w_i from ``law``, not normalised.

    With ``shuffle`` the weights are permuted, by ``shuffle_seed`` or, where that is None, by each model's own seed: so
    frequency and importance are not tied together by their order.
    """

    law: Law = field(
        default_factory=Uniform,
        metadata=setting(OneOf(Law, "Geometric(0.9)", names=LAWS), "what an error costs, over the features"),
    )
    shuffle: bool = field(default=False, metadata=setting(Flag(), "whether the weights are permuted"))
    shuffle_seed: int | None = field(
        default=None, metadata=setting(OrNone(SEED), "what they are permuted by; the model's seed where it is absent")
    )

    def __post_init__(self) -> None:
        settle(self)

    def weights(self, n: int, seed: int) -> np.ndarray:
        """I_i as float64 ``[feature]`` for the model of this seed."""
        weights = self.law.weights(n)
        if not self.shuffle:
            return weights
        shuffle_seed = seed if self.shuffle_seed is None else self.shuffle_seed
        words = random.words(np.array([shuffle_seed]), n, 1, 0, Domain.SHUFFLE)
        return weights[np.argsort(words[0, :, 0], kind="stable")]


@dataclass(frozen=True)
class Features:
    """The distribution of x: ``n`` features of mean P(active) ``density``.

    Raises ``ValueError`` with one sentence where the settings contradict each other.
    """

    n: int = field(metadata=setting(Whole(1, MAX_FEATURES), "how many features there are"))
    density: float = field(metadata=setting(Number(), "mean over features of P(active), 0 < density <= 1"))
    frequency: Frequency = field(
        default_factory=Frequency,
        metadata=setting(Part(Frequency, "Frequency(tm.Zipf(1.0))"), "how often each feature is active"),
    )
    importance: Importance = field(
        default_factory=Importance,
        metadata=setting(Part(Importance, "Importance(tm.Geometric(0.9))"), "what an error in each feature costs"),
    )
    values: Values = field(
        default_factory=UniformValues,
        metadata=setting(OneOf(Values, "Binary()", names=VALUES), "how large a feature is when it is active"),
    )
    signed: bool = field(default=False, metadata=setting(Flag(), "whether values have both signs"))
    firing: Firing = field(
        default_factory=Independent,
        metadata=setting(OneOf(Firing, "One()", names=FIRINGS), "which features are active together"),
    )

    def __post_init__(self) -> None:
        settle(self)
        expect_frozen(values=self.values, firing=self.firing)
        check_odd(self.values)
        self.firing.check(self.n, self.density)
        for name, law, n in (
            ("frequency", self.frequency.law, self.firing.n_weights(self.n)),
            ("importance", self.importance.law, self.n),
        ):
            try:
                law.weights(n)
            except ValueError as error:
                raise ValueError(f"{name}.{error}") from None
        self.probabilities()

    def probabilities(self) -> np.ndarray:
        """P_i = P(feature i active), float64 ``[feature]``, read-only: as the firing law draws it."""
        return self._probabilities

    @cached_property
    def _probabilities(self) -> np.ndarray:
        # Kept, because the same features are often those of thousands of seeds.
        p = self.asked_for
        if self.firing.member(self.n) is None:
            return p
        low, high = self.firing.intervals(p)
        drawn = (high.astype(np.float64) - low.astype(np.float64)) / SCALE
        # Ours draw what is asked for, but for a share of a word; one of a user's own may draw anything.
        p = p if np.abs(drawn - p).max() < AS_ASKED else drawn
        p.flags.writeable = False
        return p

    @cached_property
    def asked_for(self) -> np.ndarray:
        """The P_i that frequency law and density ask of the firing law: float64 ``[feature]``, read-only."""
        law, cap, n_weights = self.frequency.law, self.frequency.cap, self.firing.n_weights(self.n)
        shares, share = self.firing.shares(self.n), self.firing.spread(np.ones(n_weights), self.n).mean()
        per_weight = probabilities(law, n_weights, self.density, cap, shares=shares, mean_share=float(share))
        p = self.firing.spread(per_weight, self.n)
        p.flags.writeable = False
        return p

    def both_active(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """P(features ``first[q]`` and ``second[q]`` are active), as the firing law draws it: float64 ``[q]``."""
        p, member = self.probabilities(), self.firing.member(self.n)
        apart = p[first] * p[second]
        if member is None:
            return apart
        low, high = (edge.astype(np.float64) for edge in self.firing.intervals(self.asked_for))
        overlap = np.minimum(high[first], high[second]) - np.maximum(low[first], low[second])
        return np.where(member[first] == member[second], overlap.clip(min=0) / SCALE, apart)

    def mean_active_value(self) -> np.ndarray:
        """E|x_i| given that feature i is active: float64 ``[feature]``."""
        return np.full(self.n, self.values.mean)

    @property
    def structure(self) -> Hashable:
        """What must be equal for models to train together; all else is each model's own."""
        return self.n, self.values, self.signed, self.firing


class Sampler:
    """Draws x for a batch of models, one `Features` and one seed a model.

    n, value law, signs and firing law must agree over the batch; densities, frequencies and seeds are each model's own.
    """

    def __init__(self, features: Sequence[Features], seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        first = features[0]
        for other in features:
            for name in ("n", "values", "signed", "firing"):
                if getattr(other, name) != getattr(first, name):
                    raise ValueError(f"expected features of one {name} in a batch, got two")
        self.n, self.values, self.signed, self.firing = first.n, first.values, first.signed, first.firing
        self.device = torch.device(device)
        if len(features) != len(seeds):
            raise ValueError(f"seeds: expected one for each of {len(features)} models, got {len(seeds)}")
        self.seeds = np.array([SEED("seed", seed) for seed in seeds], dtype=np.int64)
        self.source = self._source(np.stack([f.asked_for for f in features]))

    def _source(self, p: np.ndarray) -> Source:
        """What the kernels draw from, for the probabilities ``p [model, feature]``; values not shaped yet."""
        member = self.firing.member(self.n)
        if member is None:
            divisor = np.clip(np.rint(p * SCALE), 1, SCALE)
            low, high, member = np.zeros_like(p), divisor, np.zeros(0, np.int64)
        else:
            intervals = [self.firing.intervals(row) for row in p]
            low, high = (np.stack(edge) for edge in zip(*intervals, strict=True))
            divisor = np.full(p.shape, SCALE)
        return Source(
            seeds=self.seeds.astype(np.uint64),
            low=low.astype(np.uint32),
            high=(high.astype(np.uint64) - np.uint64(1)).astype(np.uint32),
            divisor=divisor,
            inverse=1 / divisor,
            member=member,
            values=draw.BINARY if self.values.binary else draw.UNIFORM,
            signed=self.signed,
        )

    @undisturbed
    def training(self, step: int | Tensor, batch: int) -> Tensor:
        """The training batch of ``step``: x as float32 ``[model, feature, batch]``.

        On a device that is no CPU the step may be an int64 tensor of one number there, which is not waited for.
        """
        return self._draw(step, batch, 0, Domain.DATA, Domain.FIRING)

    @undisturbed
    def evaluation(self, first_sample: int, samples: int) -> Tensor:
        """Fresh samples from ``first_sample`` (a multiple of 4): x as float32 ``[model, feature, samples]``."""
        return self._draw(0, samples, first_sample, Domain.EVALUATION, Domain.EVALUATION_FIRING)

    def _draw(self, step: int | Tensor, samples: int, first_sample: int, data: Domain, firing: Domain) -> Tensor:
        if self.device.type == "cpu":
            return self.values.from_uniform(self._on_cpu(int(step), samples, first_sample, data, firing))
        return self.values.from_uniform(self._elsewhere.draw(step, samples, first_sample, data, firing))

    def _on_cpu(self, step: int, samples: int, first_sample: int, data: Domain, firing: Domain) -> Tensor:
        random.check_range(self.n, samples, step, first_sample)
        out = np.empty((len(self.seeds), self.n, whole_tiles(samples)), np.float32)
        room = np.empty((self.n + 1) * LANES, np.float32)
        draw.fill_x(out, self.source, first_sample, step, int(data), int(firing), room)
        return torch.from_numpy(out)[:, :, :samples].contiguous()

    @cached_property
    def _elsewhere(self) -> Drawing:
        return Drawing(self.source, self.device)
