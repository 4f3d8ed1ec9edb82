"""Layer: layers of neurons of any network as a host, with the data that they were seen to read.

An MLP layer of a transformer *is* a `Bottleneck`: x is what it reads (the residual stream after the block's second
LayerNorm, [model, input, sample]), z = W_in x + b_in, then the activation and, of SoLU's kind, a LayerNorm. Two things
are not the transformer's. What the layer is said to tell of features is an affine read-out of `post`, a ridge probe
fitted on samples set apart (`probed`), since its own W_out writes into the residual stream and says no feature. And
where a toy model can show a feature alone, or nothing at all, there is no such thing here:

    what feature i does to a tap    E[tap | i active] - E[tap | i not active], in place of tap(e_i) - tap(0)
    rest                            E tap, in place of tap(0)

all of it over the samples set apart, so that nothing is judged by what was found on it. Targets are 0 or 1: whether a
feature is active.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Hidden, Parameters, preactivation
from toymodels.engines.moment_table import TAPS
from toymodels.examples import Examples
from toymodels.hosts.host import Host
from toymodels.hosts.taking import Taking
from toymodels.losses import Loss, Squared
from toymodels.metrics.gauge import gauged
from toymodels.metrics.moments import EDGE, Moments, collect, together
from toymodels.metrics.probe import chosen, ridge


@dataclass(frozen=True)
class Layer(Host):
    """Layers of one architecture, each with samples of its own; see the module. `probed` makes them."""

    architecture: Bottleneck
    parameters: Parameters
    data: Examples
    """all samples, spread over sequences so that any stretch of them is like any other"""
    taking: Taking
    """what x is without a feature"""
    apart: Examples | None = None
    """other samples, of which `directions` and `rest` are; its own where None"""
    loss: Loss = dataclasses.field(default_factory=Squared)

    @property
    def bottleneck(self) -> Bottleneck:
        return self.architecture

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return self.data.x.shape[2]

    @property
    def n_targets(self) -> int:
        return self.data.t.shape[1]

    @property
    def of_features(self) -> bool:
        return True

    @property
    def cost(self) -> Loss:
        return self.loss

    def examples(self, first: int, samples: int) -> Examples:
        """See `Host`. Raises ``ValueError`` for more than there are."""
        last = first + samples
        if last > self.samples:
            raise ValueError(f"samples: expected at most {self.samples}, got {last}")
        of = self.data
        return Examples(of.x[:, :, first:last], of.t[:, :, first:last], of.active[:, :, first:last], first)

    def without(self, examples: Examples, pre: Tensor, feature: Tensor, sample: Tensor) -> Tensor:
        return preactivation(self.parameters, self.taking(examples.x[:, :, sample], feature, examples.first + sample))

    def directions(self, tap: str) -> Tensor:
        """E[tap | i active] - E[tap | i not active]: [model, hidden, feature]; 0 for a feature that is always or never
        active."""
        of = self._at_rest
        covariance = of.tap_target[tap] - of.tap[tap][:, :, None] * of.t[:, None, :]
        variance = of.target_variance[:, None, :]  # of 0 and 1 it is P (1 - P), which makes differences of covariances
        difference = torch.where(variance > 0, covariance / torch.where(variance > 0, variance, 1.0), 0.0)
        return difference.to(self.parameters.W_in)

    def response_sizes(self) -> Tensor:
        """The sizes of `directions` at mid, gauged: [model, hidden, feature]."""
        return gauged(self.bottleneck, self.directions("mid")).abs()

    def rest(self) -> Hidden:
        """The mean over the samples set apart: [model, hidden, 1] at each tap."""
        return Hidden(*(self._at_rest.tap[tap][:, :, None].to(self.parameters.W_in) for tap in TAPS))

    @cached_property
    def _at_rest(self) -> Moments:
        seen = self if self.apart is None else dataclasses.replace(self, data=self.apart, apart=None)
        return collect(seen, seen.samples, folds=1)

    def changed(
        self,
        parameters: Parameters,
        bottleneck: Callable[[Bottleneck], Bottleneck] | None = None,
        *,
        loss: Loss | None = None,
    ) -> Layer:
        other = self.architecture if bottleneck is None else bottleneck(self.architecture)
        return Layer(other, parameters, self.data, self.taking, self.apart, self.loss if loss is None else loss)

    def __getitem__(self, part: slice) -> Layer:
        data, apart = _of_models(self.data, part), None if self.apart is None else _of_models(self.apart, part)
        return Layer(self.architecture, self.parameters[part], data, self.taking[part], apart, self.loss)


def probed(bottleneck: Bottleneck, parameters: Parameters, data: Examples, taking: Taking, apart: int) -> Layer:
    """Layers with read-outs fitted on the first ``apart`` samples, and the samples after those as their data.

    The read-out of a feature is the ridge probe of `post` (`toymodels.metrics.probe`): weights fitted on three quarters
    of the samples set apart, the penalty that does best on the fourth. ``parameters`` need no read-out, and ``taking``
    is of the samples after. Raises ``ValueError`` where too few samples are set apart, or too few left.
    """
    left = data.x.shape[2] - apart
    if apart % EDGE or min(apart, left) < 4 * EDGE:
        raise ValueError(
            f"apart: expected a multiple of {EDGE} that leaves at least {4 * EDGE} samples on either side, got {apart} "
            f"of {apart + left}"
        )
    models, hidden, _ = parameters.W_in.shape
    none = parameters.W_in.new_zeros(models, data.t.shape[1], hidden)
    blank = dataclasses.replace(parameters, W_out=none, b_out=none[:, :, 0])
    first = _stretch(data, 0, apart)
    folds = collect(Layer(bottleneck, blank, first, taking), apart).folds
    probe = chosen(ridge(together(folds[:-1]), "post"), folds[-1])
    W_out, b_out = probe.weights.transpose(1, 2).to(none), probe.bias.to(none)
    fitted = dataclasses.replace(parameters, W_out=W_out, b_out=b_out)
    return Layer(bottleneck, fitted, _stretch(data, apart, apart + left), taking, first)


def _of_models(data: Examples, part: slice) -> Examples:
    return Examples(data.x[part], data.t[part], data.active[part])


def _stretch(data: Examples, first: int, last: int) -> Examples:
    x, t, active = (each[:, :, first:last].contiguous() for each in (data.x, data.t, data.active))
    return Examples(x, t, active)
