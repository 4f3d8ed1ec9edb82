"""Features: how x is drawn.

x[model, feature, batch] is sparse: feature i is active with probability P_i (frequency law, density) and then takes a
value (value law); which features are active together is the firing law's. Importance I_i says how much an error in
feature i costs, and varies independently of frequency.

Drawn from the stream of `toymodels.random`: with T_i = clamp(round(P_i 2^32), 1, 2^32) and u the feature's word,
feature i is active iff u <= T_i - 1, and then r = u / T_i is U(0, 1) and serves the value. Elhage et al. 2022,
*Toy Models of Superposition*, section 2, has the uniform case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numba
import numpy as np
import torch
from torch import Tensor

from toymodels import random
from toymodels.checks import expect
from toymodels.firing import SCALE, Firing, Independent
from toymodels.laws import Law, Uniform, probabilities
from toymodels.random import Domain
from toymodels.values import UniformValues, Values


@dataclass(frozen=True)
class Frequency:
    """P_i = min(cap, c w_i), w_i from ``law``, c such that the mean of P is the density."""

    law: Law = field(default_factory=Uniform)
    cap: float = 1.0

    def __post_init__(self) -> None:
        expect(Law, "Zipf(1.0)", law=self.law)


@dataclass(frozen=True)
class Importance:
    """I_i = w_i from ``law``, not normalised.

    With ``shuffle`` the weights are permuted, by ``shuffle_seed`` or, where that is None, by each model's own seed: so
    frequency and importance are not tied together by their order.
    """

    law: Law = field(default_factory=Uniform)
    shuffle: bool = False
    shuffle_seed: int | None = None

    def __post_init__(self) -> None:
        expect(Law, "Geometric(0.9)", law=self.law)

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

    n: int
    density: float
    frequency: Frequency = field(default_factory=Frequency)
    importance: Importance = field(default_factory=Importance)
    values: Values = field(default_factory=UniformValues)
    signed: bool = False
    firing: Firing = field(default_factory=Independent)

    def __post_init__(self) -> None:
        expect(Frequency, "Frequency(tm.Zipf(1.0))", frequency=self.frequency)
        expect(Importance, "Importance(tm.Geometric(0.9))", importance=self.importance)
        expect(Values, "Binary()", values=self.values)
        expect(Firing, "One()", firing=self.firing)
        if self.n < 1:
            raise ValueError(f"n: expected at least 1 feature, got {self.n}")
        self.firing.check(self.n, self.density)
        for name, law, n in (
            ("frequency", self.frequency.law, self.firing.n_weights(self.n)),
            ("importance", self.importance.law, self.n),
        ):
            try:
                law.weights(n)
            except ValueError as error:
                raise ValueError(f"{name}.{error}") from None
        p = self.probabilities()
        if self.firing.n_groups is not None:
            self.firing.intervals(p)

    def probabilities(self) -> np.ndarray:
        """P_i = P(feature i active), float64 ``[feature]``."""
        per_weight = probabilities(self.frequency.law, self.firing.n_weights(self.n), self.density, self.frequency.cap)
        return self.firing.spread(per_weight, self.n)

    def mean_active_value(self) -> float:
        """E|x_i| given that feature i is active."""
        return self.values.mean


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
        self.seeds = np.asarray(seeds, dtype=np.int64)
        p = np.stack([f.probabilities() for f in features])
        if self.firing.n_groups is None:
            self._thresholds = np.clip(np.rint(p * SCALE), 1, SCALE).astype(np.uint64)
        else:
            intervals = [self.firing.intervals(row) for row in p]
            self._low, self._high = (np.stack(edge) for edge in zip(*intervals, strict=True))
            self._member = np.arange(self.n) // (self.n // self.firing.n_groups)

    def training(self, step: int, batch: int) -> Tensor:
        """The training batch of ``step``: x as float32 ``[model, feature, batch]``."""
        return self._draw(step, batch, 0, Domain.DATA, Domain.FIRING)

    def evaluation(self, first_sample: int, samples: int) -> Tensor:
        """Fresh samples from ``first_sample`` (a multiple of 4): x as float32 ``[model, feature, samples]``."""
        return self._draw(0, samples, first_sample, Domain.EVALUATION, Domain.EVALUATION_FIRING)

    def _draw(self, step: int, samples: int, first_sample: int, data: Domain, firing: Domain) -> Tensor:
        uniform = self._on_cpu if self.device.type == "cpu" else self._in_torch
        return self.values.from_uniform(uniform(step, samples, first_sample, data, firing))

    def _on_cpu(self, step: int, samples: int, first_sample: int, data: Domain, firing: Domain) -> Tensor:
        words = random.words(self.seeds, self.n, samples, step, data, first_sample)
        out = np.empty(words.shape, np.float32)
        if self.firing.n_groups is None:
            _independent(words, self._thresholds, self.values.binary, self.signed, out)
        else:
            group = random.words(self.seeds, self.firing.n_groups, samples, step, firing, first_sample)
            _grouped(words, group, self._member, self._low, self._high, self.values.binary, self.signed, out)
        return torch.from_numpy(out)

    def _in_torch(self, step: int, samples: int, first_sample: int, data: Domain, firing: Domain) -> Tensor:
        """`_on_cpu` in torch operations on ``device``: its reference, and the version for other devices."""
        on = self._on_device
        words = random.words_torch(on["seeds"], self.n, samples, step, data, first_sample)
        if self.firing.n_groups is None:
            active = words < on["thresholds"]
            r = words.double() / on["thresholds"]
        else:
            group = random.words_torch(on["seeds"], self.firing.n_groups, samples, step, firing, first_sample)
            group = group[:, on["member"]]
            active = (on["low"] <= group) & (group < on["high"])
            r = words.double() / SCALE
        value = 2 * r - 1 if self.signed else r
        if self.values.binary:
            value = torch.where(value >= 0, 1.0, -1.0)
        return torch.where(active, value, 0.0).float()

    @cached_property
    def _on_device(self) -> dict[str, Tensor]:
        """What `_in_torch` needs, copied to the device once."""

        def column(edges: np.ndarray) -> Tensor:
            return torch.from_numpy(edges.astype(np.int64)).to(self.device)[:, :, None]

        seeds = torch.from_numpy(self.seeds).to(self.device)
        if self.firing.n_groups is None:
            return {"seeds": seeds, "thresholds": column(self._thresholds)}
        member = torch.from_numpy(self._member).to(self.device)
        return {"seeds": seeds, "member": member, "low": column(self._low), "high": column(self._high)}


@numba.njit(cache=True)
def _independent(words, thresholds, binary, signed, out):
    """x before its value law, from words u: active iff u <= T - 1, then r = u / T in float64, rounded once."""
    n_models, n_features, n_samples = words.shape
    for model in range(n_models):
        for feature in range(n_features):
            threshold = np.float64(thresholds[model, feature])
            highest = np.uint32(thresholds[model, feature] - np.uint64(1))
            row = words[model, feature]
            result = out[model, feature]
            if binary:
                middle = threshold / 2
                for sample in range(n_samples):
                    value = np.float32(-1) if signed and np.float64(row[sample]) < middle else np.float32(1)
                    result[sample] = value if row[sample] <= highest else np.float32(0)
            else:
                for sample in range(n_samples):
                    r = np.float64(row[sample]) / threshold
                    value = 2 * r - 1 if signed else r
                    result[sample] = np.float32(value) if row[sample] <= highest else np.float32(0)


@numba.njit(cache=True)
def _grouped(words, group_words, member, low, high, binary, signed, out):
    """x before its value law: active iff low <= word of the group < high, then r = own word / 2^32."""
    n_models, n_features, n_samples = words.shape
    for model in range(n_models):
        for feature in range(n_features):
            row = words[model, feature]
            group = group_words[model, member[feature]]
            for sample in range(n_samples):
                r = np.float64(row[sample]) / 4294967296.0
                value = 2 * r - 1 if signed else r
                if binary:
                    value = 1.0 if value >= 0 else -1.0
                word = np.uint64(group[sample])
                active = low[model, feature] <= word and word < high[model, feature]
                out[model, feature, sample] = np.float32(value) if active else np.float32(0)
