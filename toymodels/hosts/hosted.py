"""One model at one tap, as those have it who look for its features: a stream of activations, and what made them.

    for activations in tm.host(run, 3):        # float32 [batch, hidden], without end
        ...

Examples are rows here, as sparse autoencoders and PyTorch have them, and there is no axis ``model``. Elsewhere in this
package they are columns ``[model, hidden, batch]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toymodels.checks import Whole
from toymodels.engines.moment_table import TAPS
from toymodels.examples import Examples
from toymodels.hosts.directions import Directions, directions_of
from toymodels.hosts.models import Models
from toymodels.hosts.module import HookedLayer
from toymodels.hosts.streaming import BEGINS, LENGTH, START, ActivationStream, rows_of
from toymodels.surroundings import undisturbed
from toymodels.training.trained import Trained

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class LabelledActivations:
    """Activations with what made them, a sample a row."""

    activations: Tensor
    """float32 [sample, hidden]"""
    x: Tensor
    """float32 [sample, input]: the features, or whatever else the layer reads"""
    active: Tensor
    """bool [sample, feature]: which features are active; of signed ones [sample, 2 x feature], where x > 0 and then
    where x < 0"""
    t: Tensor
    """float32 [sample, target]: what there is to be said of x"""

    def __len__(self) -> int:
        return len(self.activations)


@dataclass(frozen=True, eq=False)
class HostedModel:
    """One model whose features are known, at one ``tap``: ``pre``, ``mid`` or ``post``. What `tm.host` returns.

    Iterated over, it gives batches of activations without end, as `activations` does; `sample` gives some with the
    features that made them, `directions` what each feature does to the tap, `as_module` the model as a PyTorch module.
    """

    models: Models
    """one model, as a `Host`: what measures, surgery and the battery are given"""
    tap: str = "post"
    known: Directions | None = field(default=None, repr=False, compare=False)
    """the directions, where they were read from a file with the model"""

    def __post_init__(self) -> None:
        if not isinstance(self.models, Models):  # layers of other networks have samples that were taken, and no stream
            raise TypeError(f"models: expected Models, got {type(self.models).__name__}")
        if len(self.models) != 1:
            raise ValueError(f"models: expected one model, got {len(self.models)}")
        if self.tap not in TAPS:
            raise ValueError(f"tap: expected one of {', '.join(TAPS)}, got {self.tap!r:.60}")
        if not all(tensor.isfinite().all() for tensor in self.models.parameters.present().values()):
            raise ValueError("models: expected a model whose weights are finite, got one that diverged")

    @property
    def hidden(self) -> int:
        """How many neurons the layer has: the width of its activations."""
        return self.models.bottleneck.hidden

    @property
    def l0(self) -> float:
        """How many features are active in a sample, on average: the L0 of a dictionary that errs in none."""
        return float(self.models.first.features.probabilities().sum())

    def activations(self, batch: int = 1024, *, start: int = 0) -> ActivationStream:
        """Batches of activations, float32 ``[batch, hidden]``, without end, from position ``start`` of the stream on.

        A position's activation is the same in every batch size, process and session. None of them is a sample that
        the model was trained on, or that measures and `sample` are taken on (`toymodels.hosts.streaming`).
        """
        return ActivationStream(self.models, self.tap, batch, start)

    def __iter__(self) -> Iterator[Tensor]:
        return self.activations()

    @undisturbed
    def sample(self, samples: int, *, start: int = 0) -> LabelledActivations:
        """Activations that are not in the stream, with what made them: samples ``start`` to ``start + samples - 1`` of
        those that measures are taken on.

        Train on the stream, and score on these. They are held out of the stream, and not of `directions`: its read-outs
        are fitted on the first 2^16 of them, so that these are judged from ``start=2**16`` on. Raises ``ValueError``
        for more than 2^33 samples.
        """
        samples = Whole(1, BEGINS)("samples", samples)
        examples = self._examples(Whole(0, BEGINS - samples)("start", start), samples)
        with torch.no_grad():
            return self._labelled(examples, rows_of(getattr(self.models.taps(examples.x), self.tap)))

    @undisturbed
    def streamed(self, samples: int, *, start: int = 0) -> LabelledActivations:
        """The activations of the stream at positions ``start`` to ``start + samples - 1``, with what made them."""
        position = START("start", start) % LENGTH
        samples = Whole(1, LENGTH - position)("samples", samples)
        return self._labelled(self._examples(BEGINS + position, samples), next(self.activations(samples, start=start)))

    def _examples(self, first: int, samples: int) -> Examples:
        """The host's samples from any first one on, where the stream is drawn by fours."""
        skipped = first % 4
        found = self.models.examples(first - skipped, samples + skipped)
        x, t, active = (each[:, :, skipped:] for each in (found.x, found.t, found.active))
        return Examples(x, t, active)

    def _labelled(self, examples: Examples, activations: Tensor) -> LabelledActivations:
        x, active = examples.x, examples.active
        active = torch.cat([x > 0, x < 0], 1) if self.models.signed else active
        return LabelledActivations(activations, rows_of(x), active[0].T.contiguous().cpu(), rows_of(examples.t))

    @cached_property
    def directions(self) -> Directions:
        """What each feature does to the tap, and how an affine read-out of it sees the feature."""
        return directions_of(self.models, self.tap) if self.known is None else self.known

    def as_module(self, *, transformer_lens: bool | None = None) -> HookedLayer:
        """The model as a PyTorch module: y ``[batch, target]`` of x ``[batch, feature]``, whose taps are submodules.

        Forward hooks on them see and change what passes; `toymodels.hosts.module` lists them, and so does
        ``hook_names``. Where transformer_lens is installed, 3 or newer, it is a ``HookedRootModule``, with
        ``run_with_cache`` and ``run_with_hooks``. ``transformer_lens=False`` gives the plain module there too; ``True``
        raises ``ImportError`` where it is not installed. Its weights are a copy.
        """
        of = (self.models.bottleneck, self.models.parameters)
        if transformer_lens is False:
            return HookedLayer(*of)
        try:
            from toymodels.hosts.hooked import TransformerLensLayer
        except ModuleNotFoundError as error:
            if transformer_lens or error.name != "transformer_lens":  # a broken installation is no absent one
                raise
            return HookedLayer(*of)
        return TransformerLensLayer(*of)

    def save(self, path: str | Path) -> None:
        """Write weights, directions and settings to a safetensors file, from which ``tm.host(path)`` makes this again.

        Raises `SweepError` where it cannot be written, or where the model is made of code or data of one's own.
        """
        from toymodels import api

        api.keep_host(self, path)

    def __repr__(self) -> str:
        b = self.models.bottleneck
        norm = "" if b.layer_norm is None else " and LayerNorm"
        return f"HostedModel: {type(b.activation).__name__}{norm}, {b.hidden} neurons, tap '{self.tap}'"


def hosted(of: Models | Trained, model: int | None = None, tap: str | None = None) -> HostedModel:
    """One of these models at a tap; which one may be left out where there is only one. Raises
    ``ValueError`` for a model that is not there."""
    host = Models(of.experiments, of.parameters) if isinstance(of, Trained) else of
    if model is None and len(host) > 1:
        raise ValueError(f"model: expected a number from 0 to {len(host) - 1}, got none")
    place = Whole(0, len(host) - 1)("model", 0 if model is None else model)
    return HostedModel(host[place : place + 1], "post" if tap is None else tap)
