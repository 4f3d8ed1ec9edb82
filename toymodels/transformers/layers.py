"""What MLP layers of transformers show of a text's features: hosts for the battery, made of bridges and texts.

Each model reads a text of its own, or all the same one. A sample is a position of a sequence, from the second on (the
first has no token before it), sequence by sequence: so samples that hang together lie side by side, and what is
fitted on some and judged by others shares one sequence at most, the one that the cut between them goes through. The
first third is set apart (`toymodels.hosts.layer`): of it are read-outs, and the means that a feature is taken away by.

    of_tokens, of_bigrams   features are exact; one is taken away with whatever goes with it on average
    of_latents              features are true; one is taken away by the text that had been without it
    of_directions           pseudo-features: whether x has much of a direction; taken away by projection
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toymodels.examples import Examples
from toymodels.hosts.layer import Layer, probed
from toymodels.hosts.taking import Counterfactual, Means, Projection, Taking
from toymodels.metrics.moments import EDGE
from toymodels.surroundings import undisturbed
from toymodels.transformers.adapter import architecture_of, parameters_of, read_by
from toymodels.transformers.language import Language
from toymodels.transformers.text_features import TextFeatures, above, bigram_features, latent_features, token_features
from toymodels.transformers.training import LENGTH

SEQUENCES = 1536
"""of a synthetic language's evaluation text"""
MOST = 64
"""tokens or bigrams, the most frequent ones"""
SHARE = 0.05
"""of positions in which a pseudo-feature is active"""
APART = 3
"""one in so many samples is set apart"""


@dataclass(frozen=True)
class TransformerLayers:
    """Layers of models of one architecture as a host, and what its features are called."""

    host: Layer
    names: tuple[tuple[str, ...], ...]
    """[model][feature]"""


@undisturbed
def of_tokens(
    bridges: Sequence[Any], texts: Sequence[np.ndarray], layer: int = 0, most: int = MOST
) -> TransformerLayers:
    """Features are the ``most`` most frequent tokens of each model's text [sequence, position]."""
    return _of_indicators(bridges, texts, layer, [token_features(text, most) for text in texts])


@undisturbed
def of_bigrams(
    bridges: Sequence[Any], texts: Sequence[np.ndarray], layer: int = 0, most: int = MOST
) -> TransformerLayers:
    """Features are the ``most`` most frequent bigrams of each model's text [sequence, position]."""
    return _of_indicators(bridges, texts, layer, [bigram_features(text, most) for text in texts])


@undisturbed
def of_latents(
    bridges: Sequence[Any], languages: Sequence[Language], layer: int = 0, sequences: int = SEQUENCES
) -> TransformerLayers:
    """Features are the latents of each model's language, on its evaluation text."""
    texts = [language.text(sequences, LENGTH) for language in languages]
    features = [latent_features(text) for text in texts]

    def taking(data: Examples, apart: int) -> Taking:
        found = [_counterfactual(*each, layer, apart) for each in zip(bridges, languages, features, strict=True)]
        pairs = max(len(x) for x, _ in found)
        x = torch.stack([torch.nn.functional.pad(x, (0, 0, 0, pairs - len(x))) for x, _ in found])
        return Counterfactual(x, torch.stack([place for _, place in found]))

    return _layers(bridges, [text.tokens for text in texts], layer, features, taking)


@undisturbed
def of_directions(
    bridges: Sequence[Any], texts: Sequence[np.ndarray], directions: Tensor, layer: int = 0, share: float = SHARE
) -> TransformerLayers:
    """Features are where x'd is among its largest ``share``, of ``directions`` [feature, input], the same for all."""
    x = _read(bridges, texts, layer)
    d = torch.nn.functional.normalize(directions.to(x), dim=1)
    names = tuple(f"direction {i}" for i in range(len(d)))
    length = texts[0].shape[1]
    active = [above((d @ each).numpy(), share) for each in x]
    padded = [np.pad(of.reshape(len(d), -1, length - 1), ((0, 0), (0, 0), (1, 0))) for of in active]

    def taking(data: Examples, apart: int) -> Taking:
        of = data.x[:, :, :apart]
        return Projection(d.T.expand(len(of), -1, -1), of.mean(2))

    return _layers(bridges, texts, layer, [TextFeatures(names, of) for of in padded], taking, x)


def _of_indicators(
    bridges: Sequence[Any], texts: Sequence[np.ndarray], layer: int, features: Sequence[TextFeatures]
) -> TransformerLayers:
    def taking(data: Examples, apart: int) -> Taking:
        return Means.of(Examples(data.x[:, :, :apart], data.t[:, :, :apart], data.active[:, :, :apart]))

    return _layers(bridges, texts, layer, features, taking)


def _layers(
    bridges: Sequence[Any],
    texts: Sequence[np.ndarray],
    layer: int,
    features: Sequence[TextFeatures],
    taking: Callable[[Examples, int], Taking],
    x: Tensor | None = None,
) -> TransformerLayers:
    x = _read(bridges, texts, layer) if x is None else x
    counts = sorted({len(each.names) for each in features})
    if len(counts) > 1:
        raise ValueError(f"expected models with equally many features, got from {counts[0]} to {counts[-1]}")
    active = torch.stack([torch.from_numpy(each.active[:, :, 1:].reshape(len(each.active), -1)) for each in features])
    data = Examples(x, active.to(x), active)
    apart = x.shape[2] // APART // EDGE * EDGE
    host = probed(architecture_of(bridges[0]), parameters_of(bridges, layer), data, taking(data, apart), apart)
    return TransformerLayers(host, tuple(each.names for each in features))


def _read(bridges: Sequence[Any], texts: Sequence[np.ndarray], layer: int) -> Tensor:
    """x of all positions but the first: [model, input, sample]."""
    return torch.stack([_columns(read_by(bridge, text, layer)) for bridge, text in zip(bridges, texts, strict=True)])


def _columns(x: Tensor) -> Tensor:
    """[input, sample] of x [sequence, position, input], without first positions."""
    return x[:, 1:].flatten(0, 1).T.contiguous()


def _counterfactual(
    bridge: Any, language: Language, features: TextFeatures, layer: int, apart: int
) -> tuple[Tensor, Tensor]:
    """What one model reads where each latent is on, of the text without it, [pair, input], and `Counterfactual.place`,
    for the samples after the first ``apart``."""
    on = torch.from_numpy(features.active[:, :, 1:])
    found, place = [], torch.full(on.flatten(1).shape, -1, dtype=torch.int32)
    known = 0
    for latent, where in enumerate(on):
        where = where & (torch.arange(where.numel()) >= apart).view(where.shape)
        some = where.any(1)
        text = language.text(len(where), where.shape[1] + 1, without=latent).tokens[some.numpy()]
        if len(text):
            x = read_by(bridge, text, layer)[:, 1:][where[some]]
            place[latent, where.flatten()] = torch.arange(known, known + len(x), dtype=torch.int32)
            known += len(x)
            found.append(x)
    if not found:
        raise ValueError(
            f"expected a language whose latents are on at times, got none on in {place.shape[1]} positions"
        )
    return torch.cat(found), place[:, apart:]
